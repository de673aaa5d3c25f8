"""Poses, intrinsics and distortion: conversion to our conventions and the checks every layout shares.

World and camera axes are as in :class:`fourdgs_ns.geometry.camera.Camera`: OpenCV cameras (x right, y down, z forward), pixel i
covers [i, i + 1). Every function raises :class:`UserError` naming the camera and the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, Camera

ROTATION_TOLERANCE = 1e-2
"""Largest entry of RᵀR - I that rounding of printed digits may explain."""
ASPECT_TOLERANCE = 5e-3
PERSPECTIVE_MODELS = (
    *("PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "RADTAN", "PLUMB_BOB", "BROWN"),
    *("FULL_OPENCV", "RATIONAL_POLYNOMIAL"),
)
RATIONAL_MODELS = PERSPECTIVE_MODELS[-2:]
FISHEYE_MODELS = (
    *("OPENCV_FISHEYE", "FISHEYE", "FISHEYE_OPENCV", "EQUIDISTANT", "KANNALA_BRANDT"),
    *("SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"),
)
"""Names that programs give to the equidistant model."""
SCALED = 1.3
"""Factor by which a principal point is off the centre on both axes alike when its image was scaled, and by calibration never."""


def checked_pose(pose: Float[np.ndarray, "r 4"], camera: str, path: Path) -> Float[np.ndarray, "4 4"]:
    """A rigid 4x4 matrix from a 3x4 or 4x4 one; the rotation is replaced by the nearest exact one."""
    pose = np.asarray(pose, dtype=np.float64)
    if not np.isfinite(pose).all():
        raise UserError(
            f"the pose of camera '{camera}' in {path} holds NaN or infinite numbers; "
            f"calibrate that camera again or leave it out"
        )
    if len(pose) == 4 and np.abs(pose[3] - [0, 0, 0, 1]).max() > ROTATION_TOLERANCE:
        raise UserError(
            f"the last row of the pose of camera '{camera}' in {path} is {pose[3].tolist()} instead of 0 0 0 1, as in a "
            "transposed matrix; write it row by row"
        )
    rotation = pose[:3, :3]
    deviation = np.abs(rotation.T @ rotation - np.eye(3)).max()
    determinant = np.linalg.det(rotation)
    if deviation > ROTATION_TOLERANCE or determinant < 0:
        found = f"RᵀR differs from I by {deviation:.2g}" if deviation > ROTATION_TOLERANCE else "it mirrors (det R < 0)"
        raise UserError(
            f"the rotation of camera '{camera}' in {path} is no rotation: {found}; "
            f"check the order of its columns and axes, and export the calibration again"
        )
    u, _, vt = np.linalg.svd(rotation)
    rigid = np.eye(4)
    rigid[:3, :3] = u @ vt
    rigid[:3, 3] = pose[:3, 3]
    return rigid


def pose_from_opengl(pose: Float[np.ndarray, "r 4"], camera: str, path: Path) -> Float[np.ndarray, "4 4"]:
    """world_from_camera with OpenCV axes from a camera-to-world matrix with OpenGL axes."""
    return checked_pose(pose, camera, path) @ OPENCV_FROM_OPENGL


def pose_from_world_to_camera(pose: Float[np.ndarray, "r 4"], camera: str, path: Path) -> Float[np.ndarray, "4 4"]:
    """world_from_camera from the inverse, both with OpenCV axes."""
    camera_from_world = checked_pose(pose, camera, path)
    rotation = camera_from_world[:3, :3]
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3] = rotation.T
    world_from_camera[:3, 3] = -rotation.T @ camera_from_world[:3, 3]
    return world_from_camera


def checked_intrinsics(matrix: Float[np.ndarray, "3 3"], camera: str, path: Path) -> Float[np.ndarray, "3 3"]:
    """A pinhole matrix that is finite, regular, upper triangular and has positive focal lengths."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise UserError(
            f"the intrinsics of camera '{camera}' in {path} hold NaN or infinite numbers; calibrate it again"
        )
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise UserError(
            f"the intrinsics of camera '{camera}' in {path} have the focal lengths {matrix[0, 0]:g} and "
            f"{matrix[1, 1]:g} (a singular or mirrored matrix); both must be positive pixels, calibrate it again"
        )
    if np.abs(matrix[[1, 2, 2], [0, 0, 1]]).max() > 1e-6 or abs(matrix[2, 2] - 1) > 1e-6:
        raise UserError(
            f"the intrinsics of camera '{camera}' in {path} are no pinhole matrix [[fx s cx] [0 fy cy] [0 0 1]]; "
            f"check that rows and columns are not exchanged"
        )
    return matrix


