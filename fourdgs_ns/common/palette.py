"""Numbers to colours: one ordered palette, and ranges that stand still while a clip plays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ANCHORS = (
    (0.10, 0.08, 0.30),
    (0.15, 0.38, 0.75),
    (0.10, 0.68, 0.62),
    (0.98, 0.85, 0.25),
    (0.90, 0.20, 0.12),
)
"""RGB at 0, 1/4, 1/2, 3/4 and 1: dark blue, blue, green, yellow, red."""
NEUTRAL = (0.45, 0.45, 0.45)
"""Colour of what has no value."""


@dataclass(frozen=True)
class ValueRange:
    """The values that the palette's ends stand for."""

    low: float
    high: float

    def share(self, values: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """0 at ``low``, 1 at ``high``, not clamped; 0 everywhere for an empty range."""
        width = self.high - self.low
        return (values - self.low) / width if width > 0 else torch.zeros_like(values)


def palette(shares: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3"]:
    """Colours of ``shares`` in [0, 1], linear between the anchors, clamped outside; grey where not a number."""
    anchors = torch.tensor(ANCHORS, device=shares.device, dtype=shares.dtype)
    known = torch.isfinite(shares)
    place = torch.where(known, shares, torch.zeros_like(shares)).clamp(0.0, 1.0) * (len(ANCHORS) - 1)
    below = place.floor().long().clamp_max(len(ANCHORS) - 2)
    colors = torch.lerp(anchors[below], anchors[below + 1], (place - below)[..., None])
    return torch.where(known[..., None], colors, torch.tensor(NEUTRAL, device=shares.device, dtype=shares.dtype))
