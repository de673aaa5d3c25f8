"""Densification: who is counted, who grows, who goes."""

from __future__ import annotations

import math
import weakref

import torch
from torch import nn

from fourdgs_ns.densification import rows
from fourdgs_ns.densification.gradient import GradientDensification, GradientDensificationConfig
from fourdgs_ns.densification.rows import _edited
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.representation.types import Clip, PointsOverTime, finite_rows

CLIP = Clip(num_frames=11, duration_seconds=1.0)


def setup(n: int = 10, **options) -> tuple[GradientDensification, nn.ParameterDict, dict, dict]:
    representation = SpacetimeConfig(initial_opacity=0.5).setup()
    points = PointsOverTime(torch.randn(n, 3), torch.rand(n, 3), torch.full((n,), 0.5), torch.full((n,), 0.001))
    params = nn.ParameterDict({k: nn.Parameter(v) for k, v in representation.initialize(points, CLIP).items()})
    optimizers = {name: torch.optim.Adam([value], lr=0.0) for name, value in params.items()}
    strategy = GradientDensification(
        GradientDensificationConfig(**{"start": 0, "stop": 15_000, **options}), representation, CLIP, extent=1.0
    )
    return strategy, params, optimizers, strategy.empty_statistics(n, "cpu")


def fake_rendering(
    ids: torch.Tensor, gradient: torch.Tensor, cameras: int = 1, visible: torch.Tensor | None = None
) -> Rendering:
    m = len(ids)
    means2d = torch.zeros(cameras, m, 2, requires_grad=True)
    means2d.grad = gradient.expand(cameras, m, 2).clone()
    radii = torch.ones(cameras, m, dtype=torch.int32) if visible is None else visible.expand(cameras, m).int()
    return Rendering(torch.zeros(cameras, 20, 40, 3), torch.zeros(cameras, 20, 40, 1), None, ids, radii, means2d)


def test_statistics_count_active_rows_only_and_undo_the_batch_mean():
    strategy, _, _, statistics = setup()
    ids = torch.tensor([2, 7])
    gradient = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    strategy.observe(statistics, fake_rendering(ids, gradient, cameras=2))
    # NDC units: x * width/2, y * height/2; loss is a mean over 2 cameras, each row is seen by both.
    expected = torch.zeros(10)
    expected[2], expected[7] = 2 * 2 * 3.0 * 20, 2 * 2 * 4.0 * 10
    torch.testing.assert_close(statistics["gradient_sum"], expected)
    assert statistics["view_count"].tolist() == [0, 0, 2, 0, 0, 0, 0, 2, 0, 0]
    # A row outside every image is not counted either.
    strategy.observe(statistics, fake_rendering(ids, gradient, visible=torch.tensor([1, 0])))
    assert statistics["view_count"].tolist() == [0, 0, 3, 0, 0, 0, 0, 2, 0, 0]


def test_old_rows_go_while_new_ones_are_made(monkeypatch):
    """While the last parameter is edited, nothing holds the old tensor of the first one any more."""
    strategy, params, optimizers, statistics = setup(gradient_threshold=1.0)
    statistics["gradient_sum"][:5], statistics["view_count"][:5] = 10.0, 1.0
    first, gone = weakref.ref(next(iter(params.values()))), []

    def edited(tensor, kept, fresh):
        gone.append(first() is None)
        return _edited(tensor, kept, fresh)

    monkeypatch.setattr(rows, "_edited", edited)
    assert strategy.step(100, params, optimizers, statistics, torch.Generator()) == {
        "cloned": 5,
        "split": 0,
        "pruned": 0,
    }
    assert not gone[0] and gone[-1]


def test_short_lived_row_grows_although_it_is_seen_rarely():
    """Alive at one of five instants with a clear gradient: an average over all instants would miss it."""
    strategy, params, optimizers, statistics = setup(gradient_threshold=1.0)
    for instant in range(5):
        ids = torch.arange(10) if instant == 0 else torch.arange(1, 10)
        gradient = torch.zeros(len(ids), 2)
        if instant == 0:
            gradient[0, 0] = 2.0 / 20
        strategy.observe(statistics, fake_rendering(ids, gradient))
    counts = strategy.step(100, params, optimizers, statistics, torch.Generator())
    assert counts == {"cloned": 1, "split": 0, "pruned": 0}
    assert params["means"].shape[0] == 11
    assert statistics["gradient_sum"].shape == (11,) and float(statistics["gradient_sum"].sum()) == 0


