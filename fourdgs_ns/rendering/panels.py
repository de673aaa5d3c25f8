"""One image of a video: panels of one or several runs, coloured the same at every t, with a strip of numbers below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.palette import ValueRange, palette
from fourdgs_ns.inspection.comparison import DIFFERENCE_GAIN, resized
from fourdgs_ns.plugin.model import DynamicGaussiansModel
from fourdgs_ns.plugin.runs import LoadedRun
from fourdgs_ns.rendering.plans import Plan
from fourdgs_ns.training.losses import psnr, ssim
from fourdgs_ns.viewer.inspector import SliceRanges, coloring_edit, slice_ranges

Output = Literal["rgb", "depth", "motion", "truth", "difference"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
STRIP_HEIGHT, TEXT_SIZE = 42, 0.45
STRIP_COLOR, INK = (24, 24, 28), (235, 235, 235)


class PanelRenderer:
    """Renders the images of a plan."""

    def __init__(self, runs: Sequence[LoadedRun], plan: Plan, outputs: Sequence[Output], strip: bool) -> None:
        self.runs, self.plan, self.outputs, self.strip = runs, plan, outputs, strip
        if plan.truth is None and set(outputs) & {"truth", "difference"}:
            raise UserError(
                "--outputs truth and difference need a camera of the capture at its own frames: use the path fixed, without "
                "--speed and --fps, and --at or --span on frames"
            )
        first = runs[0]
        for other in runs[1:]:
            _check_comparable(first, other)
        cameras = first.pipeline.datamanager.train_dataset.cameras
        self.ranges: SliceRanges | None = None
        if set(outputs) & {"depth", "motion"}:
            # Those of the first run for all: equal colours mean equal things.
            self.ranges = slice_ranges(first.pipeline.gaussians, cameras)

    @torch.no_grad()
    def render(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Image ``index``: a row of outputs per run; runs stand side by side when one output is asked for."""
        camera = self.plan.cameras[index : index + 1]
        truth = self._truth(index)
        blocks = [self._block(run, camera, truth) for run in self.runs]
        if len(self.outputs) == 1:
            if self.outputs[0] not in ("truth",) and truth is not None and len(self.runs) > 1:
                blocks = [self._labelled(_bytes(truth), "truth"), *blocks]
            return np.concatenate(blocks, axis=1)
        return np.concatenate(blocks, axis=0)

    def _block(self, run: LoadedRun, camera: Cameras, truth: Tensor | None) -> UInt8[np.ndarray, "h w 3"]:
        model = run.pipeline.gaussians
        here = _moved(camera, self.runs[0].pipeline.gaussians, model)
        rendered = model.get_outputs_for_camera(here)
        panels = []
        for output in self.outputs:
            if output == "rgb":
                panels.append(rendered["rgb"])
            elif output == "depth":
                assert self.ranges is not None
                panels.append(palette(self.ranges.depth.share(rendered["depth"][..., 0] / _scale(model, self.runs[0]))))
            elif output == "motion":
                assert self.ranges is not None
                # Velocities are in the units of the run's own world, and so must be what they are compared with.
                highest = self.ranges.speed.high * _scale(model, self.runs[0])
                ranges = replace(self.ranges, speed=ValueRange(0.0, highest))
                edit = coloring_edit(model, model.time_of(here), ranges, "motion speed", 0.0, 0.0)
                panels.append(model.get_outputs(here, edit)["rgb"])
            else:
                assert truth is not None
                shown = (
                    truth if output == "truth" else (DIFFERENCE_GAIN * (truth - rendered["rgb"]).abs()).clamp(max=1.0)
                )
                panels.append(shown)
        return self._labelled(_bytes(torch.cat(panels, dim=1)), self._numbers(run, rendered["rgb"], truth))

    def _numbers(self, run: LoadedRun, rgb: Tensor, truth: Tensor | None) -> str:
        if truth is None:
            return f"{run.name}\n{run.pipeline.gaussians.num_points:,} Gaussians"
        scores = f"{float(psnr(rgb, truth)):.2f} dB  SSIM {float(ssim(rgb[None], truth[None])):.4f}"
        return f"{run.name}\n{scores}"

    def _labelled(self, image: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "_h w 3"]:
        if not self.strip:
            return image
        strip = np.full((STRIP_HEIGHT, image.shape[1], 3), STRIP_COLOR, np.uint8)
        for row, line in enumerate(text.split("\n")):
            length = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SIZE, 1)[0][0]
            size = TEXT_SIZE * min(1.0, (image.shape[1] - 12) / max(length, 1))
            cv2.putText(strip, line, (6, 16 + 18 * row), cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)
        return np.concatenate([image, strip])

    def _truth(self, index: int) -> Float[Tensor, "h w 3"] | None:
        if self.plan.truth is None:
            return None
        dataset, views = self.plan.truth
        model = self.runs[0].pipeline.gaussians
        image = model.ground_truth(
            {"image": torch.from_numpy(dataset.get_numpy_image(views[index]))}, model.capture_background
        )
        camera = self.plan.cameras
        return resized(image, int(camera.height[index]), int(camera.width[index]))


def _bytes(image: Float[Tensor, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return (image.clamp(0.0, 1.0) * 255).round().byte().cpu().numpy()


def _check_comparable(first: LoadedRun, other: LoadedRun) -> None:
    mine, theirs = (run.pipeline.datamanager.train_dataset.capture for run in (first, other))
    if mine.root.resolve() != theirs.root.resolve():
        raise UserError(f"{other.name} was trained on {theirs.root}, not on {mine.root}; compare runs of one capture")
    if first.pipeline.gaussians.clip != other.pipeline.gaussians.clip:
        raise UserError(
            f"{other.name} covers other frames of {mine.root} than {first.name}; compare runs of the same --frames"
        )


def _scale(model: DynamicGaussiansModel, first: LoadedRun) -> float:
    """Length in ``model``'s world of what is 1 in the first run's."""
    mine, theirs = model.world_from_capture, first.pipeline.gaussians.world_from_capture
    return 1.0 if mine is None or theirs is None else mine.scale / theirs.scale


def _moved(camera: Cameras, source: DynamicGaussiansModel, target: DynamicGaussiansModel) -> Cameras:
    """The same camera in another run's world: runs with other training cameras have other worlds."""
    if source.world_from_capture is None or target.world_from_capture is None or source is target:
        return camera
    a, b = source.world_from_capture, target.world_from_capture
    pose = camera.camera_to_worlds[0].double().cpu().numpy()
    captured = np.eye(4)[None].copy()
    captured[0, :3, :3] = a.rotation.T @ pose[:, :3]
    captured[0, :3, 3] = a.rotation.T @ (pose[:, 3] / a.scale - a.translation)
    moved = camera[0:1]
    moved.camera_to_worlds = torch.from_numpy(b.poses_from_capture(captured)[:, :3]).float()
    return moved
