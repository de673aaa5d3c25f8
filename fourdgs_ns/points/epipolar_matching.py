"""Features of images and their matches between calibrated cameras.

Because the poses are known, a feature is compared only with those near its epipolar line that lie in front of both
cameras. That is fast without a GPU, and it makes the ratio test useful on scenes of little texture: a feature competes
with the few percent of features it could geometrically be, not with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numba import njit

from fourdgs_ns.geometry.camera import Camera, fundamental
from fourdgs_ns.points.features import MAX_FEATURES, find_features, smoothed_colors

CONTRAST_THRESHOLD = 0.0025
"""A sixteenth of OpenCV's default: weak blobs are matched well enough with known epipolar lines."""
WORST = 2.0
"""Stands for the descriptor distance of a candidate that does not exist: more than any that does."""
SAME_PLACE = 2.0
"""Features closer than this many pixels are one blob."""


@dataclass(frozen=True)
class PosedFeatures:
    """SIFT features of one image, with the pinhole camera that took it."""

    pixels: Float[np.ndarray, "n 2"]
    """Positions x, y; pixel i covers [i, i + 1)."""
    descriptors: UInt8[np.ndarray, "n 128"]
    """Square roots of L1-normalised SIFT histograms (RootSIFT), times 512."""
    colors: UInt8[np.ndarray, "n 3"]
    camera: Camera

    @cached_property
    def directions(self) -> Float[np.ndarray, "n 128"]:
        """Descriptors as unit vectors in float32, compared by dot product."""
        vectors = self.descriptors.astype(np.float32)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    @cached_property
    def rays(self) -> Float[np.ndarray, "n 3"]:
        """Unit directions in world coordinates."""
        return self.camera.rays(self.pixels)


