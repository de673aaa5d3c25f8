"""4D Gaussians at one instant, against an independent conditional in numpy and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.representation.fourd import MAX_TEMPORAL_SCALE, FourDConfig
from fourdgs_ns.representation.parts.rotations4d import quats_of_static
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0
from fourdgs_ns.representation.types import Clip, PointsOverTime

from .fourd_rows import random_rows

CLIP = Clip(num_frames=31, duration_seconds=2.0)


def multiplication(q: np.ndarray, side: str) -> np.ndarray:
    """Matrix of v -> q v or v -> v q in the order (real, i, j, k), column by column."""
    columns = []
    for e in np.eye(4):
        p, r = (q, e) if side == "left" else (e, q)
        vector = p[0] * r[1:] + r[0] * p[1:] + np.cross(p[1:], r[1:])
        columns.append(np.concatenate([[p[0] * r[0] - p[1:] @ r[1:]], vector]))
    return np.stack(columns, axis=1)


def covariance_4d(rows: dict[str, np.ndarray], i: int) -> np.ndarray:
    """R S S R^T over (x, y, z, t) of row ``i``."""
    left, right = (rows[name][i] / np.linalg.norm(rows[name][i]) for name in ("left_quats", "right_quats"))
    turn = multiplication(left, "left") @ multiplication(right * [1, -1, -1, -1], "right")
    rotation = turn[::-1, ::-1]
    sizes = np.exp(np.concatenate([rows["scales"][i], rows["temporal_scales"][i]]))
    return rotation @ np.diag(sizes**2) @ rotation.T


@pytest.mark.parametrize("t", [0.0, 0.37, 1.0])
def test_slice_equals_the_schur_conditional_of_four_dimensions(t):
    representation, rows = random_rows(period=1.1)
    got = representation.at(rows, t, torch.arange(40))
    assert got.quats is None and got.scales is None
    r = {name: value.numpy() for name, value in rows.items()}
    for i in range(40):
        sigma = covariance_4d(r, i)
        dt = t - r["temporal_centers"][i, 0]
        mean = r["means"][i] + sigma[:3, 3] / sigma[3, 3] * dt
        conditional = np.linalg.inv(
            np.linalg.inv(sigma)[:3, :3]
        )  # the precision's block, inverted: not a Schur complement
        weight = math.exp(-0.5 * dt**2 / sigma[3, 3])
        np.testing.assert_allclose(got.means[i], mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(got.covariances[i], conditional, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(got.velocities[i], sigma[:3, 3] / sigma[3, 3], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(got.weights[i], weight, rtol=1e-10)
        np.testing.assert_allclose(got.opacities[i], weight / (1 + math.exp(-r["opacities"][i, 0])), rtol=1e-10)
        harmonics = np.concatenate([r["features_dc"][i][None], r["features_rest"][i]])
        for n in (1, 2):
            harmonics = harmonics + math.cos(2 * math.pi * n * dt / 1.1) * r["features_time"][i, n - 1]
        np.testing.assert_allclose(got.features[i], harmonics, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("static", [0, 2])
def test_gradients(static):
    """gradcheck of everything that a slice shows, in everything that is trained."""
    representation, rows = random_rows(n=2, static=static, sh_degree=1, temporal_degree=1)
    for name in ("means", "features_rest"):
        rows[name] *= 0.3
    names = [name for name in rows if not (static and name == "temporal_scales")]
    for name in names:
        rows[name].requires_grad_()

    def evaluate(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        params = {**rows, **dict(zip(names, values))}
        g = representation.at(params, 0.6, torch.arange(2))
        assert g.covariances is not None
        return g.means, g.covariances, g.opacities, g.features

    assert torch.autograd.gradcheck(evaluate, tuple(rows[name] for name in names))


def test_static_rows_do_not_depend_on_time_and_their_temporal_parameters_do_not_learn():
    representation, rows = random_rows(n=20, static=20, temporal_degree=0)
    quats = torch.nn.functional.normalize(torch.randn(20, 4, dtype=torch.float64), dim=-1)
    rows["left_quats"] = quats_of_static(quats)
    for value in rows.values():
        value.requires_grad_()
    early, late = (representation.at(rows, t, torch.arange(20)) for t in (0.0, 1.0))
    axes = rotation_matrices(quats) * torch.exp(rows["scales"])[:, None]
    for g in (early, late):
        torch.testing.assert_close(g.means, rows["means"])
        torch.testing.assert_close(g.covariances, axes @ axes.transpose(1, 2))
        torch.testing.assert_close(g.opacities, torch.sigmoid(rows["opacities"])[:, 0])
        assert not g.velocities.any()
    total = early.covariances.sum() + late.means.sum() + late.opacities.sum() + early.features.sum()
    total.backward()
    for name in ("right_quats", "temporal_scales", "temporal_centers"):
        assert not rows[name].grad.any(), name
    assert rows["left_quats"].grad.any()
    start, stop = representation.lifespan({name: value.detach() for name, value in rows.items()})
    assert bool((start < -1e9).all() and (stop > 1e9).all())


def test_temporal_sizes_stop_where_nothing_changes_any_more():
    representation, rows = random_rows(n=5)
    rows["temporal_scales"][:] = MAX_TEMPORAL_SCALE + 1
    rows["temporal_scales"].requires_grad_()
    g = representation.at(rows, 0.3, torch.arange(5))
    (g.opacities.sum() + g.covariances.sum() + g.means.sum()).backward()
    assert not rows["temporal_scales"].grad.any()


def test_active_is_exactly_what_can_colour_a_pixel():
    representation, rows = random_rows(n=2000, static=50, sh_degree=0)
    rows["opacities"] *= 6
    everyone = torch.arange(2000)
    for t in torch.linspace(-0.1, 1.1, 13).tolist():
        opacities = representation.at(rows, t, everyone).opacities
        clear = (opacities - 1 / 255).abs() > 1e-9
        active = torch.zeros(2000, dtype=torch.bool)
        active[representation.active(rows, t)] = True
        assert bool((active == (opacities >= 1 / 255))[clear].all())


def test_broken_rows_are_never_active():
    representation, rows = random_rows(n=30)
    rows["opacities"][:], rows["temporal_scales"][:] = 5.0, 2.0
    assert len(representation.active(rows, 0.5)) == 30
    for i, name in enumerate(rows):
        rows[name].view(30, -1)[i, -1] = float("nan") if i % 2 else float("inf")
    assert len(representation.active(rows, 0.5)) == 30 - len(rows)


def test_degrees_grow_in_the_view_first_then_in_time():
    representation, rows = random_rows(n=2, sh_every=10)
    shapes, seen = [], []
    for step in (0, 10, 29, 30, 39, 40, 50, 500):
        representation.set_step(step)
        g = representation.at(rows, 0.5, torch.arange(2))
        shapes.append(g.features.shape[1])
        seen.append(representation.active_temporal_degree)
        assert representation.spherical_harmonics(g).shape == (2, 16, 3)
    assert shapes == [1, 4, 9, 16, 16, 16, 16, 16]
    assert seen == [0, 0, 0, 0, 0, 1, 2, 2]


def test_initial_rows_show_the_points_and_their_motion():
    n = 12
    generator = torch.Generator().manual_seed(0)
    points = PointsOverTime(
        torch.randn(n, 3, generator=generator), torch.rand(n, 3, generator=generator), torch.linspace(0, 1, n),
        torch.full((n,), 0.02), velocities=torch.randn(n, 3, generator=generator), static=torch.arange(n) < 4,
        key_interval=0.3,
    )  # fmt: skip
    representation = FourDConfig().setup()
    rows = representation.initialize(points, CLIP)
    assert {name: tuple(value.shape[1:]) for name, value in rows.items()} == {
        name: spec.shape for name, spec in representation.parameters.items()
    }
    for i, t in enumerate(points.times.tolist()):
        own = 0.5 if i < 4 else t
        g = representation.at(rows, own, torch.tensor([i]))
        torch.testing.assert_close(g.means[0], points.positions[i])
        torch.testing.assert_close(g.covariances[0], 0.0004 * torch.eye(3), rtol=1e-4, atol=1e-7)
        expected = torch.zeros(3) if i < 4 else points.velocities[i]
        torch.testing.assert_close(g.velocities[0], expected, rtol=1e-4, atol=1e-5)
        colors = 0.5 + SH_C0 * representation.spherical_harmonics(g)[0, 0]
        torch.testing.assert_close(colors, points.colors[i])
    durations = representation.durations(rows)[:, 0]
    torch.testing.assert_close(durations, torch.tensor([2.0] * 4 + [0.3] * (n - 4)), rtol=1e-4, atol=0)


def test_points_without_times_live_over_the_whole_clip():
    n = 100
    cloud = (torch.randn(n, 3), torch.rand(n, 3), torch.full((n,), 0.5), torch.full((n,), 0.02))
    representation = FourDConfig().setup()
    untimed = representation.initialize(PointsOverTime(*cloud, timed=False), CLIP)
    assert all(len(representation.active(untimed, t)) == n for t in (0.0, 0.5, 1.0))
    assert float(untimed["temporal_centers"].std()) > 0.3
