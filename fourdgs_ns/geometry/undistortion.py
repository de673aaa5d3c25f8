"""From a camera's source frames to the pinhole camera and the pixels that training uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fourdgs_ns.capture.capture import CaptureCamera
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
        return _map(self.source_matrix, self.pinhole_matrix, self.distortion, self.fisheye, (width, height))


@dataclass(frozen=True, eq=False)
class TrainingCamera:
    """A camera as training sees it: a pinhole without distortion, at the size of the stored frames."""

    name: str
    width: int
    height: int
    intrinsics: Float[np.ndarray, "3 3"]
    """Pinhole matrix in training pixels; pixel i covers [i, i + 1)."""
    undistortion: Undistortion | None
    """What happens to the source frame before it is resized; None for a lens without distortion."""


def training_camera(camera: CaptureCamera, downscale: float) -> TrainingCamera:
    """The pinhole camera of ``camera``'s frames, undistorted and made ``downscale`` times smaller.

    The size is the source size divided by ``downscale``, rounded; the matrix is scaled by the exact ratio of the sizes
    per axis, so a principal point off the centre stays where it was in the scene. A distorted lens is replaced by the
    largest pinhole view without black border (``cv2.getOptimalNewCameraMatrix`` with alpha 0, zoomed in further where
    its coarse sampling of the border leaves any).

    Raises UserError for a downscale below 1 and for distortion that folds inside the image.
    """
    if not (np.isfinite(downscale) and downscale >= 1):
        raise UserError(f"--downscale-factor {downscale:g} would enlarge the frames; give a number of at least 1")
    width, height = max(1, round(camera.width / downscale)), max(1, round(camera.height / downscale))
    undistortion = _undistortion(camera)
    intrinsics = np.array(camera.intrinsics, dtype=np.float64)
    if undistortion is not None:
        intrinsics = _shift_centre(undistortion.pinhole_matrix, HALF_PIXEL)
    ratio = np.array([width / camera.width, height / camera.height, 1.0])
    return TrainingCamera(camera.name, width, height, ratio[:, None] * intrinsics, undistortion)


class Resampler:
    """Turns source frames of one camera into training frames; the maps are computed once, calls are thread-safe."""

    def __init__(self, camera: CaptureCamera, training: TrainingCamera) -> None:
        self.name = camera.name
        self.source_size = (camera.width, camera.height)
        self.size = (training.width, training.height)
        self.maps: tuple[np.ndarray, np.ndarray] | None = None
        if training.undistortion is not None:
            self.maps = cv2.convertMaps(*training.undistortion.map(*self.source_size), cv2.CV_16SC2)  # type: ignore[assignment]

    def __call__(
        self, frame: UInt8[np.ndarray, "source_h source_w c"], described: str | None = None
    ) -> UInt8[np.ndarray, "h w c"]:
        """The frame at training size, c = 1, 3 or 4.

        A fourth channel is coverage: colours are averaged with it as weight, so what lies outside the subject does not
        bleed into its silhouette. Raises UserError when the frame has another size than the camera; ``described`` names
        the frame in it.
        """
        height, width = frame.shape[:2]
        if (width, height) != self.source_size:
            raise UserError(
                f"{described or 'a frame of camera ' + self.name} is {width}x{height} pixels, but camera '{self.name}' "
                f"is calibrated for {self.source_size[0]}x{self.source_size[1]}; use the frames that were calibrated, "
                "or scale the calibration to their size"
            )
        if self.maps is None and self.size == self.source_size:
            return np.ascontiguousarray(frame)
        if frame.shape[2] != 4:
            return self._resample(frame).reshape(self.size[1], self.size[0], frame.shape[2])
        alpha = frame[:, :, 3:].astype(np.float32)
        result = self._resample(np.concatenate([frame[:, :, :3] * (alpha / 255.0), alpha], axis=2))
        weight = result[:, :, 3:] / 255.0
        # Colour under what rounds to zero coverage is never seen; black keeps it the same everywhere.
        covered = result[:, :, 3:] > 0.5
        result[:, :, :3] = np.divide(result[:, :, :3], weight, out=np.zeros_like(result[:, :, :3]), where=covered)
        return np.clip(np.rint(result), 0, 255).astype(np.uint8)

    def _resample(self, image: np.ndarray) -> np.ndarray:
        if self.maps is not None:
            # Replicating covers the last fraction of a pixel between the outermost pixel centres and the border.
            image = cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if (image.shape[1], image.shape[0]) != self.size:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        return image


def resampler(camera: CaptureCamera, training: TrainingCamera) -> Resampler:
    """The function from source frames of ``camera`` to frames of ``training`` (see :class:`Resampler`)."""
    return Resampler(camera, training)


def _undistortion(camera: CaptureCamera) -> Undistortion | None:
    coefficients = np.asarray(camera.distortion, dtype=np.float64)
    # A fisheye without coefficients still is an equidistant lens, not a pinhole.
    if not camera.fisheye and not coefficients.any():
        return None
    coefficients = _fill(coefficients, camera)
    source = _shift_centre(np.asarray(camera.intrinsics, dtype=np.float64), -HALF_PIXEL)
    size = (camera.width, camera.height)
    if camera.fisheye:
        pinhole = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            source, coefficients, size, np.eye(3), balance=0.0
        )
    else:
        pinhole, _ = cv2.getOptimalNewCameraMatrix(source, coefficients, size, 0.0, size)
    pinhole = _zoom_until_filled(camera, source, np.asarray(pinhole, dtype=np.float64), coefficients)
    return Undistortion(source, pinhole, coefficients, camera.fisheye)


def _fill(coefficients: Float[np.ndarray, " k"], camera: CaptureCamera) -> Float[np.ndarray, " k"]:
    """``coefficients`` with zeros appended up to a number that OpenCV accepts."""
    lengths = (FISHEYE_DISTORTION_LENGTH,) if camera.fisheye else OPENCV_DISTORTION_LENGTHS
    for length in lengths:
        if len(coefficients) <= length:
            return np.concatenate([coefficients, np.zeros(length - len(coefficients))])
    raise UserError(
        f"camera '{camera.name}' has {len(coefficients)} distortion coefficients, but a "
        f"{'fisheye' if camera.fisheye else 'lens'} has at most {lengths[-1]}; correct the calibration"
    )


def _zoom_until_filled(
    camera: CaptureCamera,
    source: Float[np.ndarray, "3 3"],
    pinhole: Float[np.ndarray, "3 3"],
    distortion: Float[np.ndarray, " k"],
) -> Float[np.ndarray, "3 3"]:
    """``pinhole`` magnified about the image centre until every pixel lies inside the source frame."""
    width, height = camera.width, camera.height
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    grid_from_pixels = np.array([(CHECK_GRID - 1) / (width - 1), (CHECK_GRID - 1) / (height - 1), 1.0])[:, None]
    for _ in range(MAX_ZOOM_STEPS):
        if not (np.isfinite(pinhole).all() and pinhole[0, 0] > 0 and pinhole[1, 1] > 0):
            break
        x, y = _map(source, grid_from_pixels * pinhole, distortion, camera.fisheye, (CHECK_GRID, CHECK_GRID))
        if (np.diff(x, axis=1) <= 0).any() or (np.diff(y, axis=0) <= 0).any():
            break
        outside = max(-x.min(), -y.min(), x.max() - (width - 1), y.max() - (height - 1))
        if outside <= HALF_PIXEL:
            return pinhole
        zoom = 1.0 + 2.0 * outside / min(width, height)
        pinhole = pinhole.copy()
        pinhole[:2, :2] *= zoom
        pinhole[:2, 2] = centre + (pinhole[:2, 2] - centre) * zoom
    raise UserError(
        f"the distortion of camera '{camera.name}' ({', '.join(f'{k:g}' for k in camera.distortion)}) folds inside its "
        f"{width}x{height} image and cannot be undone; check the order of the coefficients and the lens model, or "
        "calibrate the camera again"
    )


def _map(
    source: Float[np.ndarray, "3 3"],
    pinhole: Float[np.ndarray, "3 3"],
    distortion: Float[np.ndarray, " k"],
    fisheye: bool,
    size: tuple[int, int],
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    model: Any = cv2.fisheye if fisheye else cv2
    x, y = model.initUndistortRectifyMap(source, distortion, np.eye(3), pinhole, size, cv2.CV_32FC1)
    # OpenCV leaves a skew of the source matrix out.
    return x + np.float32(source[0, 1] / source[1, 1]) * (y - np.float32(source[1, 2])), y


def _shift_centre(matrix: Float[np.ndarray, "3 3"], pixels: float) -> Float[np.ndarray, "3 3"]:
    """The same camera with image coordinates that are ``pixels`` larger."""
    shifted = np.array(matrix, dtype=np.float64)
    shifted[:2, 2] += pixels
    return shifted
