"""From offsets between pairs of cameras to one offset per camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

ROUNDS = 30


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

    The most trusted pairs that connect all cameras give a start; from there least absolute deviations over all pairs, which a
    few wrong ones cannot pull to themselves; then least squares over the pairs that agree with that to ``tolerance`` seconds.
    NaN for cameras that no trusted pair connects with the largest group.
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
    own = [p for p in order if group[p.a] == main]
    for _ in range(ROUNDS if len(members) > 2 else 0):
        # A weight over its deviation turns squares into absolute values.
        relative = [p.weight / max(_deviation(p, offsets), 0.1 * tolerance) for p in own]
        offsets[members] = _least_squares(own, relative, members)
    agreeing = [p for p in own if _deviation(p, offsets) <= tolerance]
    if len(members) > 1 and agreeing:
        offsets[members] = _least_squares(agreeing, [p.weight for p in agreeing], members)
    residuals = np.full(num_cameras, np.nan)
    for c in members:
        deviations = [_deviation(p, offsets) for p in agreeing if int(c) in (p.a, p.b)]
        residuals[c] = float(np.median(deviations)) if deviations else 0.0
    offsets[group != main] = np.nan
    offsets -= offsets[members[0]] if len(members) else 0.0
    return offsets, residuals


def _deviation(pair: PairOffset, offsets: Float[np.ndarray, " c"]) -> float:
    return abs(float(offsets[pair.b] - offsets[pair.a] - pair.seconds))


def _least_squares(
    pairs: Sequence[PairOffset], weights: Sequence[float], members: Int[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Offsets of ``members``, the first of which is 0; cameras that no pair names come out as 0 too."""
    column = {int(c): i for i, c in enumerate(members)}
    rows = np.zeros((len(pairs) + 1, len(members)))
    values = np.zeros(len(pairs) + 1)
    for i, (p, weight) in enumerate(zip(pairs, weights, strict=True)):
        w = np.sqrt(weight)
        rows[i, column[p.b]], rows[i, column[p.a]], values[i] = w, -w, w * p.seconds
    rows[-1, 0] = np.sqrt(max(weights))
    return np.linalg.lstsq(rows, values, rcond=None)[0]
