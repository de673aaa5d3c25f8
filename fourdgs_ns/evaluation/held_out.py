"""PSNR of a run on held-out views, as it was trained and with the Gaussians of a file that was written from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.format import SliceAt
from fourdgs_ns.formats.registry import format_of
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.plugin.runs import LoadedRun
from fourdgs_ns.representation.types import GaussiansAtTime
from fourdgs_ns.training.losses import psnr

VIEWS = 8
"""Held-out views, spread evenly over cameras and frames."""


def stored_slices(path: Path, world: WorldFromCapture | None) -> SliceAt:
    """The Gaussians that a file of this package holds, in the run's world, which lies so in the capture's.

    Raises:
        UserError: another kind of file, or damaged.
    """
    known = format_of(path)
    if known is None or known.slices is None:
        raise UserError(f"{path} is no file whose Gaussians can be scored; export with --format npz or html")
    return known.slices(path, world)


@torch.no_grad()
def mean_psnr(run: LoadedRun, slice_at: SliceAt | None = None, views: int = VIEWS) -> float:
    """Mean PSNR in dB over some held-out views, of the run's own Gaussians or of those that ``slice_at`` gives."""
    pipeline, model = run.pipeline, run.pipeline.gaussians
    total = len(pipeline.datamanager.eval_dataset)
    scores = []
    for view in np.unique(np.linspace(0, total - 1, min(views, total)).round().astype(int)):
        camera, batch = pipeline.datamanager.eval_view(int(view))
        t = model.time_of(camera)
        edit = None if slice_at is None else lambda *_, t=t: on_device(slice_at(t), model.device)
        outputs = model.get_outputs(camera, edit)
        scores.append(float(psnr(outputs["rgb"], model.ground_truth(batch, outputs["background"]))))
    return float(np.mean(scores))


def on_device(gaussians: GaussiansAtTime, device: torch.device) -> GaussiansAtTime:
    """The slice on another device."""
    moved: dict[str, Any] = {name: value.to(device) for name, value in gaussians.tensors().items()}
    return replace(gaussians, **moved)


def note_on_cost(run: LoadedRun, path: Path) -> str:
    """What a file written from ``run`` costs on held-out views, as a sentence.

    Raises:
        UserError: nothing is held out.
    """
    count = len(run.pipeline.datamanager.eval_dataset)
    if count == 0:
        raise UserError(f"{run.folder} holds out no camera, so there is nothing to score; leave --score away")
    before = mean_psnr(run)
    after = mean_psnr(run, stored_slices(path, run.pipeline.gaussians.world_from_capture))
    return (
        f"held-out PSNR {before:.2f} dB before, {after:.2f} dB after (mean of {min(VIEWS, count)} views of "
        f"{', '.join(run.pipeline.datamanager.eval_dataset.camera_names)})"
    )
