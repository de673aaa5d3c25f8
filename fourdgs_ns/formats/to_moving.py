"""A trained model as Gaussians on polynomial paths, for formats that hold such, and what that costs where it is not exact."""

from __future__ import annotations

import math

import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.representation.parts.moving import ALWAYS, Loss, MovingGaussians


def refuse_unless(approximate: bool, losses: list[Loss], format_name: str, notes: list[str]) -> None:
    """Note ``losses`` when the user agreed to them.

    Raises:
        UserError: there are losses and the user did not agree.
    """
    if not losses:
        return
    if not approximate:
        reasons = "; ".join(loss.reason for loss in losses)
        instead = "; ".join(loss.instead for loss in losses)
        raise UserError(
            f"{format_name} cannot hold this model exactly: {reasons}. Give --approximate to write {instead}, or choose "
            "--format npz"
        )
    notes.extend(f"approximate: {loss.reason}; wrote {loss.instead}" for loss in losses)


def moving_gaussians(scene: TrainedScene, format_name: str, approximate: bool, notes: list[str]) -> MovingGaussians:
    """The scene's Gaussians in its own world, those that are never visible within the clip left out.

    Raises:
        UserError: the model is more than this and ``approximate`` is false, or nothing is ever visible.
    """
    form = scene.representation.moving(scene.parameters)
    if form is None:
        raise UserError(f"{format_name} cannot hold the motion of {scene.method}; export --format ply-sequence or npz")
    moving, losses = form
    refuse_unless(approximate, losses, format_name, notes)
    seen = moving.visible()
    if not seen.any():
        raise UserError(
            f"none of the {len(moving)} Gaussians is visible at any t from 0 to 1; the model is untrained or has diverged: use "
            "another checkpoint"
        )
    if not seen.all():
        notes.append(f"{int((~seen).sum())} of {len(moving)} Gaussians are never visible and were left out")
    return moving.select(seen)


def plain_windows(moving: MovingGaussians, losses: list[Loss]) -> MovingGaussians:
    """For formats that know exp(-(dt / s)^2) only: flat tops become Gaussians of the same area, gates open or closed."""
    if moving.has_plain_window():
        return moving
    losses.append(
        Loss("its temporal windows are flat-top or gated", "the Gaussian window of the same area, gates open or closed")
    )
    durations = torch.exp(moving.log_durations) + moving.plateaus * (2.0 / math.sqrt(math.pi))
    durations = torch.where(moving.gates > 0.5, torch.full_like(durations, ALWAYS), durations)
    zeros = torch.zeros_like(durations)
    return MovingGaussians(
        **{**vars(moving), "log_durations": durations.log(), "plateaus": zeros, "gates": zeros},
    )


def plain_colors(moving: MovingGaussians, losses: list[Loss]) -> MovingGaussians:
    """For formats that know RGB only: what depends on the direction is left out."""
    if moving.sh_degree > 0 and bool((moving.colors[:, 1:] != 0).any()):
        losses.append(
            Loss(f"its colours depend on the direction (SH degree {moving.sh_degree})", "the colours of degree 0")
        )
    return MovingGaussians(**{**vars(moving), "colors": moving.rgb()})
