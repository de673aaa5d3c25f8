"""Depth of one image by plane sweep: how well its neighbours, seen through every depth, agree with it.

From coarse to fine. A small image is compared at all depths that the rig allows, which finds the range that matters; a
larger one at all depths of that range, made smooth by semi-global matching (Hirschmüller, 2008); the full one only
around that. There the neighbours are seen through the surface found so far instead of through a plane, so that slanted
surfaces match as well as those that face the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float
from numba import njit

from fourdgs_ns.geometry.camera import Camera

SMALL_SIDE, SWEEP_SIDE, FULL_SIDE = 160, 320, 1280
"""Longer side in pixels of the images of the three passes."""
WINDOW = 7
"""Side of the squares that are compared, in pixels."""
LEAST_VARIANCE = 4.0
"""Squares of less variance, in squared steps of 8 bit, hold noise."""
MOST_PLANES = 512
SMALL_JUMP, LARGE_JUMP = 0.03, 0.30
"""Costs in units of correlation of a step of one plane, and of any larger one, between neighbouring pixels."""
CONFIDENT = 0.8
"""Correlation of pixels that decide the range."""
RANGE_PERCENT = 0.5
RANGE_MARGIN = 0.1
REFINEMENT = (-2, -1, 0, 1, 2)
"""Steps of one pixel of parallax around the coarse surface that are tried."""


@dataclass(frozen=True, eq=False)
class GrayView:
    """A gray image and its pinhole camera, at the size of the image."""

    gray: Float[np.ndarray, "h w"]
    """float32, 0 to 255."""
    camera: Camera

    def shrunk(self, longer_side: int) -> GrayView:
        """The view at a smaller size; itself when it is no larger."""
        h, w = self.gray.shape
        factor = longer_side / max(h, w)
        if factor >= 1:
            return self
        size = max(1, round(w * factor)), max(1, round(h * factor))
        gray = cv2.resize(self.gray, size, interpolation=cv2.INTER_AREA)
        return GrayView(gray, self.camera.resized(*size))


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth of every pixel of a view, and how sure it is."""

    view: GrayView
    depth: Float[np.ndarray, "h w"]
    """Along the optical axis, world units."""
    score: Float[np.ndarray, "h w"]
    """Correlation with the two neighbours that agree best: 1 for the same image, 0 for none."""


def depth_map(reference: GrayView, neighbors: Sequence[GrayView], near: float, far: float) -> DepthMap:
    """Depth of ``reference`` between ``near`` and ``far`` (world units), from at least one neighbour."""
    inverse_range = (1.0 / far, 1.0 / near)
    small, others = reference.shrunk(SMALL_SIDE), [view.shrunk(SMALL_SIDE) for view in neighbors]
    planes = sweep_planes(small, others, *inverse_range)
    scores = _sweep(small, others, planes)
    best = scores.max(axis=0)
    sure = best > CONFIDENT
    if not sure.any():
        return DepthMap(reference, np.full(reference.gray.shape, far), np.zeros(reference.gray.shape, np.float32))
    if np.count_nonzero(sure) > 0.01 * sure.size:
        low, high = np.percentile(planes[scores.argmax(axis=0)[sure]], [RANGE_PERCENT, 100 - RANGE_PERCENT])
        margin = RANGE_MARGIN * (high - low) + 1e-6 * high
        inverse_range = max(inverse_range[0], low - margin), min(inverse_range[1], high + margin)
    middle, others = reference.shrunk(SWEEP_SIDE), [view.shrunk(SWEEP_SIDE) for view in neighbors]
    planes = sweep_planes(middle, others, *inverse_range)
    scores = _sweep(middle, others, planes)
    plane = smooth_planes(scores)
    inverse = _between_planes(scores, plane, planes)
    full, others = reference.shrunk(FULL_SIDE), [view.shrunk(FULL_SIDE) for view in neighbors]
    h, w = full.gray.shape
    inverse = cv2.resize(cv2.medianBlur(inverse.astype(np.float32), 3), (w, h), interpolation=cv2.INTER_LINEAR)
    step = float((planes[-1] - planes[0]) / max(len(planes) - 1, 1)) * max(middle.gray.shape) / max(h, w)
    inverse, score = _refine(full, others, inverse, step, inverse_range)
    return DepthMap(full, 1.0 / inverse, score)


