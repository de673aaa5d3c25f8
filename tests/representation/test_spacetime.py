"""SpacetimeGaussian against closed forms and finite differences, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0
from fourdgs_ns.representation.spacetime import FeatureDecoder, SpacetimeConfig, SpacetimeRepresentation, lite_config
from fourdgs_ns.representation.types import Clip, PointsOverTime

CLIP = Clip(num_frames=31, duration_seconds=1.0)


def random_rows(variant: str, n: int = 40, seed: int = 0) -> tuple[SpacetimeRepresentation, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    representation = SpacetimeConfig(variant=variant).setup()
    rows = {
        name: torch.randn(n, *spec.shape, generator=generator, dtype=torch.float64)
        for name, spec in representation.parameters.items()
    }
    rows["temporal_centers"] = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    rows["log_durations"] = rows["log_durations"] * 0.5 - 1.0
    return representation, rows


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_slice_equals_an_independent_evaluation(variant):
    representation, rows = random_rows(variant)
    t = 0.37
    got = representation.at(rows, t, torch.arange(40))
    r = {name: value.numpy() for name, value in rows.items()}
    for i in range(40):
        dt = t - r["temporal_centers"][i, 0]
        powers = np.array([dt, dt**2, dt**3])
        position = r["means"][i] + powers @ r["motion"][i].reshape(3, 3)
        weight = math.exp(-((dt / math.exp(r["log_durations"][i, 0])) ** 2))
        quat = r["quats"][i] + dt * r["omegas"][i]
        np.testing.assert_allclose(got.means[i], position, rtol=1e-12)
        np.testing.assert_allclose(got.quats[i], quat / np.linalg.norm(quat), rtol=1e-12)
        np.testing.assert_allclose(got.opacities[i], weight / (1 + math.exp(-r["opacities"][i, 0])), rtol=1e-12)
        np.testing.assert_allclose(got.scales[i], np.exp(r["scales"][i]), rtol=1e-12)
        features = r["features_dc"][i]
        if variant == "full":
            features = np.concatenate([features, dt * r["features_time"][i]])
        np.testing.assert_allclose(got.features[i], features, rtol=1e-12)


def test_velocity_is_the_derivative_of_the_position():
    representation, rows = random_rows("lite")
    ids, t, h = torch.arange(40), 0.4, 1e-6
    numeric = (representation.at(rows, t + h, ids).means - representation.at(rows, t - h, ids).means) / (2 * h)
    torch.testing.assert_close(representation.at(rows, t, ids).velocities, numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_gradients(variant):
    """gradcheck of everything but the temporal centre, whose detached paths are checked below."""
    representation, rows = random_rows(variant, n=3)
    names = [name for name in rows if name != "temporal_centers"]
    for name in names:
        rows[name].requires_grad_()

    def evaluate(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        params = {**dict(zip(names, values)), "temporal_centers": rows["temporal_centers"]}
        g = representation.at(params, 0.6, torch.arange(3))
        return g.means, g.quats, g.scales, g.opacities, g.features

    assert torch.autograd.gradcheck(evaluate, tuple(rows[name] for name in names))


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_temporal_center_learns_through_opacity_only(variant):
    representation, rows = random_rows(variant, n=5)
    center = rows["temporal_centers"].requires_grad_()
    g = representation.at(rows, 0.2, torch.arange(5))
    assert not any(value.requires_grad for value in (g.means, g.quats, g.features, g.scales))
    (through_opacity,) = torch.autograd.grad(g.opacities.sum(), center)
    dt = 0.2 - center.detach()
    s = torch.exp(rows["log_durations"])
    expected = g.opacities.detach()[:, None] * 2 * dt / s**2
    torch.testing.assert_close(through_opacity, expected)


def test_active_is_exactly_what_can_colour_a_pixel():
    representation, rows = random_rows("lite", n=2000)
    rows["opacities"] = rows["opacities"] * 6
    everyone = torch.arange(2000)
    for t in torch.linspace(-0.1, 1.1, 13).tolist():
        opacities = representation.at(rows, t, everyone).opacities
        away_from_threshold = (opacities - 1 / 255).abs() > 1e-9
        active = torch.zeros(2000, dtype=torch.bool)
        active[representation.active(rows, t)] = True
        assert bool((active == (opacities >= 1 / 255))[away_from_threshold].all())


def test_never_visible_rows_have_an_empty_lifespan():
    representation, rows = random_rows("lite", n=4)
    rows["opacities"][:] = -9.0
    start, stop = representation.lifespan(rows)
    assert bool((start > stop).all())


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_moving_the_center_keeps_path_and_rotation(variant):
    representation, rows = random_rows(variant)
    moved = {name: value.clone() for name, value in rows.items()}
    shift = torch.rand(40, 1, dtype=torch.float64) - 0.5
    representation.move_center(moved, shift)
    torch.testing.assert_close(moved["temporal_centers"], rows["temporal_centers"] + shift)
    for t in (0.0, 0.3, 1.0):
        before, after = (representation.at(p, t, torch.arange(40)) for p in (rows, moved))
        torch.testing.assert_close(after.means, before.means)
        torch.testing.assert_close(after.quats, before.quats)


def test_clones_stay_on_the_parents_curve_within_its_life():
    representation, rows = random_rows("lite", n=200)
    rows["opacities"].abs_()
    ids = torch.arange(200)
    child = representation.children(rows, ids, "clone", torch.Generator().manual_seed(1))
    at = [representation.at(p, 0.55, ids).means for p in (rows, child)]
    torch.testing.assert_close(at[0], at[1])
    start, stop = (bound.clamp(0, 1) for bound in representation.lifespan(rows))
    centers = child["temporal_centers"][:, 0]
    assert bool(((centers >= start - 1e-9) & (centers <= torch.maximum(start, stop) + 1e-9)).all())
    assert centers.std() > 0.1
    for name in ("scales", "opacities", "features_dc", "log_durations"):
        torch.testing.assert_close(child[name], rows[name])


def test_split_children_are_distributed_as_their_parent():
    """Mean and covariance of 40,000 children of one Gaussian."""
    representation, rows = random_rows("lite", n=1, seed=3)
    rows["motion"][:] = 0
    rows["omegas"][:] = 0
    ids = torch.zeros(40_000, dtype=torch.long)
    child = representation.children(rows, ids, "split", torch.Generator().manual_seed(0))
    axes = rotation_matrices(rows["quats"])[0]
    expected = axes @ torch.diag(torch.exp(2 * rows["scales"][0])) @ axes.T
    offsets = child["means"] - rows["means"]
    torch.testing.assert_close(torch.cov(offsets.T), expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))
    torch.testing.assert_close(torch.exp(child["scales"]), torch.exp(rows["scales"]).expand(40_000, 3) / 1.6)


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_initial_rows_show_the_points(variant):
    n = 7
    points = PointsOverTime(torch.randn(n, 3), torch.rand(n, 3), torch.linspace(0, 1, n), torch.full((n,), 0.02))
    representation = SpacetimeConfig(variant=variant).setup()
    rows = representation.initialize(points, CLIP)
    assert {name: tuple(value.shape[1:]) for name, value in rows.items()} == {
        name: spec.shape for name, spec in representation.parameters.items()
    }
    g = representation.at(rows, 0.0, torch.arange(n))
    torch.testing.assert_close(g.means, points.positions)
    torch.testing.assert_close(g.scales, torch.full((n, 3), 0.02))
    colors = 0.5 + SH_C0 * representation.spherical_harmonics(g)[:, 0]
    torch.testing.assert_close(colors, points.colors.clamp(0.02, 0.98) if variant == "full" else points.colors)
    torch.testing.assert_close(g.quats.norm(dim=-1), torch.ones(n))


def test_decoder_has_90_weights_and_adds_to_the_base():
    decoder = FeatureDecoder("none")
    assert sum(p.numel() for p in decoder.parameters()) == 90
    features, rays = torch.randn(1, 4, 5, 9), torch.randn(1, 4, 5, 6)
    w1, w2 = decoder.hidden.weight, decoder.output.weight
    stacked = torch.cat([features[..., 3:], rays], dim=-1)
    expected = features[..., :3] + torch.relu(stacked @ w1.T) @ w2.T
    torch.testing.assert_close(decoder(features, rays), expected)
    torch.testing.assert_close(FeatureDecoder("sigmoid").train()(features * 0, rays * 0), torch.full((1, 4, 5, 3), 0.5))


def test_broken_rows_are_never_active():
    representation, rows = random_rows("full", n=len(random_rows("full")[1]))
    rows["opacities"][:] = 5.0
    rows["log_durations"][:] = 2.0
    everyone = len(representation.active(rows, 0.5))
    assert everyone == len(rows)
    for i, name in enumerate(rows):
        rows[name][i, -1] = float("nan") if i % 2 else float("inf")
    assert len(representation.active(rows, 0.5)) == 0


def test_points_without_times_live_over_the_whole_clip():
    n = 5
    cloud = (torch.randn(n, 3), torch.rand(n, 3), torch.full((n,), 0.5), torch.full((n,), 0.02))
    representation = SpacetimeConfig(initial_duration=0.1).setup()
    timed = representation.initialize(PointsOverTime(*cloud), CLIP)
    untimed = representation.initialize(PointsOverTime(*cloud, timed=False), CLIP)
    assert len(representation.active(timed, 0.0)) == 0
    assert len(representation.active(untimed, 0.0)) == n and len(representation.active(untimed, 1.0)) == n


def test_colours_of_lite_are_bounded_where_asked():
    for variant, bounded, expected in (
        ("lite", True, (0.0, 1.0)),
        ("lite", False, (-2.0, 3.0)),
        ("full", True, (-2.0, 3.0)),
    ):
        representation = SpacetimeConfig(variant=variant, bounded_colors=bounded).setup()
        _, rows = random_rows(variant)
        before = {name: value.clone() for name, value in rows.items()}
        colors = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64).repeat(rows["features_dc"].shape[1] // 3)
        rows["features_dc"][0] = colors
        representation.confine(rows)
        assert (float(rows["features_dc"][0].min()), float(rows["features_dc"][0].max())) == expected
        assert float(rows["features_dc"][0, 1]) == 0.5
        assert all(torch.equal(rows[name], before[name]) for name in rows if name != "features_dc")


def test_rows_from_elsewhere_keep_the_colours_they_have():
    colors = torch.rand(20, 3)
    assert lite_config(colors).bounded_colors
    colors[3, 1] = 1.2
    assert not lite_config(colors).bounded_colors
