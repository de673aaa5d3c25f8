"""Which Gaussians a trained model can do without: the spatio-temporal variation score of 4DGS-1K (Yuan et al., NeurIPS 2025).

    score_i = sum over instants t of  contribution_i(t) * steadiness_i(t) * volume_i

* contribution: the sum of the Gaussian's blending weights over all pixels of the training views at t;
* steadiness: 1 / (0.5 + 0.5 tanh|w''(t)|), w the temporal weight over seconds: 1 for what flickers, 2 for what lasts;
* volume: (V / V_90)^0.1, limited to 1, with V the volume of its ellipsoid times its visible share of the clip and V_90 the
  value that nine tenths of the Gaussians do not exceed (as LightGaussian does in three dimensions).

Everything is read through the representation's interface, so that it holds for every method.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, Parameters

VOLUME_POWER = 0.1
VOLUME_QUANTILE = 0.9


@torch.enable_grad()
def contributions(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> Float[Tensor, " m"]:
    """Sum over the pixels of all cameras of each Gaussian's blending weight (alpha times transmittance).

    It is the gradient of the image of a constant: blending is linear in what is blended.
    """
    bare: dict[str, Any] = {name: value.detach() for name, value in gaussians.tensors().items()}
    ones = torch.ones(len(gaussians.ids), 1, device=gaussians.means.device, requires_grad=True)
    image = rasterize(replace(gaussians, **{**bare, "features": ones}), cameras)
    (weights,) = torch.autograd.grad(image.features.sum(), ones)
    return weights[:, 0]


@torch.no_grad()
def steadiness(
    representation: Representation, params: Parameters, t: float, ids: Tensor, clip: Clip
) -> Float[Tensor, " m"]:
    """1 / (0.5 + 0.5 tanh|w''|) with the second derivative of the temporal weight per second squared, by central differences."""
    seconds = clip.duration_seconds or 1.0
    # A quarter of a frame: what changes faster saturates the hyperbolic tangent anyway.
    step = clip.frame_interval / 4
    before, now, after = (representation.at(params, t + shift, ids).weights for shift in (-step, 0.0, step))
    curvature = (before - 2 * now + after) / (step * seconds) ** 2
    return 1 / (0.5 + 0.5 * torch.tanh(curvature.abs()))


@torch.no_grad()
def volumes(representation: Representation, params: Parameters, gaussians: GaussiansAtTime) -> Float[Tensor, " m"]:
    """Product of a slice's standard deviations and of each Gaussian's visible share of the clip."""
    if gaussians.covariances is not None:
        space = torch.linalg.det(gaussians.covariances).clamp_min(0.0).sqrt()
    else:
        assert gaussians.scales is not None
        space = gaussians.scales.prod(dim=-1)
    start, stop = (bound[gaussians.ids].clamp(0.0, 1.0) for bound in representation.lifespan(params))
    return space * (stop - start).clamp_min(0.0)


@torch.no_grad()
def variation_scores(
    representation: Representation,
    params: Parameters,
    clip: Clip,
    views: Iterable[tuple[float, PinholeCameras]],
) -> Float[Tensor, " n"]:
    """Score of every Gaussian over ``views``, each an instant and cameras that look at it; 0 for those that no view shows."""
    n = params["means"].shape[0]
    scores, sizes = (torch.zeros(n, device=params["means"].device) for _ in range(2))
    for t, cameras in views:
        gaussians = representation.at(params, t, representation.active(params, t))
        seen = contributions(gaussians, cameras)
        scores.index_add_(0, gaussians.ids, seen * steadiness(representation, params, t, gaussians.ids, clip))
        sizes[gaussians.ids] = volumes(representation, params, gaussians)
    visible = sizes[scores > 0]
    if len(visible) == 0:
        return scores
    # Sorted by hand: torch.quantile takes at most 2^24 values.
    typical = visible.sort().values[int(VOLUME_QUANTILE * (len(visible) - 1))].clamp_min(torch.finfo(sizes.dtype).tiny)
    return scores * (sizes / typical).clamp(0.0, 1.0) ** VOLUME_POWER


def highest_scores(scores: Float[Tensor, " n"], keep: float) -> Bool[Tensor, " n"]:
    """The share ``keep`` of all Gaussians with the highest scores, at least one; those without any score never."""
    count = max(round(keep * len(scores)), 1)
    chosen = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    chosen[torch.argsort(scores, descending=True, stable=True)[:count]] = True
    return chosen & (scores > 0)