def test_large_rows_are_split_and_their_parent_goes():
    strategy, params, optimizers, statistics = setup(gradient_threshold=1.0, split_size=0.01)
    params["scales"].data[3] = math.log(0.05)
    statistics["gradient_sum"][3], statistics["view_count"][3] = 5.0, 1.0
    counts = strategy.step(100, params, optimizers, statistics, torch.Generator().manual_seed(0))
    assert counts == {"cloned": 0, "split": 1, "pruned": 0}
    assert params["means"].shape[0] == 11
    torch.testing.assert_close(params["scales"][-2:].detach().exp(), torch.full((2, 3), 0.05 / 1.6))


def test_budget_is_kept_and_goes_to_the_largest_gradients():
    strategy, params, optimizers, statistics = setup(gradient_threshold=1.0, max_gaussians=12)
    statistics["gradient_sum"] = torch.arange(10).float() + 1.5
    statistics["view_count"] += 1
    positions = params["means"].detach().clone()
    strategy.step(100, params, optimizers, statistics, torch.Generator())
    assert params["means"].shape[0] == 12
    torch.testing.assert_close(params["means"][10:].detach(), positions[8:])


def test_useless_rows_go():
    strategy, params, optimizers, statistics = setup(prune_near=0.2, prune_size=0.1, reset_opacity_every=50)
    strategy.camera_centers = torch.tensor([[0.0, 0.0, 5.0]])
    params["means"].data[:, 2] = 0
    params["opacities"].data[0] = -6.0  # transparent
    params["log_durations"].data[1] = math.log(1e-3)  # alive between two frames only
    params["temporal_centers"].data[1] = 0.55
    params["temporal_centers"].data[2] = 4.0  # after the clip
    params["log_durations"].data[2] = math.log(0.1)
    params["scales"].data[3] = math.log(0.2)  # larger than a tenth of the scene
    params["means"].data[4] = torch.tensor([0.0, 0.0, 4.9])  # in front of a lens
    params["means"].data[5] = float("nan")
    counts = strategy.step(1100, params, optimizers, statistics, torch.Generator())
    assert counts is not None and counts["pruned"] == 6
    assert params["means"].shape[0] == 4
    assert bool(finite_rows(params).all())


def test_row_alive_on_exactly_one_frame_stays():
    strategy, params, optimizers, statistics = setup(n=1)
    params["log_durations"].data[0] = math.log(1e-3)
    params["temporal_centers"].data[0] = 0.5
    strategy.step(100, params, optimizers, statistics, torch.Generator())
    assert params["means"].shape[0] == 1


def test_opacity_reset_lowers_opacities_and_forgets_their_moments():
    strategy, params, optimizers, statistics = setup(
        reset_opacity_every=100, reset_opacity_stop=1000, gradient_threshold=1e9
    )
    params["opacities"].grad = torch.ones(10, 1)
    optimizers["opacities"].step()
    strategy.step(100, params, optimizers, statistics, torch.Generator())
    torch.testing.assert_close(torch.sigmoid(params["opacities"].detach()), torch.full((10, 1), 0.01))
    state = optimizers["opacities"].state[params["opacities"]]
    assert float(state["exp_avg"].abs().sum()) == 0


def test_nothing_happens_between_events_or_after_the_stop():
    strategy, params, optimizers, statistics = setup(stop=1000)
    assert strategy.step(101, params, optimizers, statistics, torch.Generator()) is None
    assert strategy.step(1100, params, optimizers, statistics, torch.Generator()) is None


def test_defaults_follow_the_length_of_the_training():
    for steps, start, stop, reset in (
        (30_000, 500, 15_000, 6_000),
        (2_000, 200, 1_000, 400),
        (7_000, 500, 3_500, 1_400),
    ):
        config = GradientDensificationConfig()
        config.follow_length(steps)
        assert (config.start, config.stop) == (start, stop)
        assert config.reset_opacity_every == config.reset_opacity_stop == reset
    config = GradientDensificationConfig(start=7, stop=9, reset_opacity_every=0, reset_opacity_stop=3)
    config.follow_length(30_000)
    assert (config.start, config.stop, config.reset_opacity_every, config.reset_opacity_stop) == (7, 9, 0, 3)
