"""Gaussians that densification adds: at another time of their parent's life, on the parent's own path."""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.representation.types import Parameters

Kind = Literal["clone", "split", "relocate"]

SPLIT_SHRINK = 1.6
"""Standard deviation of a parent over that of each of its two children (3DGS: 0.8 times the number of children)."""
RELOCATED_SPREAD = 0.5
"""Relocated copies lie about this many standard deviations, in space and in time, from their parent."""

MAX_LOGIT = 9.0
"""Bound of a denser child's opacity logit."""


@runtime_checkable
class MovesCenters(Protocol):
    """A representation with ``means``, ``scales``, ``quats``, ``temporal_centers`` and ``log_durations``."""

    def lifespan(self, params: Parameters, /) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]: ...

    def move_center(self, rows: dict[str, Tensor], shift: Float[Tensor, "n 1"], /) -> None: ...


def make_children(
    representation: MovesCenters,
    params: Parameters,
    ids: Int[Tensor, " m"],
    kind: Kind,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """One child per entry of ``ids``.

    * clone and split: its centre is uniform over the visible part of the parent's life within the clip; a split also moves the
      child by a sample of the parent's own Gaussian and shrinks it by 1.6.
    * relocate: centre and place are sampled around the parent with half its standard deviations, the child is that much smaller
      and shorter-lived: many such children together have their parent's mean and covariance in space and time, and hide as much.
    """
    child = {name: value[ids].detach().clone() for name, value in params.items()}
    m = ids.shape[0]
    center = child["temporal_centers"]
    if kind == "relocate":
        noise = torch.randn(m, 4, generator=generator).to(child["means"])
        durations = torch.exp(child["log_durations"])
        # A row that outlives the clip has no other time: nothing beyond the clip is ever looked at.
        short = durations < 1.0
        moved = (center + RELOCATED_SPREAD * noise[:, 3:] * durations).clamp(0.0, 1.0)
        shift = torch.where(short, moved - center, torch.zeros_like(center))
        offset = RELOCATED_SPREAD * noise[:, :3] * torch.exp(child["scales"])
        kept = math.sqrt(1 - RELOCATED_SPREAD**2)
        child["scales"] += math.log(kept)
        child["log_durations"] += math.log(kept) * short
        # Smaller on the screen (by kept^2) and briefer (by kept): as much denser, in optical depth, to hide as much.
        depth = -nn.functional.logsigmoid(-child["opacities"]) / kept**2 / torch.where(short, kept, 1.0)
        child["opacities"] = depth.expm1().log().clamp_max(MAX_LOGIT)
    else:
        start, stop = (bound[ids].clamp(0.0, 1.0)[:, None] for bound in representation.lifespan(params))
        uniform = torch.rand(m, 1, generator=generator).to(start)
        shift = start + uniform * (stop - start).clamp_min(0.0) - center
        offset = torch.zeros_like(child["means"])
        if kind == "split":
            offset = torch.exp(child["scales"]) * torch.randn(m, 3, generator=generator).to(start)
            child["scales"] -= math.log(SPLIT_SHRINK)
    representation.move_center(child, shift)
    child["means"] += torch.einsum("nij,nj->ni", rotation_matrices(child["quats"]), offset)
    return child