def is_fisheye_model(model: str, camera: str, path: Path) -> bool:
    """Whether a lens model, by any of its names, is the equidistant one.

    Raises:
        UserError: it is neither that nor a perspective one.
    """
    name = model.strip().upper()
    if name in FISHEYE_MODELS:
        return True
    if name in PERSPECTIVE_MODELS:
        return False
    raise UserError(
        f"camera '{camera}' in {path} has the camera model {model}; known are "
        f"{', '.join(PERSPECTIVE_MODELS + FISHEYE_MODELS)}, convert the frames to one of them"
    )


def looks_scaled(matrix: Float[np.ndarray, "3 3"], width: int, height: int) -> bool:
    """Whether the principal point is that of an image of the same aspect but of another size."""
    across, down = 2 * matrix[0, 2] / width, 2 * matrix[1, 2] / height
    alike = min(across, down) > 0 and abs(np.log(across / down)) < np.log(SCALED)
    return bool(alike and abs(np.log(across * down)) / 2 > np.log(SCALED))


def check_unscaled(
    matrix: Float[np.ndarray, "3 3"], size: tuple[int, int], camera: str, path: Path, keys: str = "its width and height"
) -> None:
    """Refuse intrinsics for which ``path`` states no size when they cannot be those of frames of ``size``.

    ``keys``: how the size is called in the file.
    """
    if looks_scaled(matrix, *size):
        raise UserError(
            f"camera '{camera}' in {path} has its principal point at ({matrix[0, 2]:g}, {matrix[1, 2]:g}), but its frames are "
            f"{size[0]}x{size[1]} pixels and no size is stated: write {keys} there, of the images that were calibrated or, if "
            "the frames were cropped from these, of the frames"
        )


def scaled_intrinsics(
    matrix: Float[np.ndarray, "3 3"],
    calibrated: tuple[float, float],
    actual: tuple[int, int],
    camera: str,
    path: Path,
) -> Float[np.ndarray, "3 3"]:
    """Intrinsics given at the size ``calibrated`` (width, height), brought to the size ``actual`` of the frames.

    Raises:
        UserError: the two sizes have another aspect, so the frames were cropped or turned after calibration.
    """
    if min(calibrated) <= 0:
        raise UserError(
            f"{path} gives camera '{camera}' a size of {calibrated[0]:g}x{calibrated[1]:g}; write its width and height"
        )
    sx, sy = actual[0] / calibrated[0], actual[1] / calibrated[1]
    if abs(sx / sy - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"camera '{camera}' has frames of {actual[0]}x{actual[1]} pixels but is calibrated for "
            f"{calibrated[0]:g}x{calibrated[1]:g} in {path}, another aspect; "
            f"export frames that are scaled but neither cropped nor turned, or calibrate at their size"
        )
    return np.diag([sx, sy, 1.0]) @ matrix


def at_frame_size(camera: Camera, width: int, height: int, path: Path) -> Camera:
    """A calibrated camera brought to the size of its frames, which is its own where ``path`` states none.

    Raises:
        UserError: another aspect.
    """
    if not camera.width or not camera.height:
        check_unscaled(camera.intrinsics, (width, height), camera.name, path)
        return replace(camera, width=width, height=height)
    matrix = scaled_intrinsics(camera.intrinsics, (camera.width, camera.height), (width, height), camera.name, path)
    return replace(camera, width=width, height=height, intrinsics=matrix)


def checked_distortion(
    coefficients: Sequence[float], camera: str, path: Path, fisheye: bool = False
) -> tuple[float, ...]:
    """Coefficients in OpenCV's order, padded to k1 k2 p1 p2 k3 (k4 k5 k6 (s1 s2 s3 s4 (tx ty))) or k1..k4 of the fisheye.

    Empty when the camera is a pinhole.
    """
    values = [float(c) for c in coefficients]
    if not np.isfinite(values).all():
        raise UserError(
            f"the distortion of camera '{camera}' in {path} holds NaN or infinite numbers; calibrate it again"
        )
    while values and values[-1] == 0:
        values.pop()
    if not values and not fisheye:  # a fisheye lens without coefficients is still no pinhole
        return ()
    lengths = (4,) if fisheye else (5, 8, 12, 14)
    length = next((n for n in lengths if len(values) <= n), None)
    if length is None:
        model = "the fisheye model" if fisheye else "OpenCV's model of 14"
        raise UserError(
            f"camera '{camera}' in {path} has {len(values)} distortion coefficients, more than {model} knows; "
            f"calibrate with at most {lengths[-1]}, or undistort the frames"
        )
    return tuple(values + [0.0] * (length - len(values)))
