"""The terms that only a training step adds to the photometric loss: which, how strongly, and their sum by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.rasterization.render import RenderedViews
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, Parameters
from fourdgs_ns.training import regularizers
from fourdgs_ns.training.losses import opacity_regularizer, random_crops
from fourdgs_ns.training.perceptual import Perceptual

PERCEPTUAL_CROP = 256
"""Side in pixels of the crops that LPIPS is trained on."""


@dataclass
class LossOptions:
    """Weights of the loss; 0 switches a term off."""

    ssim_weight: float = 0.2
    """Share of structural dissimilarity in the loss; the rest is L1."""
    perceptual_weight: float = 0.0
    """Weight of LPIPS on one random crop per image. It needs AlexNet's weights, which are downloaded on first use; without
    them the term is left out with one line."""
    opacity_regularization: float = 0.0
    """Weight of the mean over Gaussians of peak opacity times temporal weight: a pull on the peak opacity of what is alive. 0.001
    to 0.01 removes haze and floaters where few cameras look, at the price of faint detail."""
    opacity_regularization_over: Literal["active", "all"] = "active"
    """What the mean is over: the Gaussians alive at t, so that the pull on each does not depend on how short lives are, or all of
    them, as FreeTimeGS states it."""
    opacity_regularization_share: float = 1.0
    """Share of the training after which the regulariser ends."""
    velocity_smoothness: float = 0.0
    """Weight of the difference between velocities of neighbours (world units per clip). Up to 1e-3; calms noise in the motion of
    large surfaces, smears where objects touch."""
    trajectory_smoothness: float = 0.0
    """Weight of the acceleration of what is alive (world units per clip squared). Up to 1e-4; straight lines have none."""
    temporal_consistency: float = 0.0
    """Weight of the difference between the change over frames as rendered and as recorded. Up to 0.2; less flicker, at
    twice the time per step."""
    temporal_window: int = 1
    """Farthest neighbour, in frames, that the temporal consistency looks at."""


@dataclass(frozen=True)
class TrainingStep:
    """What the terms of one step are computed from."""

    step: int
    progress: float
    """Share of the training that is done."""
    representation: Representation
    params: Parameters
    clip: Clip
    views: RenderedViews
    truth: Float[Tensor, "b h w 3"]
    """What the cameras took."""
    neighbor: Callable[[], tuple[Float[Tensor, "b h w 3"], Float[Tensor, "b h w 3"]]]
    """Renders the same cameras at a near instant: image and truth."""


def training_terms(options: LossOptions, now: TrainingStep, perceptual: Perceptual) -> dict[str, Float[Tensor, ""]]:
    """The terms that are on, each with its weight."""
    terms, rgb = {}, now.views.rgb
    if options.perceptual_weight and perceptual.available(rgb.device):
        distance = perceptual.distance(*random_crops(rgb, now.truth, PERCEPTUAL_CROP, now.step))
        if distance is not None:
            terms["perceptual"] = options.perceptual_weight * distance
    if options.opacity_regularization and now.progress <= options.opacity_regularization_share:
        opacities, ids = now.params["opacities"], now.views.rendering.ids
        count = len(ids) if options.opacity_regularization_over == "active" else len(opacities)
        terms["opacity"] = opacity_regularizer(
            opacities, ids, now.views.slice.weights[: len(ids)], options.opacity_regularization / max(count, 1)
        )
    return terms | _motion_terms(options, now)


def _motion_terms(options: LossOptions, now: TrainingStep) -> dict[str, Tensor]:
    """The terms of :mod:`fourdgs_ns.training.regularizers` that are on."""
    terms = {}
    if options.velocity_smoothness or options.trajectory_smoothness:
        ids = regularizers.sample_gaussians(now.views.rendering.ids, now.step)
        where, velocities, accelerations = regularizers.paths(
            now.representation, now.params, now.views.t, ids, now.clip.frame_interval
        )
        if options.velocity_smoothness:
            smoothness = regularizers.velocity_smoothness(where.detach(), velocities)
            terms["velocity"] = options.velocity_smoothness * smoothness
        if options.trajectory_smoothness:
            terms["trajectory"] = options.trajectory_smoothness * regularizers.trajectory_smoothness(accelerations)
    if options.temporal_consistency:
        other, other_truth = now.neighbor()
        change = regularizers.temporal_consistency(now.views.rgb, other, now.truth, other_truth)
        terms["consistency"] = options.temporal_consistency * change
    return terms
