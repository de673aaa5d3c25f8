"""The terms that only a training step adds to the photometric loss, and what it shows to guided sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.training import regularizers
from fourdgs_ns.training.losses import opacity_regularizer, random_crops

if TYPE_CHECKING:
    from fourdgs_ns.plugin.model import DynamicGaussiansModel

PERCEPTUAL_CROP = 256
"""Side in pixels of the crops that LPIPS is trained on."""


def training_terms(
    model: DynamicGaussiansModel, rgb: Float[Tensor, "b h w 3"], truth: Float[Tensor, "b h w 3"], batch: dict
) -> dict[str, Float[Tensor, ""]]:
    """The terms that are on in the model's config, each with its weight; ``rgb`` is what ``model.drawn`` shows."""
    config, terms = model.config, {}
    if config.perceptual_weight and model.perceptual.available(rgb.device):
        distance = model.perceptual.distance(*random_crops(rgb, truth, PERCEPTUAL_CROP, model.step))
        if distance is not None:
            terms["perceptual"] = config.perceptual_weight * distance
    if config.opacity_regularization and model.progress <= config.opacity_regularization_share:
        assert model.rendering is not None and model.drawn is not None
        ids = model.rendering.ids
        count = len(ids) if config.opacity_regularization_over == "active" else model.num_points
        terms["opacity"] = opacity_regularizer(
            model.gauss_params["opacities"], ids, model.drawn.slice.weights[: len(ids)],
            config.opacity_regularization / max(count, 1),
        )  # fmt: skip
    return terms | _priors(model, rgb, truth, batch)


def _priors(model: DynamicGaussiansModel, rgb: Tensor, truth: Tensor, batch: dict) -> dict[str, Tensor]:
    """The terms of :mod:`fourdgs_ns.training.regularizers` that are on."""
    config, terms = model.config, {}
    assert model.rendering is not None
    assert model.drawn is not None
    if config.velocity_smoothness or config.trajectory_smoothness:
        ids = regularizers.sample_rows(model.rendering.ids, model.step)
        where, velocities, accelerations = regularizers.paths(
            model.representation, model.canonical(), model.drawn.t, ids, model.clip.frame_interval
        )
        if config.velocity_smoothness:
            smoothness = regularizers.velocity_smoothness(where.detach(), velocities)
            terms["velocity"] = config.velocity_smoothness * smoothness
        if config.trajectory_smoothness:
            terms["trajectory"] = config.trajectory_smoothness * regularizers.trajectory_smoothness(accelerations)
    if config.temporal_consistency:
        other = model.draw(batch["neighbor_cameras"])
        other_truth = model.ground_truth({"image": batch["neighbor_image"]}, other.background)
        change = regularizers.temporal_consistency(rgb, other.rgb, truth, other_truth)
        terms["consistency"] = config.temporal_consistency * change
    return terms


def observe_guided(
    model: DynamicGaussiansModel, rgb: Float[Tensor, "b h w 3"], truth: Float[Tensor, "b h w 3"], batch: dict
) -> None:
    """Shows guided sampling, where it is on, what ``model.drawn`` got wrong."""
    if not model.config.guided_sampling.enabled:
        return
    assert model.drawn is not None
    model.guided.observe(
        model.step, rgb, truth, [int(c) for c in batch["camera_ids"]],
        len(model.capture_metadata["train_camera_names"]), model.drawn.cameras, model.drawn.gaussians.means.detach(),
        torch.Generator().manual_seed(model.step),
    )  # fmt: skip
