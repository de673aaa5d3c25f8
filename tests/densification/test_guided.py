"""Guided sampling: which cameras, which pixels, where the new Gaussians go."""

from __future__ import annotations

import torch
from torch import nn

from fourdgs_ns.densification.guided import GuidedSampling, GuidedSamplingConfig, bad_pixels, far_depth
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.representation.types import Clip, PointsOverTime

CLIP = Clip(10, 1.0)
HEIGHT, WIDTH = 64, 96


def camera(x: float = 0.0) -> PinholeCameras:
    view = torch.eye(4)[None].clone()
    view[0, 0, 3] = -x
    matrix = torch.tensor([[[80.0, 0, WIDTH / 2], [0, 80.0, HEIGHT / 2], [0, 0, 1]]])
    return PinholeCameras(view, matrix, WIDTH, HEIGHT)


def test_only_badly_wrong_patches_away_from_the_border_are_chosen():
    truth = torch.rand(HEIGHT, WIDTH, 3) * 0.1 + 0.5
    rgb = truth.clone()
    rgb[16:32, 32:48] = 1 - rgb[16:32, 32:48]
    rgb[0:16, 0:16] = 0
    rgb[40, 40] = 0  # one bad pixel does not make a bad patch
    chosen = bad_pixels(rgb, truth, GuidedSamplingConfig(error_quantile=0.9))
    rows, columns = torch.nonzero(chosen, as_tuple=True)
    assert int(chosen[16:32, 32:48].sum()) == 192  # 16 x 16 without pixels in even rows and even columns
    assert int(chosen[6:16, 9:16].sum()) == int(chosen.sum()) - 192  # of the corner patch what is not border
    assert int(rows.min()) >= 6 and int(columns.min()) >= 9
    assert not bool(((rows % 2 == 0) & (columns % 2 == 0)).any())


def test_a_brightness_difference_alone_marks_nothing():
    truth = torch.rand(HEIGHT, WIDTH, 3)
    error = (truth * 0.6 / (0.6 * truth.mean() + 0.006) - truth / (truth.mean() + 0.01)).abs().max()
    assert float(error) < 1e-5
    noisy = truth * 0.6 / (0.6 * truth.mean() + 0.006) * (truth.mean() + 0.01)
    assert int(bad_pixels(noisy, truth, GuidedSamplingConfig(error_quantile=0.99)).sum()) == 0


def test_far_depth_ignores_what_the_camera_does_not_see():
    means = torch.tensor([[0.0, 0.0, z] for z in torch.linspace(1, 2, 101)] + [[0.0, 0.0, -50.0], [900.0, 0.0, 60.0]])
    depth = far_depth(camera(), 0, means)
    assert depth is not None and abs(depth - 1.98) < 0.02
    assert far_depth(camera(), 0, torch.tensor([[0.0, 0.0, -1.0]])) is None


def run(scores: dict[int, float], steps: int = 400) -> tuple[GuidedSampling, list[int]]:
    """Three cameras whose images have given quality, seen in turn; returns the steps at which points were added."""
    torch.manual_seed(0)
    representation = SpacetimeConfig().setup()
    guided = GuidedSampling(GuidedSamplingConfig(enabled=True, start=10), representation, CLIP)
    points = PointsOverTime(
        torch.rand(50, 3) + torch.tensor([0.0, 0.0, 2.0]), torch.rand(50, 3), torch.rand(50), torch.ones(50)
    )
    params = nn.ParameterDict({k: nn.Parameter(v) for k, v in representation.initialize(points, CLIP).items()})
    optimizers = {k: torch.optim.Adam([v]) for k, v in params.items()}
    truth = torch.rand(1, HEIGHT, WIDTH, 3)
    added = []
    for step in range(steps):
        who = step % 3
        rgb = truth.clone()
        if scores[who] < 1:
            rgb[:, 16:48, 16:64] = torch.rand(32, 48, 3)
        guided.observe(
            step, rgb, truth, [who], 3, camera(), params["means"].detach(), torch.Generator().manual_seed(step)
        )
        if guided.step(params, optimizers):
            added.append(step)
    return guided, added


def test_the_two_worst_cameras_get_one_dose_each_apart_in_time():
    guided, added = run({0: 1.0, 1: 0.5, 2: 0.5})
    assert len(added) == 2 and added[1] - added[0] > 100 and guided.chosen == []


def test_one_bad_camera_alone_gets_nothing():
    assert run({0: 1.0, 1: 1.0, 2: 0.5})[1] == []


def test_new_points_lie_on_the_rays_of_bad_pixels_at_the_asked_depths():
    representation = SpacetimeConfig().setup()
    config = GuidedSamplingConfig(enabled=True, depth_factors=(0.5, 3.0))
    guided = GuidedSampling(config, representation, CLIP)
    pixels = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    pixels[20, 30] = pixels[25, 70] = True
    truth = torch.rand(HEIGHT, WIDTH, 3)
    means = torch.tensor([[0.0, 0.0, 2.0]])
    rows = guided._points(pixels, truth, camera(x=0.3), 0, means, torch.Generator().manual_seed(0))
    assert rows is not None and rows["means"].shape == (4, 3)
    local = rows["means"] - torch.tensor([0.3, 0.0, 0.0])
    u, v = local[:, 0] / local[:, 2] * 80 + WIDTH / 2, local[:, 1] / local[:, 2] * 80 + HEIGHT / 2
    torch.testing.assert_close(u, torch.tensor([30.5, 70.5] * 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(v, torch.tensor([20.5, 25.5] * 2), atol=1e-3, rtol=0)
    assert bool((local[:, 2] / torch.tensor([1.0, 1.0, 6.0, 6.0]) - 1).abs().max() <= 0.05)
    torch.testing.assert_close(rows["features_dc"][:2], truth[[20, 25], [30, 70]])
    assert bool((rows["quats"] == torch.tensor([1.0, 0, 0, 0])).all())


def test_state_survives_a_checkpoint():
    guided, _ = run({0: 1.0, 1: 0.5, 2: 0.5}, steps=60)
    other = GuidedSampling(guided.config, guided.representation, CLIP)
    other.restore(guided.state())
    assert (other.recorded, other.chosen, other.last_step) == (guided.recorded, guided.chosen, guided.last_step)