def sweep_planes(
    reference: GrayView, neighbors: Sequence[GrayView], low: float, high: float
) -> Float[np.ndarray, " d"]:
    """Inverse depths from ``low`` to ``high``, between which no pixel moves by more than about one in any neighbour."""
    h, w = reference.gray.shape
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h], [w / 2, h / 2]])
    rays = np.concatenate([corners, np.ones((5, 1))], axis=1) @ np.linalg.inv(reference.camera.intrinsics).T
    inverse = np.linspace(low, high, 65)
    longest = 1.0
    for view in neighbors:
        rotation, shift = _relative(reference, view)
        places = rays[:, None] @ rotation.T + inverse[None, :, None] * shift
        front = places[:, :, 2] > 0.05
        pixels = places @ view.camera.intrinsics.T
        pixels = pixels[:, :, :2] / np.where(front, pixels[:, :, 2], 1.0)[:, :, None]
        vh, vw = view.gray.shape
        inside = front & np.all((pixels > -0.5 * vw) & (pixels < (1.5 * vw, 1.5 * vh)), axis=2)
        steps = np.linalg.norm(np.diff(pixels, axis=1), axis=2) * (inside[:, 1:] & inside[:, :-1])
        longest = max(longest, 64.0 * float(np.percentile(steps, 90)))
    return np.linspace(low, high, int(np.clip(np.ceil(longest) + 1, 8, MOST_PLANES)))


def _relative(reference: GrayView, view: GrayView) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation from the reference's to the other camera's coordinates."""
    pose = np.linalg.inv(view.camera.world_from_camera) @ reference.camera.world_from_camera
    return pose[:3, :3], pose[:3, 3]


def _sweep(reference: GrayView, neighbors: Sequence[GrayView], planes: Float[np.ndarray, " d"]) -> np.ndarray:
    """Correlations [d, h, w] with the neighbours seen through planes that face the reference."""
    h, w = reference.gray.shape
    window = _Window(reference.gray)
    half = np.array([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1.0]])
    inverse_matrix = np.linalg.inv(reference.camera.intrinsics)
    scores = np.empty((len(planes), h, w), np.float32)
    relative = [_relative(reference, view) for view in neighbors]
    for d, inverse in enumerate(planes):
        best = _BestTwo(h, w, len(neighbors))
        for view, (rotation, shift) in zip(neighbors, relative):
            homography = rotation.copy()
            homography[:, 2] += inverse * shift
            # OpenCV puts the centre of the first pixel at 0.
            homography = np.linalg.inv(half) @ view.camera.intrinsics @ homography @ inverse_matrix @ half
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            seen = cv2.warpPerspective(view.gray, homography, (w, h), flags=flags, borderValue=-1.0)
            best.add(window.correlation(seen))
        scores[d] = best.mean()
    return scores


def _refine(
    reference: GrayView,
    neighbors: Sequence[GrayView],
    inverse: Float[np.ndarray, "h w"],
    step: float,
    inverse_range: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depths near the given ones where the neighbours agree best, and that agreement."""
    h, w = reference.gray.shape
    window = _Window(reference.gray)
    x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(reference.camera.intrinsics).T
    turned = [
        (rays @ (v.camera.intrinsics @ r).T, v.camera.intrinsics @ s)
        for v in neighbors
        for r, s in [_relative(reference, v)]
    ]
    turned = [(a.astype(np.float32), b.astype(np.float32)) for a, b in turned]
    scores = np.empty((len(REFINEMENT), h, w), np.float32)
    for k, offset in enumerate(REFINEMENT):
        through = np.clip(inverse + np.float32(offset * step), *inverse_range).astype(np.float32)
        best = _BestTwo(h, w, len(neighbors))
        for view, (far_away, shift) in zip(neighbors, turned):
            depth = far_away[:, :, 2] + through * shift[2]
            front = depth > 1e-6
            depth = np.where(front, depth, np.float32(1.0))
            u = np.where(front, (far_away[:, :, 0] + through * shift[0]) / depth - np.float32(0.5), np.float32(-10.0))
            v = (far_away[:, :, 1] + through * shift[1]) / depth - np.float32(0.5)
            best.add(window.correlation(cv2.remap(view.gray, u, v, cv2.INTER_LINEAR, borderValue=-1.0)))
        scores[k] = best.mean()
    offsets = inverse[None] + step * np.array(REFINEMENT, np.float32)[:, None, None]
    chosen = scores.argmax(axis=0)
    score = np.take_along_axis(scores, chosen[None], axis=0)[0]
    refined = np.take_along_axis(offsets, chosen[None], axis=0)[0] + step * _vertex(scores, chosen)
    return np.clip(refined, *inverse_range), score


