"""Scores of every held-out view of a run: whole images, moving regions, colours per camera, and flicker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from fourdgs_ns.capture.frames.store import FrameStore, open_frame_store
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.evaluation.scores import (
    ColorMoments,
    all_scores,
    fastest_scores,
    flicker,
    mean_scores,
    region_psnr,
    scores_per_camera,
    temporal_deviation,
)
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.training.losses import ssim, ssim_map
from fourdgs_ns.training.perceptual import Perceptual

MOVING_DEVIATION = 0.04
"""A pixel whose truth deviates this much over the clip counts as moving; noise and compression stay below 0.02."""
SSIM_RANGES = {"ssim": 1.0, "ssim_range2": 2.0}
"""Score -> data range: papers compute SSIM of images in [0, 1] with either."""


class MovingRegions:
    """Which pixels of a held-out view move: the capture's masks where it has them, else those whose truth changes over time."""

    def __init__(self, dataset: MultiViewVideoDataset) -> None:
        self.dataset = dataset
        self.source: dict[str, str] = {}
        """Where each camera's regions come from: masks, variance, or none (a camera that moves itself)."""
        self._masks: FrameStore | None = None
        self._still: dict[str, Bool[np.ndarray, "h w"]] = {}
        for name in dataset.camera_names:
            camera = dataset.capture.camera(name)
            self.source[name] = "masks" if camera.masks else "none" if camera.moves else "variance"

    def of(self, view: int) -> Bool[Tensor, "h w"] | None:
        """The region of one view; None where it cannot be told."""
        name, index = self.dataset.camera_name(view), int(self.dataset.store_index[view])
        source = self.source[name]
        if source == "none":
            return None
        if source == "masks":
            return torch.from_numpy(self._mask_store().read(name, index)[..., 3] > 127)
        if name not in self._still:
            self._still[name] = temporal_deviation(self.dataset.store.memmap(name)) > MOVING_DEVIATION
        return torch.from_numpy(self._still[name])

    def _mask_store(self) -> FrameStore:
        if self.dataset.facts.masks_as_alpha:
            return self.dataset.store
        if self._masks is None:
            # Masks that only label were left out of the frames; they are decoded beside them, for held-out cameras only.
            capture = self.dataset.capture
            held_out = [name for name, source in self.source.items() if source == "masks"]
            labelled = replace(capture.only_cameras(held_out), masks_are_mattes=False)
            self._masks = open_frame_store(labelled, self.dataset.facts.downscale, masks=True)
        return self._masks


@torch.no_grad()
def evaluate_pipeline(pipeline: DynamicGaussiansPipeline) -> dict[str, Any]:
    """Scores of all held-out views.

    Returns a dictionary for JSON: ``mean``, ``fastest`` (mean of the tenth of frames in which the truth changes most),
    ``per_camera``, ``per_view`` (camera -> frame -> scores), ``gaussians``, ``affine`` (camera -> colour map) and
    ``moving_from`` (camera -> masks, variance or none). Scores of a view:

    * psnr, ssim (data range 1), lpips, fps: as ns-eval;
    * psnr_affine: PSNR after one affine colour map per camera, fitted to all its frames (least squares, not clamped);
    * ssim_range2: SSIM with data range 2; lpips_vgg where VGG's weights are at hand;
    * psnr_moving, ssim_moving, lpips_moving: where the scene moves (LPIPS: the rest is replaced by the truth); moving: that
      region's share of the image;
    * flicker: see :func:`fourdgs_ns.evaluation.scores.flicker`, from the second frame on;
    * change: mean absolute difference between the truth and the truth of the frame before.
    """
    pipeline.eval()
    regions = MovingRegions(pipeline.datamanager.eval_dataset)
    vgg = Perceptual("vgg")
    per_view: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    moments: dict[str, dict[str, ColorMoments]] = defaultdict(dict)
    previous: tuple[str, Tensor, Tensor] | None = None
    for camera, batch in _with_progress(pipeline):
        scores, images = pipeline.score(camera, batch)
        truth, render = images["img"].chunk(2, dim=1)
        name, frame = batch["camera"], str(batch["frame"])
        _add_whole(scores, render, truth, vgg if "lpips" in scores else None)
        region = regions.of(batch["image_idx"])
        if region is not None:
            _add_moving(scores, render, truth, region.to(render.device), pipeline)
        if previous is not None and previous[0] == name:
            scores["flicker"] = flicker(render, previous[1], truth, previous[2])
            scores["change"] = float((truth - previous[2]).abs().mean())
        previous = name, render, truth
        per_view[name][frame] = scores
        moments[name][frame] = ColorMoments.of(render, truth)
    affine = {}
    for name, frames in moments.items():
        everything = list(frames.values())
        fit = sum(everything[1:], everything[0]).fit()
        affine[name] = fit.T.tolist()
        for frame, view in frames.items():
            per_view[name][frame]["psnr_affine"] = view.psnr(fit)
    return {
        "mean": mean_scores(all_scores(per_view)),
        "fastest": fastest_scores(per_view),
        "per_camera": scores_per_camera(per_view),
        "per_view": {name: dict(frames) for name, frames in per_view.items()},
        "gaussians": pipeline.gaussians.num_points,
        "affine": affine,
        "moving_from": regions.source,
    }


def _with_progress(pipeline: DynamicGaussiansPipeline) -> Iterator[tuple[Cameras, dict[str, Any]]]:
    views = pipeline.datamanager.fixed_indices_eval_dataloader
    with progress_bar() as progress:
        yield from progress.track(views, total=len(views), description="evaluating held-out views")


def _add_whole(scores: dict[str, float], render: Tensor, truth: Tensor, vgg: Perceptual | None) -> None:
    scores["ssim_range2"] = float(ssim(render[None], truth[None], SSIM_RANGES["ssim_range2"]))
    distance = vgg.distance(render[None], truth[None]) if vgg is not None else None
    if distance is not None:
        scores["lpips_vgg"] = float(distance)


def _add_moving(
    scores: dict[str, float], render: Tensor, truth: Tensor, region: Tensor, pipeline: DynamicGaussiansPipeline
) -> None:
    scores["moving"] = float(region.float().mean())
    value = region_psnr(render, truth, region)
    if value is None:
        return
    scores["psnr_moving"] = value
    for key, data_range in SSIM_RANGES.items():
        scores[key.replace("ssim", "ssim_moving")] = float(
            ssim_map(render[None], truth[None], data_range)[0][region].mean()
        )
    if "lpips" in scores:
        pasted = torch.where(region[..., None], render, truth)
        distance = pipeline.gaussians.perceptual.distance(pasted[None], truth[None])
        if distance is not None:
            scores["lpips_moving"] = float(distance)
