"""Matches of two images judged by geometry: by poses that are stated, and by whatever geometry most of them agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

FEWEST_CONSISTENT = 25
"""Matches by chance agree on some geometry too, up to about fifteen of them."""
LEAST_CONSISTENT = 0.15
"""Of all matches of a pair."""
CONSISTENT_PIXELS = 1.5


def estimated(estimator: Callable[..., Any], *arguments: Any, **options: Any) -> Any | None:
    """What a robust estimator of OpenCV returns; None where it raises.

    Some versions assert what only chance decides, for instance that a first sample gave a model (OpenCV 5, USAC_MAGSAC).
    """
    try:
        return estimator(*arguments, **options)
    except cv2.error:
        return None


def line_distance(
    f: Float[np.ndarray, "3 3"], a: Float[np.ndarray, "*n 2"], b: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n"]:
    """Root mean square of the distances of b from a's line and of a from b's line, in pixels."""
    ha = np.concatenate([a, np.ones((*a.shape[:-1], 1))], axis=-1)
    hb = np.concatenate([b, np.ones((*b.shape[:-1], 1))], axis=-1)
    lines_b, lines_a = ha @ f.T, hb @ f
    residual = (hb * lines_b).sum(axis=-1)
    in_b = residual / np.maximum(np.linalg.norm(lines_b[..., :2], axis=-1), 1e-30)
    in_a = residual / np.maximum(np.linalg.norm(lines_a[..., :2], axis=-1), 1e-30)
    return np.sqrt(0.5 * (in_a**2 + in_b**2))


def consistent(a: Float[np.ndarray, "m 2"], b: Float[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
    """Which matches of static points agree on one epipolar geometry, whatever it is; none when too few do.

    Poses take no part, so that wrong matches are told apart from a wrong calibration. A match that comes back at the next
    instant counts once.
    """
    keep = np.zeros(len(a), bool)
    _, once = np.unique(np.round(np.concatenate([a, b], axis=1) / 2), axis=0, return_index=True)
    if len(once) < FEWEST_CONSISTENT:
        return keep
    found = estimated(cv2.findFundamentalMat, a[once], b[once], cv2.USAC_MAGSAC, CONSISTENT_PIXELS, 0.999, 5000)
    f, inside = found or (None, None)
    if f is None or inside is None or inside.sum() < max(FEWEST_CONSISTENT, LEAST_CONSISTENT * len(once)):
        return keep
    keep[once[inside.ravel() > 0]] = True
    return keep
