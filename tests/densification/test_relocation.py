"""Relocation: the published formula, the budget, what is sampled, and that the image does not jump."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fourdgs_ns.densification.relocation import Relocation, RelocationConfig, divided, sample_in_proportion
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.types import Clip
from fourdgs_ns.training.losses import psnr

CLIP = Clip(num_frames=21, duration_seconds=1.0)


def scene(n: int = 400, seed: int = 0) -> nn.ParameterDict:
    """Overlapping Gaussians in front of a camera at the origin, of every opacity and lifetime."""
    g = torch.Generator().manual_seed(seed)
    rows = {
        "means": torch.cat([2.4 * torch.rand(n, 2, generator=g) - 1.2, 3 + torch.rand(n, 1, generator=g)], dim=1),
        "velocities": 0.3 * torch.randn(n, 3, generator=g),
        "scales": torch.log(0.05 + 0.15 * torch.rand(n, 3, generator=g)),
        "quats": torch.randn(n, 4, generator=g),
        "opacities": 1.5 * torch.randn(n, 1, generator=g),
        "features_dc": torch.randn(n, 3, generator=g),
        "temporal_centers": torch.rand(n, 1, generator=g),
        "log_durations": torch.log(0.1 + 0.4 * torch.rand(n, 1, generator=g)),
    }
    return nn.ParameterDict({name: nn.Parameter(value) for name, value in rows.items()})


def strategy(**options) -> Relocation:
    config = RelocationConfig(**{"start": 0, "stop": 1000, "growth": 0.0, **options})
    return config.setup(FreeTimeConfig(sh_degree=0).setup(), CLIP, 1.0)


def image(params: nn.ParameterDict, t: float) -> torch.Tensor:
    representation = FreeTimeConfig(sh_degree=0).setup()
    rows = dict(params.items())
    intrinsics = torch.tensor([[[90.0, 0, 48], [0, 90.0, 48], [0, 0, 1]]])
    cameras = PinholeCameras(torch.eye(4)[None], intrinsics, 96, 96)
    with torch.no_grad():
        return rasterize(representation.at(rows, t, representation.active(rows, t)), cameras).features


def adam(params: nn.ParameterDict) -> dict[str, torch.optim.Adam]:
    optimizers = {name: torch.optim.Adam([value], lr=1e-3) for name, value in params.items()}
    for name, value in params.items():
        value.grad = torch.ones_like(value)
        before = value.detach().clone()
        optimizers[name].step()
        value.data.copy_(before)
    return optimizers


@pytest.mark.parametrize("copies", [1, 2, 3, 7])
def test_division_is_the_published_double_sum(copies):
    opacities = torch.tensor([0.02, 0.3, 0.9, 0.99], dtype=torch.float64)
    each, factor = divided(opacities, torch.full((4,), copies))
    for o, e, f in zip(opacities.tolist(), each.tolist(), factor.tolist()):
        assert math.isclose((1 - e) ** copies, 1 - o, rel_tol=1e-9)
        total = sum(
            math.comb(i - 1, k) * (-1) ** k * e ** (k + 1) / math.sqrt(k + 1)
            for i in range(1, copies + 1)
            for k in range(i)
        )
        assert math.isclose(f, o / total, rel_tol=1e-9)


def test_sources_are_sampled_in_proportion_to_their_scores():
    scores = torch.tensor([0.0, 1.0, 0.0, 3.0])
    counts = torch.bincount(sample_in_proportion(scores, 40_000, torch.Generator().manual_seed(0)), minlength=4)
    assert counts[0] == counts[2] == 0
    assert abs(int(counts[3]) - 30_000) < 300


def test_score_is_half_gradient_half_opacity():
    params = scene(3)
    params["opacities"].data[:] = torch.logit(torch.tensor([[0.2], [0.6], [0.001]]))
    statistics = {"gradient_sum": torch.tensor([6.0, 1.0, 99.0]), "view_count": torch.tensor([2.0, 1.0, 1.0])}
    dead = torch.tensor([False, False, True])
    scores = strategy()._scores(statistics, torch.sigmoid(params["opacities"][:, 0]), dead)
    torch.testing.assert_close(scores, torch.tensor([0.5 * 3 / 4 + 0.5 * 0.25, 0.5 * 1 / 4 + 0.5 * 0.75, 0.0]))


def test_the_image_does_not_jump():
    """A twentieth of the rows is dead and moves onto living ones: images stay within a mean of 0.01 at any time."""
    params = scene()
    params["opacities"].data[:20] = -8.0
    times = [0.0, 0.31, 0.5, 0.77, 1.0]
    before = [image(params, t) for t in times]
    s = strategy()
    done = s.step(100, params, adam(params), s.empty_statistics(400, "cpu"), torch.Generator().manual_seed(0))
    assert done == {"relocated": 20, "added": 0}
    differences = [(image(params, t) - b).abs().mean() for t, b in zip(times, before)]
    assert float(torch.stack(differences).max()) < 0.01
    assert min(float(psnr(image(params, t), b)) for t, b in zip(times, before)) > 30
    # The same move without its corrections jumps several times as far: copies of full opacity and size on top of their sources.
    naive = scene()
    naive["opacities"].data[:20] = -8.0
    sources = sample_in_proportion(torch.sigmoid(naive["opacities"][:, 0]), 20, torch.Generator().manual_seed(0))
    for value in naive.values():
        value.data[:20] = value.data[sources]
    jump = torch.stack([(image(naive, t) - b).abs().mean() for t, b in zip(times, before)])
    assert float(jump.mean()) > 1.5 * float(torch.stack(differences).mean())


@pytest.mark.parametrize(
    "stop,least,expected", [(1000, 0.2, 1000), (5000, 0.2, 1000), (200, 0.2, 400), (1000, 0.0, 100)]
)
def test_the_budget_is_reached_in_time_whatever_the_length(stop, least, expected):
    """A tenfold growth: by seven tenths of a training that has events enough, twofold an event where it has not."""
    s = strategy(growth=least, max_gaussians=1000, stop=stop)
    params = scene(100)
    optimizers = {name: torch.optim.Adam([value]) for name, value in params.items()}
    counts = []
    for step in range(100, stop + 1, 100):
        statistics = s.empty_statistics(len(params["means"]), "cpu")
        s.step(step, params, optimizers, statistics, torch.Generator().manual_seed(step))
        counts.append(len(params["means"]))
    assert counts[-1] == expected
    assert max(b / a for a, b in zip([100, *counts], counts)) <= 2.0
    if stop == 1000 and least:
        assert counts[4] < 1000 == counts[6], "by equal shares, not at once"
    if stop == 5000:
        assert counts[:2] == [120, 144], "never slower than asked for"


def test_budget_growth_and_moments():
    params = scene()
    optimizers = adam(params)
    s = strategy(growth=0.5, max_gaussians=500)
    statistics = s.empty_statistics(400, "cpu")
    assert s.step(100, params, optimizers, statistics, torch.Generator().manual_seed(0))["added"] == 100
    assert params["means"].shape[0] == 500 and statistics["view_count"].shape == (500,)
    first = optimizers["means"].state[params["means"]]["exp_avg"]
    assert first.shape == (500, 3)
    touched = (first == 0).all(dim=1)
    assert touched[400:].all(), "new rows start without momentum"
    assert 0 < int(touched[:400].sum()) <= 100, "so do their sources, and nobody else"
    assert s.step(200, params, optimizers, statistics, torch.Generator().manual_seed(0)) == {"relocated": 0, "added": 0}


def test_rows_that_are_never_seen_move():
    params = scene(50)
    params["temporal_centers"].data[0], params["log_durations"].data[0] = 3.0, math.log(0.01)
    params["means"].data[1] = float("nan")
    s = strategy()
    done = s.step(100, params, {}, s.empty_statistics(50, "cpu"), torch.Generator().manual_seed(0))
    assert done == {"relocated": 2, "added": 0}
    assert bool(torch.isfinite(params["means"]).all())
    assert 0 <= float(params["temporal_centers"].data[0]) <= 1


def test_nothing_happens_outside_its_window_of_steps():
    params = scene(10)
    s = strategy(start=500, stop=900)
    for step in (100, 500, 550, 1000):
        assert s.step(step, params, {}, s.empty_statistics(10, "cpu"), torch.Generator()) is None
