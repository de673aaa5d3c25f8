"""How many of the sure matches of two cameras a calibration explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float

from fourdgs_ns.geometry.camera import Camera, fundamental, pinhole
from fourdgs_ns.geometry.epipolar import line_distance
from fourdgs_ns.geometry.undistortion import filled_distortion
from fourdgs_ns.points.witnesses import Witness

NEAR_LINE = 0.01
"""Of the longer side: a match this far from its epipolar line still agrees. Right calibrations have been seen 0.5 % off."""
NEAR_LINE_PIXELS = 2.5
"""The same in small pictures, whose features and calibrations are no more exact than this."""
MOST_WEIGHT = 100
"""Matches from which on a pair weighs no more: near neighbours must not outvote all others."""

Cameras = Mapping[str, Camera]


class Bench:
    """Shares of the witnesses' matches that agree with calibrations; what was computed once is remembered."""

    def __init__(self, witnesses: Sequence[Witness], tolerance: float = 1.0) -> None:
        self.witnesses = witnesses
        self.tolerance = tolerance
        """Times the usual distance from the lines."""
        self.names = sorted({name for w in witnesses for name in (w.a, w.b)})
        self._weights = np.array([min(len(w.pixels_a), MOST_WEIGHT) for w in witnesses], np.float64)
        self._pairs_of = {n: [i for i, w in enumerate(witnesses) if n in (w.a, w.b)] for n in self.names}
        # Cameras are kept beside what was computed of them, so that their ids stay their own.
        self._flat: dict[tuple[int, str, int], tuple[Camera, Float[np.ndarray, "m 3"]]] = {}
        self._shares: dict[tuple[int, int, int], float] = {}

    def pairs_of(self, names: Sequence[str]) -> list[int]:
        """Witnesses in which one of the cameras takes part."""
        return sorted({i for name in names for i in self._pairs_of.get(name, [])})

    def share(self, i: int, a: Camera, b: Camera) -> float:
        """Of the matches of witness ``i`` that agree with these two calibrations."""
        key = i, id(a), id(b)
        if key not in self._shares:
            flat_a, flat_b = self._flat_points(i, "a", a), self._flat_points(i, "b", b)
            self._shares[key] = float(agreeing(a, b, flat_a, flat_b, self.tolerance).mean())
        return self._shares[key]

    def shares(self, cameras: Cameras, pairs: Sequence[int]) -> Float[np.ndarray, " p"]:
        """Of the matches of each of the witnesses ``pairs`` that agree."""
        named = [(i, self.witnesses[i]) for i in pairs]
        return np.array([self.share(i, cameras[w.a], cameras[w.b]) for i, w in named])

    def agreement(self, cameras: Cameras, pairs: Sequence[int] | None = None) -> float:
        """Mean share of the witnesses ``pairs`` (None: of all), weighted by their matches."""
        chosen = list(range(len(self.witnesses))) if pairs is None else list(pairs)
        return float(np.average(self.shares(cameras, chosen), weights=self.weights(chosen)))

    def weights(self, pairs: Sequence[int]) -> Float[np.ndarray, " p"]:
        """How much each of these witnesses counts."""
        return self._weights[list(pairs)]

    def _flat_points(self, i: int, end: str, camera: Camera) -> Float[np.ndarray, "m 3"]:
        key = i, end, id(camera)
        if key not in self._flat:
            self._flat[key] = camera, flat_points(camera, getattr(self.witnesses[i], f"pixels_{end}"))
        return self._flat[key][1]


def agreeing(
    a: Camera,
    b: Camera,
    flat_a: Float[np.ndarray, "m 3"],
    flat_b: Float[np.ndarray, "m 3"],
    tolerance: float = 1.0,
) -> Bool[np.ndarray, " m"]:
    """Which matches, given by :func:`flat_points`, lie near their epipolar lines and meet in front of both cameras.

    Cameras that stand in one place see a match in one direction.
    """
    limit = tolerance * max(NEAR_LINE_PIXELS, NEAR_LINE * max(a.width, a.height, b.width, b.height))
    focal_a, focal_b = _focal(a), _focal(b)
    ray_a, ray_b = (_rays(camera, flat) for camera, flat in ((a, flat_a), (b, flat_b)))
    cos = (ray_a * ray_b).sum(axis=1)
    # Without a parallax that could be told a point is far away, in front of both.
    far = cos > np.cos(min(limit / min(focal_a, focal_b), 1.0))
    baseline = b.center - a.center
    if np.linalg.norm(baseline) <= 1e-9 * max(np.abs(a.center).max(), np.abs(b.center).max()):
        return far
    along_a, along_b = ray_a @ baseline, ray_b @ baseline
    ahead = (along_a - cos * along_b > 0) & (cos * along_a - along_b > 0)
    square = [replace(c, intrinsics=pinhole(f, f, 0.0, 0.0)) for c, f in ((a, focal_a), (b, focal_b))]
    distance = line_distance(fundamental(*square), flat_a[:, :2] * focal_a, flat_b[:, :2] * focal_b)
    return (distance <= limit) & (ahead | far)  # false where the lens shows nothing: comparisons with NaN


def flat_points(camera: Camera, pixels: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "m 3"]:
    """Points on the plane z = 1 before the camera that its lens shows at ``pixels``; NaN where it shows none."""
    flat = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(camera.intrinsics).T
    if len(pixels) == 0 or not (camera.fisheye or any(camera.distortion)):
        return flat
    undo = cv2.fisheye.undistortPoints if camera.fisheye else cv2.undistortPoints
    coefficients = filled_distortion(camera.distortion, camera.name, camera.fisheye)
    found = np.asarray(undo(np.ascontiguousarray(flat[:, None, :2]), np.eye(3), coefficients)).reshape(-1, 2)
    found = np.where(np.abs(found) < 1e4, found, np.nan)
    return np.concatenate([found, np.ones((len(found), 1))], axis=1)


def _focal(camera: Camera) -> float:
    return float(np.sqrt(np.abs(camera.intrinsics[0, 0] * camera.intrinsics[1, 1])))


def _rays(camera: Camera, flat: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m 3"]:
    rays = flat @ camera.world_from_camera[:3, :3].T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)
