"""Matches of features by their appearance alone: poses take no part, so that the matches can judge them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

RATIO = 0.8
"""Nearest over second nearest descriptor distance (Lowe 2004)."""
SAME_PLACE = 2.0
"""Features this many pixels apart are one blob."""
STAYS = 0.004
"""Of the longer side: what lies at the same place of two pictures is a logo, a clock or dirt, and says nothing."""
ORIENTATIONS = 3
"""Most that SIFT gives to one blob, beyond the first."""


def mutual_matches(
    a: Float[np.ndarray, "n 128"],
    b: Float[np.ndarray, "m 128"],
    pixels_a: Float[np.ndarray, "n 2"],
    pixels_b: Float[np.ndarray, "m 2"],
) -> Int[np.ndarray, "k 2"]:
    """Rows (index in ``a``, index in ``b``) of mutually nearest unit descriptors that pass the ratio test both ways."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.int64)
    best_ab, good = _nearest(a, b, pixels_b)
    best_ba, good_back = _nearest(b, a, pixels_a)
    ids = np.flatnonzero(good & (best_ba[best_ab] == np.arange(len(a))) & good_back[best_ab])
    return np.stack([ids, best_ab[ids]], axis=1)


def apart(
    pixels_a: Float[np.ndarray, "m 2"], pixels_b: Float[np.ndarray, "m 2"], side: float
) -> Bool[np.ndarray, " m"]:
    """Matches that do not lie at the same place of two pictures, whose longer side is ``side``, as logos, clocks and dirt do."""
    return np.abs(pixels_a - pixels_b).max(axis=1, initial=0.0) > STAYS * side


def _nearest(a: np.ndarray, b: np.ndarray, pixels_b: np.ndarray, block: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Nearest of ``b`` for each of ``a``, and whether it passes the ratio test against features elsewhere."""
    best = np.empty(len(a), np.int64)
    good = np.empty(len(a), bool)
    for start in range(0, len(a), block):
        similarity = a[start : start + block] @ b.T
        rows = np.arange(len(similarity))
        first = similarity.argmax(axis=1)
        nearest = similarity[rows, first].copy()
        second = np.full(len(rows), -np.inf, np.float32)
        # SIFT gives one blob several orientations, which must not compete with each other.
        open_rows, last = rows, first
        for _ in range(ORIENTATIONS):
            similarity[open_rows, last] = -np.inf
            last = similarity[open_rows].argmax(axis=1)
            apart = np.abs(pixels_b[last] - pixels_b[first[open_rows]]).max(axis=1) > SAME_PLACE
            second[open_rows] = similarity[open_rows, last]
            open_rows, last = open_rows[~apart], last[~apart]
            if len(open_rows) == 0:
                break
        distances = [np.sqrt(np.maximum(2 - 2 * np.maximum(x, -1), 0)) for x in (nearest, second)]
        best[start : start + block] = first
        good[start : start + block] = distances[0] <= RATIO * distances[1]
    return best, good
