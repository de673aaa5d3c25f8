"""Growth of 4D Gaussians in space and in time, what goes, and what becomes static."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.densification.fourd import FourDDensification, FourDDensificationConfig
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.parts.velocity_form import VelocityForm
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.representation.types import Clip, PointsOverTime

CLIP = Clip(num_frames=11, duration_seconds=2.0)
SMALL, SHORT = 0.001, 0.06


def setup(n: int = 10, velocities: torch.Tensor | None = None, **options) -> tuple:
    """``n`` small, short rows in the middle of the clip that ask for nothing."""
    representation = FourDConfig(initial_opacity=0.5, initial_duration=SHORT, sh_degree=0).setup()
    points = PointsOverTime(
        torch.randn(n, 3, generator=torch.Generator().manual_seed(0)), torch.rand(n, 3), torch.full((n,), 0.5),
        torch.full((n,), SMALL), velocities=velocities,
    )  # fmt: skip
    params = nn.ParameterDict({k: nn.Parameter(v) for k, v in representation.initialize(points, CLIP).items()})
    optimizers = {name: torch.optim.Adam([value], lr=0.0) for name, value in params.items()}
    config = FourDDensificationConfig(
        **{"start": 0, "stop": 15_000, "gradient_threshold": 1.0, "temporal_gradient_threshold": 1.0,
           "reset_opacity_every": 0, **options}
    )  # fmt: skip
    strategy = config.setup(representation, CLIP, 1.0)
    statistics = strategy.empty_statistics(n, "cpu")
    statistics["view_count"] += 1
    return strategy, params, optimizers, statistics


def go(strategy: FourDDensification, params, optimizers, statistics, step: int = 100) -> dict[str, int]:
    counts = strategy.step(step, params, optimizers, statistics, torch.Generator().manual_seed(0))
    assert counts is not None
    return counts


def set_shape(strategy: FourDDensification, params, row: int, size: float, duration: float, velocity=(0.0, 0.0, 0.0)):
    """Give a row a round shape, a duration and a velocity."""
    form = VelocityForm(size**2 * torch.eye(3)[None], torch.tensor([velocity]), torch.tensor([[duration]]))
    rows = strategy.representation.rows_from(
        params["means"][row : row + 1], params["temporal_centers"][row : row + 1], form
    )
    for name, value in rows.items():
        params[name].data[row] = value[0].detach()


def test_statistics_hold_the_temporal_gradients_of_rows_that_were_seen():
    strategy, params, _, _ = setup()
    statistics = strategy.empty_statistics(10, "cpu")
    ids = torch.tensor([2, 5, 7])
    means2d = torch.zeros(2, 3, 2, requires_grad=True)
    radii = torch.tensor([[1, 0, 0], [1, 1, 0]], dtype=torch.int32)
    rendering = Rendering(torch.zeros(2, 20, 40, 3), torch.zeros(2, 20, 40, 1), None, ids, radii, means2d)
    params["temporal_centers"].grad = torch.arange(10.0)[:, None] - 6.0
    strategy.observe(statistics, rendering, dict(params.items()))
    strategy.observe(statistics, rendering, dict(params.items()))
    expected = torch.zeros(10)
    expected[2], expected[5] = 2 * 2 * 4.0, 2 * 2 * 1.0  # the loss is a mean over two cameras
    assert torch.equal(statistics["temporal_gradient_sum"], expected)
    assert statistics["view_count"].tolist() == [0, 0, 4, 0, 0, 2, 0, 0, 0, 0]


def test_gradient_in_space_clones_small_rows_and_splits_large_ones_in_space():
    strategy, params, optimizers, statistics = setup()
    set_shape(strategy, params, 3, 0.05, 0.9)
    statistics["gradient_sum"][2:4] = 2.0
    before = {name: value.detach().clone() for name, value in params.items()}
    assert go(strategy, params, optimizers, statistics) == {"cloned": 1, "split": 1, "pruned": 0, "frozen": 0}
    rows = dict(params.items())
    assert len(rows["means"]) == 12
    assert torch.equal(rows["means"][9], before["means"][2])  # the clone, before the two halves
    torch.testing.assert_close(rows["temporal_scales"][-2:], before["temporal_scales"][3].expand(2, 1))
    torch.testing.assert_close((before["scales"][3] - rows["scales"][-2:]).sum(dim=-1), torch.full((2,), math.log(1.6)))


def test_gradient_in_time_splits_long_rows_in_time_and_clones_short_ones():
    strategy, params, optimizers, statistics = setup()
    set_shape(strategy, params, 3, SMALL, 0.4, velocity=(0.5, 0.0, 0.0))
    statistics["temporal_gradient_sum"][2:4] = 2.5  # per clip of 2 s: above the threshold of 1 per second
    statistics["temporal_gradient_sum"][4] = 1.5
    before = strategy.representation.durations(params)[3].clone()
    path = strategy.representation.at(params, 0.2, torch.tensor([3])).means.detach()
    assert go(strategy, params, optimizers, statistics) == {"cloned": 1, "split": 1, "pruned": 0, "frozen": 0}
    durations = strategy.representation.durations(params)[-2:]
    torch.testing.assert_close(durations, before.expand(2, 1) / 1.6, rtol=0.02, atol=0)
    halves = strategy.representation.at(params, 0.2, torch.tensor([10, 11]))
    assert float((halves.means - path).norm(dim=-1).max()) < 0.01


def test_without_a_threshold_time_has_no_say():
    strategy, params, optimizers, statistics = setup(temporal_gradient_threshold=0.0)
    statistics["temporal_gradient_sum"] += 100.0
    assert go(strategy, params, optimizers, statistics)["cloned"] == 0


def test_static_rows_never_split_in_time():
    strategy, params, optimizers, statistics = setup()
    ids = torch.arange(10)
    for name, value in strategy.representation.frozen(params, ids).items():
        params[name].data[ids] = value
    statistics["temporal_gradient_sum"] += 100.0
    assert go(strategy, params, optimizers, statistics) == {"cloned": 0, "split": 0, "pruned": 0, "frozen": 0}


def test_rows_that_serve_nobody_go():
    strategy, params, optimizers, statistics = setup(prune_size=0.1, reset_opacity_every=50, reset_opacity_stop=0)
    params["opacities"].data[0] = -6.0  # transparent
    params["temporal_centers"].data[1] = 4.0  # after the clip
    set_shape(strategy, params, 2, SMALL, 0.4 * CLIP.frame_interval)  # one image's
    set_shape(strategy, params, 3, 0.2, SHORT)  # larger than a tenth of the scene
    set_shape(
        strategy, params, 4, SMALL, 0.5, velocity=(1.0, 0.0, 0.0)
    )  # long in four dimensions, small at each instant
    params["left_quats"].data[5] = float("nan")
    assert go(strategy, params, optimizers, statistics, step=1100)["pruned"] == 5
    assert len(params["means"]) == 5


def test_rows_that_outlive_the_clip_and_stay_become_static():
    strategy, params, optimizers, statistics = setup()
    set_shape(strategy, params, 1, 0.02, 1.5, velocity=(0.01, 0.0, 0.0))
    set_shape(strategy, params, 2, 0.02, 1.5, velocity=(0.3, 0.0, 0.0))  # crosses the scene
    set_shape(strategy, params, 3, 0.02, 0.9)
    params["temporal_scales"].grad = torch.ones_like(params["temporal_scales"])
    optimizers["temporal_scales"].step()
    before = strategy.representation.at(params, 0.5, torch.tensor([1]))
    assert go(strategy, params, optimizers, statistics)["frozen"] == 1
    assert torch.nonzero(strategy.representation.is_static(params)[:, 0]).flatten().tolist() == [1]
    for t in (0.0, 0.5, 1.0):
        after = strategy.representation.at(params, t, torch.tensor([1]))
        torch.testing.assert_close(after.means, before.means)
        torch.testing.assert_close(after.covariances, before.covariances, rtol=1e-3, atol=1e-8)
    moments = optimizers["temporal_scales"].state[params["temporal_scales"]]["exp_avg"]
    assert float(moments[1]) == 0.0 and float(moments[3]) != 0.0


def test_static_conversion_can_be_turned_off():
    strategy, params, optimizers, statistics = setup(static_duration=0.0)
    set_shape(strategy, params, 1, 0.02, 5.0)
    assert go(strategy, params, optimizers, statistics)["frozen"] == 0


def test_other_representations_are_refused():
    with pytest.raises(UserError, match="SpacetimeRepresentation"):
        FourDDensificationConfig().setup(SpacetimeConfig().setup(), CLIP, 1.0)