class _Window:
    """Correlation of a reference image with others, square by square."""

    def __init__(self, gray: np.ndarray) -> None:
        self.gray = gray
        self.mean = self._box(gray)
        self.variance = self._box(gray * gray) - self.mean**2

    @staticmethod
    def _box(image: np.ndarray) -> np.ndarray:
        return cv2.blur(image, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT)

    def correlation(self, seen: np.ndarray) -> np.ndarray:
        """Zero-mean normalised, at least 0; 0 where ``seen`` has no texture or is outside (negative)."""
        mean = self._box(seen)
        variance = self._box(seen * seen) - mean**2
        covariance = self._box(seen * self.gray) - mean * self.mean
        product = np.maximum(variance, LEAST_VARIANCE) * np.maximum(self.variance, LEAST_VARIANCE)
        result = np.maximum(covariance / np.sqrt(product), 0.0)
        result[seen < 0] = 0.0
        return result


class _BestTwo:
    """Mean of the two largest of several images: a surface may be hidden from the others."""

    def __init__(self, h: int, w: int, count: int) -> None:
        self.first = np.zeros((h, w), np.float32)
        self.second = np.zeros((h, w), np.float32) if count > 1 else None

    def add(self, image: np.ndarray) -> None:
        if self.second is None:
            self.first = image
            return
        self.second = np.maximum(self.second, np.minimum(self.first, image))
        self.first = np.maximum(self.first, image)

    def mean(self) -> np.ndarray:
        return self.first if self.second is None else 0.5 * (self.first + self.second)


def _vertex(scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Where between its neighbours the parabola through three scores peaks, -0.5 to 0.5 steps; 0 at the ends."""
    last = len(scores) - 1
    inner = np.clip(chosen, 1, max(last - 1, 1))
    before, at, after = (np.take_along_axis(scores, (inner + k)[None], axis=0)[0] for k in (-1, 0, 1))
    curvature = 2 * at - before - after
    peak = 0.5 * (after - before) / np.where(curvature > 1e-6, curvature, np.inf)
    return np.where(inner == chosen, np.clip(peak, -0.5, 0.5), 0.0).astype(np.float32)


def _between_planes(scores: np.ndarray, plane: np.ndarray, planes: np.ndarray) -> np.ndarray:
    step = (planes[-1] - planes[0]) / max(len(planes) - 1, 1)
    return planes[plane] + step * _vertex(scores, plane)


@njit(nogil=True, cache=True)
def smooth_planes(scores):  # type: ignore[no-untyped-def]
    """Plane of each pixel, int64 [h, w], from correlations [d, h, w]: least cost summed over paths from four sides."""
    d, h, w = scores.shape
    total = np.zeros((h, w, d), np.float32)
    cost = np.empty((h, w, d), np.float32)
    for y in range(h):
        for x in range(w):
            for k in range(d):
                cost[y, x, k] = 1.0 - scores[k, y, x]
    path, previous = np.empty(d, np.float32), np.empty(d, np.float32)
    for side in range(4):
        lines, length = (h, w) if side < 2 else (w, h)
        for line in range(lines):
            for i in range(length):
                along = i if side % 2 == 0 else length - 1 - i
                y, x = (line, along) if side < 2 else (along, line)
                if i == 0:
                    for k in range(d):
                        path[k] = cost[y, x, k]
                else:
                    least = previous[0]
                    for k in range(1, d):
                        least = min(least, previous[k])
                    for k in range(d):
                        best = min(previous[k], least + LARGE_JUMP)
                        if k > 0:
                            best = min(best, previous[k - 1] + SMALL_JUMP)
                        if k < d - 1:
                            best = min(best, previous[k + 1] + SMALL_JUMP)
                        path[k] = cost[y, x, k] + best - least
                for k in range(d):
                    total[y, x, k] += path[k]
                path, previous = previous, path
    result = np.zeros((h, w), np.int64)
    for y in range(h):
        for x in range(w):
            best = total[y, x, 0]
            for k in range(1, d):
                if total[y, x, k] < best:
                    best = total[y, x, k]
                    result[y, x] = k
    return result
