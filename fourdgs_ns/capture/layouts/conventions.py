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


def checked_pose(pose: Float[np.ndarray, "r 4"], camera: str, path: Path) -> Float[np.ndarray, "4 4"]:
    """A rigid 4x4 matrix from a 3x4 or 4x4 one; the rotation is replaced by the nearest exact one."""
    pose = np.asarray(pose, dtype=np.float64)
    if not np.isfinite(pose).all():
        raise UserError(
            f"the pose of camera '{camera}' in {path} holds NaN or infinite numbers; "
            f"calibrate that camera again or leave it out"
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
        return replace(camera, width=width, height=height)
    matrix = scaled_intrinsics(camera.intrinsics, (camera.width, camera.height), (width, height), camera.name, path)
    return replace(camera, width=width, height=height, intrinsics=matrix)


def checked_distortion(
    coefficients: Sequence[float], camera: str, path: Path, fisheye: bool = False
) -> tuple[float, ...]:
    """Coefficients in OpenCV's order, padded to k1 k2 p1 p2 k3 (k4 k5 k6) or k1..k4 of the fisheye.

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
    lengths = (4,) if fisheye else (5, 8)
    length = next((n for n in lengths if len(values) <= n), None)
    if length is None:
        model = "the fisheye model" if fisheye else "the rational model k1 k2 p1 p2 k3 k4 k5 k6"
        raise UserError(
            f"camera '{camera}' in {path} has {len(values)} distortion coefficients, more than {model} knows; "
            f"calibrate with at most {lengths[-1]}, or undistort the frames"
        )
    return tuple(values + [0.0] * (length - len(values)))
