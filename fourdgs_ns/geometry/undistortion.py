"""The largest pinhole view inside a distorted image, and where its pixels lie there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from fourdgs_ns.common.errors import UserError

OPENCV_DISTORTION_LENGTHS = (4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV accepts; shorter lists are filled with zeros."""
FISHEYE_DISTORTION_LENGTH = 4
MAX_ZOOM_STEPS = 10
CHECK_GRID = 129
"""Samples per axis, corners included, at which an undistortion is checked; lenses are smooth at that scale."""
HALF_PIXEL = 0.5


@dataclass(frozen=True, eq=False)
class Undistortion:
    """How the source frame becomes a pinhole image of the same size.

    Both matrices are OpenCV's: pixel centres at integers, i.e. principal points 0.5 less than ours.
    """

    source_matrix: Float[np.ndarray, "3 3"]
    """Pinhole part of the lens."""
    pinhole_matrix: Float[np.ndarray, "3 3"]
    """The pinhole camera seen after undistortion, at source size."""
    distortion: Float[np.ndarray, " k"]
    fisheye: bool

    def map(self, width: int, height: int) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """For each pixel of the pinhole image the position in the source frame (x, y), OpenCV's pixel convention."""
        model: Any = cv2.fisheye if self.fisheye else cv2
        source, size = self.source_matrix, (width, height)
        x, y = model.initUndistortRectifyMap(
            source, self.distortion, np.eye(3), self.pinhole_matrix, size, cv2.CV_32FC1
        )
        # OpenCV leaves a skew of the source matrix out.
        return x + np.float32(source[0, 1] / source[1, 1]) * (y - np.float32(source[1, 2])), y

    def pinhole_intrinsics(self) -> Float[np.ndarray, "3 3"]:
        """``pinhole_matrix`` in our convention: pixel i covers [i, i + 1)."""
        return _shift_centre(self.pinhole_matrix, HALF_PIXEL)


def find_undistortion(
    camera: str,
    size: tuple[int, int],
    intrinsics: Float[np.ndarray, "3 3"],
    distortion: Sequence[float],
    fisheye: bool,
) -> Undistortion | None:
    """The largest pinhole view without black border of a lens, None for a lens without distortion and skew.

    ``cv2.getOptimalNewCameraMatrix`` with alpha 0, zoomed in further where its coarse sampling of the border leaves any.

    Args:
        camera: its name, for errors.
        size: width and height in pixels.
        intrinsics: pixel i covers [i, i + 1).
        distortion: OpenCV's order.

    Raises:
        UserError: the distortion folds inside the image, or has more coefficients than OpenCV knows.
    """
    coefficients = np.asarray(distortion, dtype=np.float64)
    # A fisheye without coefficients still is an equidistant lens, not a pinhole.
    skewed = abs(intrinsics[0, 1] / intrinsics[1, 1]) * size[1] > HALF_PIXEL  # rasterizers know no skew either
    if not fisheye and not coefficients.any() and not skewed:
        return None
    coefficients = filled_distortion(distortion, camera, fisheye)
    source = _shift_centre(np.asarray(intrinsics, dtype=np.float64), -HALF_PIXEL)
    if fisheye:
        pinhole = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            source, coefficients, size, np.eye(3), balance=0.0
        )
    else:
        pinhole, _ = cv2.getOptimalNewCameraMatrix(source, coefficients, size, 0.0, size)
    found = _zoomed_until_filled(Undistortion(source, np.asarray(pinhole, np.float64), coefficients, fisheye), size)
    if found is None:
        raise UserError(
            f"the distortion of camera '{camera}' ({', '.join(f'{k:g}' for k in distortion)}) folds inside its "
            f"{size[0]}x{size[1]} image and cannot be undone; check the order of the coefficients and the lens model, or "
            "calibrate the camera again"
        )
    return found


def filled_distortion(distortion: Sequence[float], camera: str, fisheye: bool) -> Float[np.ndarray, " l"]:
    """Coefficients with zeros appended up to a number that OpenCV accepts.

    Raises:
        UserError: there are more than OpenCV knows.
    """
    coefficients = np.asarray(distortion, dtype=np.float64)
    lengths = (FISHEYE_DISTORTION_LENGTH,) if fisheye else OPENCV_DISTORTION_LENGTHS
    for length in lengths:
        if len(coefficients) <= length:
            return np.concatenate([coefficients, np.zeros(length - len(coefficients))])
    raise UserError(
        f"camera '{camera}' has {len(coefficients)} distortion coefficients, but a "
        f"{'fisheye' if fisheye else 'lens'} has at most {lengths[-1]}; correct the calibration"
    )


def _zoomed_until_filled(lens: Undistortion, size: tuple[int, int]) -> Undistortion | None:
    """The view magnified about the image centre until every pixel lies inside the source frame; None where it folds."""
    width, height = size
    pinhole = lens.pinhole_matrix
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    grid_from_pixels = np.array([(CHECK_GRID - 1) / (width - 1), (CHECK_GRID - 1) / (height - 1), 1.0])[:, None]
    for _ in range(MAX_ZOOM_STEPS):
        if not (np.isfinite(pinhole).all() and pinhole[0, 0] > 0 and pinhole[1, 1] > 0):
            return None
        x, y = replace(lens, pinhole_matrix=grid_from_pixels * pinhole).map(CHECK_GRID, CHECK_GRID)
        if (np.diff(x, axis=1) <= 0).any() or (np.diff(y, axis=0) <= 0).any():
            return None
        outside = max(-x.min(), -y.min(), x.max() - (width - 1), y.max() - (height - 1))
        if outside <= HALF_PIXEL:
            return replace(lens, pinhole_matrix=pinhole)
        zoom = 1.0 + 2.0 * outside / min(width, height)
        pinhole = pinhole.copy()
        pinhole[:2, :2] *= zoom
        pinhole[:2, 2] = centre + (pinhole[:2, 2] - centre) * zoom
    return None


def _shift_centre(matrix: Float[np.ndarray, "3 3"], pixels: float) -> Float[np.ndarray, "3 3"]:
    """The same camera with image coordinates that are ``pixels`` larger."""
    shifted = np.array(matrix, dtype=np.float64)
    shifted[:2, 2] += pixels
    return shifted
