"""Scores of many views against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fourdgs_ns.common.palette import ANCHORS
from fourdgs_ns.evaluation.heat_map import FOOT, HEAD, LABEL_WIDTH, heat_map
from fourdgs_ns.evaluation.scores import (
    ColorMoments,
    fastest_scores,
    flicker,
    mean_scores,
    region_psnr,
    scores_per_camera,
    temporal_deviation,
)
from fourdgs_ns.training.losses import psnr, ssim, ssim_map


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(20, 30, 3, generator=generator), torch.rand(20, 30, 3, generator=generator)


def test_means_skip_views_without_the_score_and_the_rate_is_a_median():
    views = [{"psnr": 20.0, "fps": 1.0}, {"psnr": 30.0, "fps": 50.0, "flicker": 0.2}, {"psnr": 31.0, "fps": 60.0}]
    assert mean_scores(views) == {"psnr": pytest.approx(27.0), "fps": 50.0, "flicker": pytest.approx(0.2)}
    assert scores_per_camera({"a": {"0": {"psnr": 1.0}, "1": {"psnr": 3.0}}, "b": {"0": {"psnr": 5.0}}}) == {
        "a": {"psnr": 2.0}, "b": {"psnr": 5.0},
    }  # fmt: skip


def test_fastest_frames_are_the_tenth_of_each_camera_that_changes_most():
    """Twenty frames with a predecessor a camera: the two that change most of each count, whatever the other camera does."""
    slow = {str(k): {"psnr": 30.0, "change": 1e-3 * k} for k in range(1, 21)}
    fast = {str(k): {"psnr": 10.0 + k, "change": 1.0 * k} for k in range(1, 21)}
    for frames in (slow, fast):
        frames["0"] = {"psnr": 0.0}
    scores = fastest_scores({"slow": slow, "fast": fast})
    assert scores["psnr"] == pytest.approx((30 + 30 + 30 + 29) / 4)
    assert scores["change"] == pytest.approx((20e-3 + 19e-3 + 20 + 19) / 4)
    assert fastest_scores({"one": {"0": {"psnr": 5.0}}}) == {}


def test_moments_give_the_psnr_of_the_images(pair):
    render, truth = pair
    identity = np.concatenate([np.eye(3), np.zeros((1, 3))])
    assert ColorMoments.of(render, truth).psnr(identity) == pytest.approx(float(psnr(render, truth)), abs=1e-4)


def test_one_affine_map_per_camera_is_found_from_several_views():
    """Two views that one known map relates: the fit finds it, and the error it leaves is none."""
    generator = torch.Generator().manual_seed(1)
    matrix, offset = torch.rand(3, 3, generator=generator), torch.rand(3, generator=generator)
    renders = [torch.rand(8, 9, 3, generator=generator) for _ in range(2)]
    moments = [ColorMoments.of(r, r @ matrix + offset) for r in renders]
    fit = (moments[0] + moments[1]).fit()
    np.testing.assert_allclose(fit, torch.cat([matrix, offset[None]]).numpy(), atol=1e-5)
    assert moments[0].psnr(fit) > 80


def test_fitting_never_lowers_the_psnr_of_all_pixels_together(pair):
    render, truth = pair
    moments = ColorMoments.of(render, truth)
    affine = moments.fit()
    assert moments.psnr(affine) >= float(psnr(render, truth))
    mapped = torch.cat([render, torch.ones_like(render[..., :1])], dim=-1).double() @ torch.from_numpy(affine)
    assert moments.psnr(affine) == pytest.approx(float(psnr(mapped, truth.double())), abs=1e-6)


def test_a_grey_image_has_no_unique_map_but_a_score():
    grey = torch.full((4, 4, 3), 0.5)
    moments = ColorMoments.of(grey, torch.full((4, 4, 3), 0.25))
    assert moments.psnr(moments.fit()) > 80


def test_flicker_sees_only_change_that_the_truth_does_not_have(pair):
    a, b = pair
    assert flicker(a, b, a, b) == 0.0
    assert flicker(a + 0.1, b, a, b) == pytest.approx(0.1, abs=1e-6)
    # A constant error does not flicker.
    assert flicker(a + 0.1, b + 0.1, a, b) == pytest.approx(0.0, abs=1e-6)


def test_psnr_of_a_region_counts_its_pixels_only(pair):
    render, truth = pair
    region = torch.zeros(20, 30, dtype=torch.bool)
    region[3:9, 5:12] = True
    assert region_psnr(render, truth, region) == pytest.approx(
        float(psnr(render[3:9, 5:12], truth[3:9, 5:12])), abs=1e-4
    )
    assert region_psnr(render, truth, torch.zeros_like(region)) is None


def test_temporal_deviation_is_that_of_numpy():
    frames = np.random.default_rng(0).integers(0, 256, size=(7, 4, 5, 4), dtype=np.uint8)
    np.testing.assert_allclose(temporal_deviation(frames), (frames[..., :3] / 255.0).std(axis=0).max(axis=-1))
    assert temporal_deviation(np.repeat(frames[:1], 100, axis=0)).max() < 1e-7


@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_inside_the_border_is_that_of_torchmetrics(pair, data_range):
    """The border is padded differently; five pixels from it the windows are the same."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = pair[0], (pair[0] + 0.3 * pair[1]).clamp(max=1)
    _, expected = structural_similarity_index_measure(
        a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None], data_range=data_range, return_full_image=True
    )
    inside = ssim_map(a[None], b[None], data_range)[0, 5:-5, 5:-5].permute(2, 0, 1)
    torch.testing.assert_close(inside, expected[0][:, 5:-5, 5:-5], atol=1e-4, rtol=0)
    assert ssim(a[None], b[None], 2.0) > ssim(a[None], b[None], 1.0)


def test_a_bad_second_is_red_in_the_heat_map():
    views = {name: {str(f): {"psnr": 30.0, "flicker": 0.1} for f in range(5)} for name in ("left", "right")}
    views["right"]["3"] = {"psnr": 10.0, "flicker": 0.9}
    del views["left"]["4"]
    for score in ("psnr", "flicker"):
        image = heat_map(views, score, {"0": 0.0, "4": 0.4})
        height, width = (image.shape[0] - HEAD - FOOT) // 2, 24

        def cell(row, column, image=image, height=height, width=width):
            return image[HEAD + row * height + height // 2, LABEL_WIDTH + column * width + width // 2] / 255

        np.testing.assert_allclose(cell(1, 3), ANCHORS[-1], atol=1 / 255)
        np.testing.assert_allclose(cell(0, 0), ANCHORS[0], atol=1 / 255)
        np.testing.assert_allclose(cell(0, 4), 0.45, atol=1 / 255)
