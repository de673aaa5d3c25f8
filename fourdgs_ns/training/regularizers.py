"""Priors on motion and on change over time. All are off by default: none is known to help every scene."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Parameters

MOST_GAUSSIANS = 4096
"""Gaussians that one step looks at: neighbours are searched among these, all against all."""
NEIGHBORS = 8


def sample_gaussians(ids: Int[Tensor, " m"], seed: int) -> Int[Tensor, " s"]:
    """At most :data:`MOST_GAUSSIANS` of ``ids``, sampled by ``seed``."""
    if len(ids) <= MOST_GAUSSIANS:
        return ids
    picks = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))[:MOST_GAUSSIANS]
    return ids[picks.to(ids.device)]


def paths(
    representation: Representation, params: Parameters, t: float, ids: Int[Tensor, " s"], h: float
) -> tuple[Float[Tensor, "s 3"], Float[Tensor, "s 3"], Float[Tensor, "s 3"]]:
    """Positions at ``t``, and velocities and accelerations there by central differences of step ``h`` in t.

    Differences instead of formulas: they hold for every representation, and they are differentiable wherever positions are.
    """
    before, now, after = (representation.at(params, time, ids).means for time in (t - h, t, t + h))
    return now, (after - before) / (2 * h), (after - 2 * now + before) / h**2


def velocity_smoothness(positions: Float[Tensor, "s 3"], velocities: Float[Tensor, "s 3"]) -> Float[Tensor, ""]:
    """Mean distance of each velocity from those of its :data:`NEIGHBORS` nearest Gaussians: what is close moves together.

    The weight of a neighbour falls as exp(-(d / mean d)^2), so that Gaussians of another object at some distance hardly count.
    """
    k = min(NEIGHBORS, len(positions) - 1)
    if k < 1:
        return positions.sum() * 0
    with torch.no_grad():
        distances, near = torch.cdist(positions, positions).topk(k + 1, largest=False)
        distances, near = distances[:, 1:], near[:, 1:]
        weights = torch.exp(-((distances / distances.mean().clamp_min(1e-12)) ** 2))
    apart = (velocities[:, None] - velocities[near]).norm(dim=-1)
    return (weights * apart).sum() / weights.sum().clamp_min(1e-12)


def trajectory_smoothness(accelerations: Float[Tensor, "s 3"]) -> Float[Tensor, ""]:
    """Mean length of the acceleration; zero for motion in a straight line."""
    return accelerations.norm(dim=-1).mean()


def temporal_consistency(
    image: Float[Tensor, "b h w 3"],
    other: Float[Tensor, "b h w 3"],
    truth: Float[Tensor, "b h w 3"],
    other_truth: Float[Tensor, "b h w 3"],
) -> Float[Tensor, ""]:
    """Mean difference between the change between two frames as rendered and as recorded: flicker costs, motion does not."""
    return ((other - image) - (other_truth - truth)).abs().mean()
