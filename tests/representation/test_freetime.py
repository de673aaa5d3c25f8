"""FreeTime: closed forms, lifespans, children and the start."""

from __future__ import annotations

import math

import pytest
import torch

from fourdgs_ns.representation.freetime import FreeTimeConfig, FreeTimeRepresentation
from fourdgs_ns.representation.parts import windows
from fourdgs_ns.representation.types import Clip, PointsOverTime

CLIP = Clip(num_frames=31, duration_seconds=2.0)
KINDS = ("gaussian", "gated", "flat-top")


def make(kind="gaussian", sh_degree=3, n=40, seed=0) -> tuple[FreeTimeRepresentation, dict[str, torch.Tensor]]:
    """Random rows in float64."""
    representation = FreeTimeConfig(sh_degree=sh_degree, window=kind).setup()
    g = torch.Generator().manual_seed(seed)
    rows = {
        name: torch.randn(n, *spec.shape, generator=g, dtype=torch.float64)
        for name, spec in representation.parameters.items()
    }
    rows["temporal_centers"] = torch.rand(n, 1, generator=g, dtype=torch.float64)
    rows["log_durations"] = torch.log(0.02 + 0.3 * torch.rand(n, 1, generator=g, dtype=torch.float64))
    if "window_shapes" in rows:
        rows["window_shapes"] = 0.2 * rows["window_shapes"] - (0.1 if kind == "gated" else 3.0)
    return representation, rows


def test_slice_is_the_published_formula():
    representation, rows = make()
    t, ids = 0.4, torch.arange(0, 40, 3)
    g = representation.at(rows, t, ids)
    for k, i in enumerate(ids.tolist()):
        dt = t - rows["temporal_centers"][i, 0]
        weight = torch.exp(-0.5 * (dt / torch.exp(rows["log_durations"][i, 0])) ** 2)
        torch.testing.assert_close(g.means[k], rows["means"][i] + rows["velocities"][i] * dt)
        torch.testing.assert_close(g.opacities[k], torch.sigmoid(rows["opacities"][i, 0]) * weight)
        torch.testing.assert_close(g.weights[k], weight)
        torch.testing.assert_close(g.scales[k], rows["scales"][i].exp())
        torch.testing.assert_close(g.features[k, 0], rows["features_dc"][i])
        torch.testing.assert_close(g.features[k, 1:], rows["features_rest"][i])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    representation, rows = make(kind, sh_degree=1, n=3)
    names = list(rows)

    def outputs(*values):
        g = representation.at(dict(zip(names, values)), 0.37, torch.tensor([2, 0]))
        return g.means, g.quats, g.scales, g.opacities, g.features

    assert torch.autograd.gradcheck(outputs, [rows[name].requires_grad_() for name in names])


@pytest.mark.parametrize("kind", KINDS)
def test_lifespan_ends_where_opacity_reaches_the_threshold(kind):
    representation, rows = make(kind)
    rows["opacities"][0] = -9.0
    if kind == "gated":
        rows["window_shapes"][1], rows["opacities"][1] = 1.0, 2.0
    start, stop = representation.lifespan(rows)
    assert start[0] > stop[0], "a row below 1/255 is never visible"
    if kind == "gated":
        assert math.isinf(stop[1]) and math.isinf(start[1]), "an open gate never closes"
    for bound in (start, stop):
        for i in torch.nonzero((start <= stop) & bound.isfinite()).squeeze(-1)[:12].tolist():
            opacity = representation.at(rows, float(bound[i]), torch.tensor([i])).opacities
            torch.testing.assert_close(opacity, torch.full_like(opacity, 1 / 255), rtol=1e-6, atol=0)


def test_windows_are_one_at_their_centre_and_fall():
    duration, shape = torch.tensor(0.1), torch.tensor(-2.0)
    for kind in KINDS:
        values = windows.weight(kind, torch.linspace(0, 1, 50), duration, shape)
        assert values[0] == 1 and bool((values[1:] <= values[:-1]).all())
    plateau = math.exp(-2.0)
    assert windows.weight("flat-top", torch.tensor(0.99 * plateau), duration, shape) == 1
    torch.testing.assert_close(
        windows.weight("flat-top", torch.tensor(plateau + 0.1), duration, shape), torch.tensor(math.exp(-1))
    )


def test_long_lived_flat_tops_move_slowly():
    representation, rows = make("flat-top")
    rows["log_durations"][:] = math.log(3.0)
    rows["window_shapes"][:] = math.log(1.0)
    g = representation.at(rows, 0.9, torch.arange(40))
    torch.testing.assert_close(g.velocities, rows["velocities"] / 17.0)


@pytest.mark.parametrize("kind", KINDS)
def test_moving_the_centre_keeps_the_path(kind):
    representation, rows = make(kind)
    moved = {name: value.clone() for name, value in rows.items()}
    representation.move_center(moved, 0.3 * torch.randn(40, 1, dtype=torch.float64))
    for t in (0.0, 0.6):
        torch.testing.assert_close(
            representation.at(moved, t, torch.arange(40)).means, representation.at(rows, t, torch.arange(40)).means
        )


def test_degree_grows_with_the_step():
    representation, rows = make()
    for step, count in ((0, 1), (999, 1), (1000, 4), (2500, 9), (3000, 16), (29_000, 16)):
        representation.set_step(step)
        assert representation.at(rows, 0.5, torch.arange(40)).features.shape == (40, count, 3)
    representation.set_step(0)
    full = representation.spherical_harmonics(representation.at(rows, 0.5, torch.arange(40)))
    assert full.shape == (40, 16, 3) and float(full[:, 1:].abs().max()) == 0


def test_the_start():
    n = 6
    points = PointsOverTime(
        torch.randn(n, 3), torch.rand(n, 3), torch.linspace(0, 1, n), torch.full((n,), 0.2),
        velocities=torch.ones(n, 3), static=torch.arange(n) < 2, key_interval=0.01,
    )  # fmt: skip
    representation = FreeTimeConfig(initial_scale=0.5, initial_duration_seconds=0.1).setup()
    rows = representation.initialize(points, CLIP)
    assert {name: tuple(v.shape[1:]) for name, v in rows.items()} == {
        name: spec.shape for name, spec in representation.parameters.items()
    }
    # 0.1 s of a clip of 2 s; what does not move lives over the whole clip, from its middle.
    torch.testing.assert_close(rows["log_durations"][2:].exp(), torch.full((4, 1), 0.05))
    torch.testing.assert_close(rows["log_durations"][:2].exp(), torch.full((2, 1), 3.0))
    assert rows["temporal_centers"][:2, 0].tolist() == [0.5, 0.5] and float(rows["velocities"][:2].abs().max()) == 0
    assert rows["velocities"][2:].eq(1).all()
    torch.testing.assert_close(rows["scales"].exp(), torch.full((n, 3), 0.1))
    sparse = representation.initialize(
        PointsOverTime(points.positions, points.colors, points.times, points.spacing, key_interval=0.25), CLIP
    )
    torch.testing.assert_close(sparse["log_durations"].exp(), torch.full((n, 1), 0.25))


def test_a_clip_of_one_frame_works_as_a_still():
    points = PointsOverTime(
        torch.randn(4, 3), torch.rand(4, 3), torch.zeros(4), torch.full((4,), 0.2), timed=False, key_interval=1.0
    )
    representation = FreeTimeConfig().setup()
    rows = representation.initialize(points, Clip(1, 0.0))
    assert len(representation.active(rows, 0.0)) == 4
