"""What a slice can be coloured by instead of its own colours, and which of its Gaussians can be hidden. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fourdgs_ns.common.palette import ValueRange, palette
from fourdgs_ns.representation.types import Clip, GaussiansAtTime


@dataclass(frozen=True)
class InspectedSlice:
    """A slice with what its Gaussians do before and after ``t``."""

    gaussians: GaussiansAtTime
    t: float
    start: Float[Tensor, " m"]
    """t from which each Gaussian can be seen; may lie before the clip, or at minus infinity."""
    stop: Float[Tensor, " m"]
    """t until which it can be seen."""
    depths: Float[Tensor, " m"]
    """z of each mean in the camera, world units."""
    clip: Clip
    speed_range: ValueRange
    """Speeds, in world units per unit of t, at the ends of the palette."""
    depth_range: ValueRange
    """Depths at the ends of the palette."""

    def speeds(self) -> Float[Tensor, " m"]:
        """World units per unit of t."""
        return self.gaussians.velocities.norm(dim=-1)

    def visible_span(self) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
        """First and last t inside the clip at which each Gaussian can be seen."""
        return self.start.clamp(0.0, 1.0), self.stop.clamp(0.0, 1.0)


def motion_speed(inspected: InspectedSlice) -> Float[Tensor, " m"]:
    """Speed at t, as a share of the range's upper end."""
    return inspected.speed_range.share(inspected.speeds())


def duration(inspected: InspectedSlice) -> Float[Tensor, " m"]:
    """Share of the clip over which a Gaussian can be seen: 1 for a permanent one."""
    first, last = inspected.visible_span()
    return last - first


def temporal_center(inspected: InspectedSlice) -> Float[Tensor, " m"]:
    """Middle of the lifespan in t; not a number, hence grey, for those that live for ever."""
    return (inspected.start + inspected.stop) / 2


def age(inspected: InspectedSlice) -> Float[Tensor, " m"]:
    """Share of the life inside the clip that has passed at t: 0 when it appears, 1 when it goes."""
    first, last = inspected.visible_span()
    return (inspected.t - first) / (last - first).clamp_min(1e-9)


def depth(inspected: InspectedSlice) -> Float[Tensor, " m"]:
    """Depth in the camera, as a share of the range."""
    return inspected.depth_range.share(inspected.depths)


COLORINGS: dict[str, Callable[[InspectedSlice], Float[Tensor, " m"]]] = {
    "motion speed": motion_speed,
    "duration": duration,
    "temporal centre": temporal_center,
    "age": age,
    "depth": depth,
}
"""Name in the viewer -> share of the palette."""


def recolored(inspected: InspectedSlice, coloring: str) -> GaussiansAtTime:
    """The slice with RGB of the palette as its features."""
    return replace(inspected.gaussians, features=palette(COLORINGS[coloring](inspected)))


def visible(inspected: InspectedSlice, min_seconds: float, min_speed: float) -> Bool[Tensor, " m"]:
    """Which Gaussians stay when short lives and slow ones are hidden.

    Args:
        min_seconds: shortest life, as seen inside the clip, that stays; 0 keeps all.
        min_speed: slowest speed that stays, world units per second; 0 keeps all.
    """
    seconds = inspected.clip.duration_seconds or 1.0
    keep = torch.ones_like(inspected.depths, dtype=torch.bool)
    if min_seconds > 0:
        # A hair of tolerance: a Gaussian that lives over the whole clip must pass a threshold of exactly that.
        keep &= duration(inspected) * seconds >= min_seconds - 1e-6
    if min_speed > 0:
        keep &= inspected.speeds() / seconds >= min_speed
    return keep
