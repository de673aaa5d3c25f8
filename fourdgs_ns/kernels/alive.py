"""Which Gaussians can colour a pixel at one t, as the kernels mark them."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class AliveMarks:
    """Which Gaussians are alive, and how many of them there are in each run of ``run`` rows."""

    alive: Bool[Tensor, " n"]
    counts: Int[Tensor, " k"]
    run: int