def extract_features(
    image: UInt8[np.ndarray, "h w 3"],
    camera: Camera,
    keep: Bool[np.ndarray, "h w"] | None = None,
) -> PosedFeatures:
    """Features of an undistorted RGB image, at most ``MAX_FEATURES``; only those on ``keep`` when it is given."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found = find_features(gray, contrast_threshold=CONTRAST_THRESHOLD, keep=keep).take(slice(0, MAX_FEATURES))
    return PosedFeatures(
        found.pixels,
        np.minimum(np.rint(512.0 * found.descriptors), 255).astype(np.uint8),
        smoothed_colors(image, found.pixels),
        camera,
    )


def match_pair(
    a: PosedFeatures, b: PosedFeatures, *, band: float, ratio: float, max_distance: float
) -> tuple[Int[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
    """Mutually best matches between two images: rows (index in ``a``, index in ``b``), and their ambiguities.

    A candidate lies within ``band`` pixels of the epipolar line in both images and in front of both cameras. The best
    one must have a descriptor distance of at most ``max_distance``. Its ambiguity, that distance relative to the best
    candidate elsewhere on the line of either feature, is at most ``ratio``. Empty for cameras in the same place.
    """
    none = np.zeros((0, 2), np.int64), np.zeros(0)
    if len(a.pixels) == 0 or len(b.pixels) == 0:
        return none
    if np.array_equal(a.camera.center, b.camera.center):
        return none
    best, ambiguity = _best_in_band(
        a.pixels,
        b.pixels,
        a.directions,
        b.directions,
        a.rays,
        b.rays,
        b.camera.center - a.camera.center,
        fundamental(a.camera, b.camera),
        band,
        ratio,
        max_distance,
    )
    ids = np.flatnonzero(best >= 0)
    return np.stack([ids, best[ids]], axis=1), ambiguity[ids]


# Parts of their caller, so that the process that compiles computes as later ones do (see common.compiled.helper).
@njit(nogil=True, fastmath=True, forceinline=True)
def _in_front(ray_a, ray_b, baseline):  # type: ignore[no-untyped-def]
    """Whether two unit rays approach each other in front of both cameras (``baseline`` = centre b - centre a)."""
    cos = ray_a[0] * ray_b[0] + ray_a[1] * ray_b[1] + ray_a[2] * ray_b[2]
    along_a = ray_a[0] * baseline[0] + ray_a[1] * baseline[1] + ray_a[2] * baseline[2]
    along_b = ray_b[0] * baseline[0] + ray_b[1] * baseline[1] + ray_b[2] * baseline[2]
    # Depths of the two closest points, both times the positive sin² of the angle between the rays.
    return along_a - cos * along_b > 0 and cos * along_a - along_b > 0


@njit(nogil=True, fastmath=True, forceinline=True)
def _apart(pixels, i, j):  # type: ignore[no-untyped-def]
    """False for the several orientations that SIFT gives to one blob: they must not compete with each other."""
    return abs(pixels[i, 0] - pixels[j, 0]) > SAME_PLACE or abs(pixels[i, 1] - pixels[j, 1]) > SAME_PLACE


@njit(nogil=True, cache=True, fastmath=True)
def _best_in_band(  # type: ignore[no-untyped-def]
    pixels_a, pixels_b, directions_a, directions_b, rays_a, rays_b, baseline, fundamental, band, ratio, max_distance
):
    """For each feature of a its accepted partner in b, or -1, and the match's ambiguity."""
    n_a, n_b = len(pixels_a), len(pixels_b)
    best_ab, best_ba = np.full(n_a, -1), np.full(n_b, -1)
    first_ab, first_ba = np.full(n_a, WORST), np.full(n_b, WORST)
    second_ab, second_ba = np.full(n_a, WORST), np.full(n_b, WORST)
    ambiguity = np.ones(n_a)
    lines_b = np.empty((n_b, 3))  # epipolar line in a of every feature of b, normalised
    for j in range(n_b):
        x, y = pixels_b[j]
        for k in range(3):
            lines_b[j, k] = fundamental[0, k] * x + fundamental[1, k] * y + fundamental[2, k]
        norm = np.sqrt(lines_b[j, 0] ** 2 + lines_b[j, 1] ** 2)
        for k in range(3):
            lines_b[j, k] /= max(norm, 1e-30)
    for i in range(n_a):
        x, y = pixels_a[i]
        l0 = fundamental[0, 0] * x + fundamental[0, 1] * y + fundamental[0, 2]
        l1 = fundamental[1, 0] * x + fundamental[1, 1] * y + fundamental[1, 2]
        l2 = fundamental[2, 0] * x + fundamental[2, 1] * y + fundamental[2, 2]
        limit = band * np.sqrt(l0 * l0 + l1 * l1)
        for j in range(n_b):
            if abs(l0 * pixels_b[j, 0] + l1 * pixels_b[j, 1] + l2) > limit:
                continue
            if abs(lines_b[j, 0] * x + lines_b[j, 1] * y + lines_b[j, 2]) > band:
                continue
            if not _in_front(rays_a[i], rays_b[j], baseline):
                continue
            dot = np.float32(0.0)
            for k in range(directions_a.shape[1]):
                dot += directions_a[i, k] * directions_b[j, k]
            gap = 2.0 - 2.0 * dot
            distance = np.sqrt(gap) if gap > 0 else 0.0
            old = best_ab[i]
            if distance < first_ab[i]:
                if old < 0 or _apart(pixels_b, j, old):
                    second_ab[i] = first_ab[i]
                first_ab[i], best_ab[i] = distance, j
            elif distance < second_ab[i] and _apart(pixels_b, j, old):
                second_ab[i] = distance
            old = best_ba[j]
            if distance < first_ba[j]:
                if old < 0 or _apart(pixels_a, i, old):
                    second_ba[j] = first_ba[j]
                first_ba[j], best_ba[j] = distance, i
            elif distance < second_ba[j] and _apart(pixels_a, i, old):
                second_ba[j] = distance
    for i in range(n_a):
        j = best_ab[i]
        if j < 0:
            continue
        distance = first_ab[i]
        ambiguity[i] = distance / min(second_ab[i], second_ba[j])
        if best_ba[j] != i or distance > max_distance or ambiguity[i] > ratio:
            best_ab[i] = -1
    return best_ab, ambiguity
