"""The spatio-temporal variation score: contributions against the dense twin, steadiness and volume against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.representation.types import Clip, PointsOverTime
from fourdgs_ns.training.pruning import contributions, highest_scores, steadiness, variation_scores, volumes
from tests.rasterization.dense_twin import dense_rasterize
from tests.rasterization.random_scenes import NAMES, make_cameras, make_parameters, make_slice

CLIP = Clip(num_frames=31, duration_seconds=3.0)
METHODS = [SpacetimeConfig(), FreeTimeConfig(), FourDConfig()]


def test_contributions_are_the_sums_of_the_blending_weights():
    """One channel per Gaussian in the twin: each image is that Gaussian's weights."""
    cameras, parameters = make_cameras(2, 24, 20), make_parameters(30, 3, seed=3, width=24)
    exact = {name: value.double() for name, value in parameters.items()}
    exact["features"] = torch.eye(30, dtype=torch.float64)
    background = torch.zeros(30, dtype=torch.float64)
    expected = dense_rasterize(*(exact[name] for name in NAMES), background, cameras).features.sum(dim=(0, 1, 2))
    torch.testing.assert_close(contributions(make_slice(parameters), cameras).double(), expected, rtol=1e-4, atol=1e-4)


def test_they_need_no_gradients_and_leave_none():
    parameters = {name: value.requires_grad_() for name, value in make_parameters(20, 3, seed=1).items()}
    with torch.no_grad():
        found = contributions(make_slice(parameters), make_cameras(1, 30, 20))
    assert not found.requires_grad and float(found.sum()) > 0
    assert all(value.grad is None for value in parameters.values())


def cloud(n: int = 40) -> PointsOverTime:
    g = torch.Generator().manual_seed(0)
    positions = torch.randn(n, 3, generator=g) * 0.5 + torch.tensor([0.0, 0.0, 4.0])
    times = torch.linspace(0, 1, n)
    return PointsOverTime(positions, torch.rand(n, 3, generator=g), times, torch.full((n,), 0.1))


def test_steadiness_is_that_of_a_gaussian_in_time():
    representation = FourDConfig(sh_degree=0).setup()
    params = {name: value.double() for name, value in representation.initialize(cloud(3), CLIP).items()}
    durations = torch.tensor([0.1, 0.4, 2.0])
    params["temporal_scales"] = durations.log()[:, None].double()
    params["temporal_centers"] = torch.full((3, 1), 0.45, dtype=torch.float64)
    found = steadiness(representation, params, 0.5, torch.arange(3), CLIP)
    sigma = durations * 3.0  # seconds
    dt = 0.05 * 3.0
    bump = torch.exp(-0.5 * (dt / sigma) ** 2)
    second = (dt**2 / sigma**4 - 1 / sigma**2) * bump
    expected = 1 / (0.5 + 0.5 * torch.tanh(second.abs()))
    torch.testing.assert_close(found.float(), expected, rtol=2e-2, atol=0)
    assert found[0] < found[1] < found[2]


def test_volume_is_that_of_the_ellipsoid_times_the_visible_life():
    representation = FourDConfig(sh_degree=0).setup()
    params = representation.initialize(cloud(2), CLIP)
    params["temporal_centers"][:], params["temporal_scales"][:] = 0.5, math.log(0.05)
    start, stop = representation.lifespan(params)
    g = representation.at(params, 0.5, torch.arange(2))
    torch.testing.assert_close(volumes(representation, params, g), 0.1**3 * (stop - start), rtol=1e-3, atol=0)


@pytest.mark.parametrize("config", METHODS, ids=lambda c: type(c).__name__)
def test_scores_of_every_method_prefer_what_is_seen_and_lasts(config):
    representation = config.setup()
    params = representation.initialize(cloud(), CLIP)
    name = "temporal_scales" if "temporal_scales" in params else "log_durations"
    params[name][:] = math.log(0.1)
    params[name][:20] = math.log(1.0)
    params["temporal_centers"][:] = 0.5
    params["means"][20:] = params["means"][:20] + 1e-3  # the same places
    params["means"][0, 2] = -9.0  # behind the cameras
    cameras = make_cameras(2, 60, 40, off_center=False)
    scores = variation_scores(representation, params, CLIP, [(t, cameras) for t in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert scores[0] == 0 and scores.shape == (40,)
    assert float(scores[1:20].mean()) > 2 * float(scores[21:].mean())


def test_the_best_share_is_kept_and_what_nobody_sees_never():
    scores = torch.tensor([0.0, 3.0, 1.0, 0.0, 2.0])
    assert highest_scores(scores, 0.4).tolist() == [False, True, False, False, True]
    assert highest_scores(scores, 0.8).tolist() == [False, True, True, False, True]
    assert highest_scores(scores, 0.01).tolist() == [False, True, False, False, False]
