"""Features of a static rig over several instants, and their matches between cameras whose poses are unknown.

All instants of a camera count as one image: where the scene stands still they show the same features, where it moves
they add new ones. The solver then has one pose per camera by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from fourdgs_ns.points.appearance_matching import SAME_PLACE, mutual_matches
from fourdgs_ns.points.features import MAX_FEATURES, Features, find_features

MOST_FEATURES = 3 * MAX_FEATURES
"""Of an image, its tilted views included."""
MAX_SIDE = 2000
"""Longest side in pixels at which features are sought."""
CONTRAST_THRESHOLD = 0.005
REACH = 3
"""Steps around a ring of cameras within which neighbours are matched."""
TILTS = 2
"""Steps of tilt of the affine views that wide baselines are given (Morel and Yu 2009)."""


@dataclass(frozen=True)
class RigFeatures:
    """Features of one camera."""

    pixels: Float[np.ndarray, "n 2"]
    """Pixel i covers [i, i + 1)."""
    descriptors: Float[np.ndarray, "n 128"]
    """RootSIFT, unit length, float32."""
    instant: Int[np.ndarray, " n"]
    """Which of the images shows it first."""


def features_of(images: Sequence[UInt8[np.ndarray, "_h _w 3"]], affine: bool = False) -> RigFeatures:
    """Features of the BGR images of one camera, one per instant; ``affine`` also looks at tilted views (slow)."""
    pixels, descriptors, instants = np.zeros((0, 2)), [np.zeros((0, 128), np.float32)], [np.zeros(0, np.int64)]
    for i, image in enumerate(images):
        found = _find(image, affine)
        if i and len(pixels) and len(found.pixels):
            cells = {tuple(c) for c in np.floor(pixels / SAME_PLACE).astype(int).tolist()}
            around = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
            own = np.floor(found.pixels / SAME_PLACE).astype(int).tolist()
            found = found.take(np.array([not any((x + dx, y + dy) in cells for dx, dy in around) for x, y in own]))
        pixels = np.concatenate([pixels, found.pixels])
        descriptors.append(found.descriptors)
        instants.append(np.full(len(found.pixels), i))
    return RigFeatures(pixels, np.concatenate(descriptors), np.concatenate(instants))


def match(a: RigFeatures, b: RigFeatures) -> Int[np.ndarray, "m 2"]:
    """Mutually nearest features of the same instant that pass the ratio test."""
    rows = []
    for instant in np.intersect1d(a.instant, b.instant):
        ia, ib = np.flatnonzero(a.instant == instant), np.flatnonzero(b.instant == instant)
        pairs = mutual_matches(a.descriptors[ia], b.descriptors[ib], a.pixels[ia], b.pixels[ib])
        rows.append(np.stack([ia[pairs[:, 0]], ib[pairs[:, 1]]], axis=1))
    return np.concatenate(rows) if rows else np.zeros((0, 2), np.int64)


def camera_pairs(count: int, matching: str) -> list[tuple[int, int]]:
    """All pairs of cameras, or (sequential) those at most ``REACH`` apart in a ring."""
    pairs = list(combinations(range(count), 2))
    if matching == "sequential":
        return [(i, j) for i, j in pairs if min(j - i, count - j + i) <= REACH]
    return pairs


def match_all(
    features: Sequence[RigFeatures], pairs: Sequence[tuple[int, int]], advance: Callable[[], None]
) -> dict[tuple[int, int], Int[np.ndarray, "m 2"]]:
    """Matches of the camera pairs."""
    found = {}
    for i, j in pairs:
        found[i, j] = match(features[i], features[j])
        advance()
    return found


def _find(image: UInt8[np.ndarray, "h w 3"], affine: bool) -> Features:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    scale = max(1.0, max(gray.shape) / MAX_SIDE)
    if scale > 1:
        size = (round(gray.shape[1] / scale), round(gray.shape[0] / scale))
        gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    # Dim rooms have few features at a fixed threshold.
    gray = cv2.createCLAHE(2.0, (8, 8)).apply(gray) if affine else gray
    found = find_features(gray, contrast_threshold=CONTRAST_THRESHOLD, tilts=TILTS if affine else 0)
    if len(found.pixels) > MOST_FEATURES:
        found = found.take(np.argsort(-found.contrasts, kind="stable")[:MOST_FEATURES])
    exact = np.array([image.shape[1] / gray.shape[1], image.shape[0] / gray.shape[0]])
    return replace(found, pixels=found.pixels * exact)
