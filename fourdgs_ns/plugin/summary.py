"""The end of a training: scores.json, refined_cameras.json, and the commands to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fourdgs_ns.common.console import say
from fourdgs_ns.common.files import write_text
from fourdgs_ns.common.text import typed
from fourdgs_ns.corrections.report import refined_calibration
from fourdgs_ns.plugin.model import DynamicGaussiansModel
from fourdgs_ns.plugin.nerfstudio_cameras import pinhole_cameras
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline


def size_of(model: DynamicGaussiansModel) -> dict[str, Any]:
    """Number of Gaussians, and megabytes of their parameters."""
    size = sum(value.numel() * 4 for value in model.gauss_params.values()) / 1e6
    return {"gaussians": model.num_points, "megabytes": size}


def write_summary(
    pipeline: DynamicGaussiansPipeline, scores: Mapping[str, float], run: Path, steps: int, peak_memory_gb: float
) -> None:
    """Write what a training came to into its folder ``run``, and tell the user.

    Args:
        scores: Means over the held-out views.
        steps: That were trained.
    """
    model = pipeline.gaussians
    size = size_of(model)
    extra = f", LPIPS {scores['lpips']:.3f}" if "lpips" in scores else ""
    say(
        f"\nHeld-out views: [bold]{scores['psnr']:.2f} dB PSNR[/bold], SSIM {scores['ssim']:.4f}{extra}; "
        f"{size['gaussians']:,} Gaussians, {size['megabytes']:.1f} MB, {scores['fps']:.0f} images/s",
        markup=True,
    )
    record = {**scores, **size, "steps": steps, "peak_memory_gb": peak_memory_gb}
    if model.corrections.clocks is not None:
        offsets = model.corrections.clocks.in_frames(model.clip.frame_interval).tolist()
        record["camera_offset_frames"] = dict(zip(model.facts.train_camera_names, offsets))
    _write_refined_cameras(pipeline, run / "refined_cameras.json")
    write_text(run / "scores.json", json.dumps(record, indent=2))
    say(next_commands(run))


def next_commands(run: Path) -> str:
    """What to type after a training into the folder ``run``; each line works from every folder."""
    run = run.absolute()
    commands = {
        "see it": ("ns-viewer", "--load-config", run / "config.yml"),
        "score it": ("fourdgs-ns", "evaluate", run),
        "render it": ("fourdgs-ns", "render", "orbit", run, "--out", run / "orbit.mp4"),
        "take it": ("fourdgs-ns", "export", run, "--format", "html", "--out", run / "scene.html"),
    }
    return "\n".join(f"  {what:<11} {typed(*words)}" for what, words in commands.items())


def _write_refined_cameras(pipeline: DynamicGaussiansPipeline, path: Path) -> None:
    """What was learned about the cameras, if anything was to be."""
    model, dataset = pipeline.gaussians, pipeline.datamanager.train_dataset
    world = dataset.facts.world_from_capture
    if not model.corrections.groups() or world is None:
        return
    first = torch.tensor([int((dataset.camera_ids == k).argmax()) for k in range(len(dataset.camera_names))])
    stated = pinhole_cameras(dataset.cameras[first], model.near, "cpu").camera_from_world
    content, told = refined_calibration(
        model.corrections, dataset.camera_names, dataset.capture, model.clip, stated, world
    )
    write_text(path, json.dumps(content, indent=2))
    for line in told:
        say(line)
    say(f"  calibration {path}")
