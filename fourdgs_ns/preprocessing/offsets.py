"""From offsets between pairs of cameras to one offset per camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PairOffset:
    """Camera ``b``'s recording started ``seconds`` later than camera ``a``'s."""

    a: int
    b: int
    seconds: float
    weight: float
    """How much to trust it; 0 for not at all."""


def solve_offsets(
    pairs: Sequence[PairOffset], num_cameras: int, tolerance: float
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Offsets of all cameras (the first connected one is 0), and each camera's median disagreement with its pairs.

    The most trusted pairs that connect all cameras give a first answer; least squares over all pairs that agree with it
    to ``tolerance`` seconds give the second, so that single wrong pairs do no harm. NaN for cameras that no trusted
    pair connects with the largest group.
    """
    order = sorted((p for p in pairs if p.weight > 0), key=lambda p: -p.weight)
    group = np.arange(num_cameras)
    offsets = np.zeros(num_cameras)
    for pair in order:
        if group[pair.a] == group[pair.b]:
            continue
        moved = group == group[pair.b]
        offsets[moved] += offsets[pair.a] + pair.seconds - offsets[pair.b]
        group[moved] = group[pair.a]
    main = np.bincount(group, minlength=num_cameras).argmax()
    members = np.flatnonzero(group == main)
    agreeing = [p for p in order if group[p.a] == main and abs(offsets[p.b] - offsets[p.a] - p.seconds) <= tolerance]
    column = {int(c): i for i, c in enumerate(members)}
    if len(members) > 1 and agreeing:
        rows = np.zeros((len(agreeing) + 1, len(members)))
        values = np.zeros(len(agreeing) + 1)
        for i, p in enumerate(agreeing):
            w = np.sqrt(p.weight)
            rows[i, column[p.b]], rows[i, column[p.a]], values[i] = w, -w, w * p.seconds
        rows[-1, 0] = max(np.sqrt(p.weight) for p in agreeing)  # the first member is the origin
        offsets[members] = np.linalg.lstsq(rows, values, rcond=None)[0]
    residuals = np.full(num_cameras, np.nan)
    for c in members:
        own = [abs(offsets[p.b] - offsets[p.a] - p.seconds) for p in agreeing if int(c) in (p.a, p.b)]
        residuals[c] = float(np.median(own)) if own else 0.0
    offsets[group != main] = np.nan
    offsets -= offsets[members[0]] if len(members) else 0.0
    return offsets, residuals
