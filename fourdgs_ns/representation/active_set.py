"""Which rows are alive at t, without waiting for the GPU to count them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from fourdgs_ns.representation.base import Parameters, Representation

ROOM = 1.1, 4096
"""Places in a list of ids, as a multiple of how many rows were alive lately and beyond that: empty ones cost next to nothing, a
list that is too short a second drawing."""
FORGETTING = 0.99
"""How fast the number alive lately falls from one drawing to the next."""


@dataclass
class ActiveRows:
    """Ids of the rows alive at one t; -1 behind the last one."""

    ids: Int[Tensor, " b"]
    total: Int[Tensor, " 1"] | None
    """How many there are, on the host, negative until the GPU has written it; None: all of ``ids``."""


class ActiveSet:
    """Finds active rows for somebody who draws many moments one after the other.

    Only the GPU knows how many rows are alive, and it tells when all earlier work is done: asking before each drawing makes it
    idle while the host prepares what comes next. Where the fused kernels slice, the list of ids is therefore as long as earlier
    drawings suggest, and its length is checked once the drawing is under way.
    """

    def __init__(self) -> None:
        self.lately: float | None = None
        """The most rows alive in recent drawings; None before the first."""
        self._totals: Tensor | None = None
        self._turns = itertools.count()

    def find(self, representation: Representation, params: Parameters, t: float | Tensor) -> ActiveRows:
        """The rows alive at ``t``, and room for some more."""
        if self.lately is None or not representation.fused(params, t):
            ids = representation.active(params, float(t))
            self._learn(len(ids))
            return ActiveRows(ids, None)
        from fourdgs_ns.kernels.rows import list_alive

        marks = representation.marks(params, float(t))
        capacity = min(int(ROOM[0] * self.lately) + ROOM[1], len(marks.alive))
        total = self._next_total(marks.alive.is_cuda)
        return ActiveRows(list_alive(marks, capacity, total), total)

    def count(self, rows: ActiveRows) -> int | None:
        """How many rows were alive; None when the list had no room for all of them, and the drawing has to be made again.

        To be called after work that waited for the GPU, as rasterising does: else this waits.
        """
        if rows.total is None:
            return len(rows.ids)
        if int(rows.total) < 0:
            torch.cuda.current_stream(rows.ids.device).synchronize()
        found = int(rows.total)
        self._learn(found)
        return found if found <= len(rows.ids) else None

    def _next_total(self, pinned: bool) -> Int[Tensor, " 1"]:
        """A number in host memory that a kernel can write, one of several in turn: threads may draw at the same time."""
        if self._totals is None:
            self._totals = torch.empty(64, dtype=torch.int32, pin_memory=pinned)
        turn = next(self._turns) % len(self._totals)
        return self._totals[turn : turn + 1].fill_(-1)

    def _learn(self, found: int) -> None:
        self.lately = max(float(found), FORGETTING * (self.lately or 0.0))
