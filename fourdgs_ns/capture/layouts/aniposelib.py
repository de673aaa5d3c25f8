"""TOML of aniposelib and Pose2Sim (``Calib.toml``) and of Caliscope (``camera_array.toml``), world to camera.

Every table with ``matrix``, ``rotation`` (Rodrigues vector or 3x3) and ``translation`` is a camera: at the top level, or
under ``cameras``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fourdgs_ns.capture.layouts.conventions import checked_distortion, checked_intrinsics, pose_from_world_to_camera
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.reading import flag, matrix, read_text
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status
from fourdgs_ns.geometry.camera import Camera

MAX_BYTES = 16 * 2**20


def read_cameras(file: Path) -> list[Camera]:
    """All cameras that are not marked ``ignore``."""
    content = _load(file)
    nested = content.get("cameras")
    tables = nested if isinstance(nested, dict) else content
    cameras = []
    for key, table in tables.items():
        if isinstance(table, dict) and "matrix" in table and not table.get("ignore", False):
            cameras.append(_camera(str(table.get("name", key)), table, file))
    if not cameras:
        raise UserError(
            f"{file} has no table with 'matrix', 'rotation' and 'translation'; export the calibration again"
        )
    return cameras


def _camera(camera: str, table: dict[str, Any], file: Path) -> Camera:
    for key in ("rotation", "translation"):
        if table.get(key) in (None, "null", []):
            raise UserError(f"camera '{camera}' in {file} has no {key}; calibrate the extrinsics first")
    width, height = matrix(table.get("size"), (2,), f"size of camera '{camera}'", file)
    lens = checked_intrinsics(matrix(table["matrix"], (3, 3), f"matrix of camera '{camera}'", file), camera, file)
    # OpenCV's calibration puts the centre of the first pixel at 0.
    lens = lens + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    rotation = np.asarray(table["rotation"], dtype=np.float64)
    if rotation.shape == (3,):
        rotation = np.asarray(cv2.Rodrigues(rotation.reshape(3, 1))[0])
    rotation = matrix(rotation.tolist(), (3, 3), f"rotation of camera '{camera}'", file)
    translation = np.asarray(table["translation"], dtype=np.float64).reshape(-1)
    translation = matrix(translation.tolist(), (3,), f"translation of camera '{camera}'", file)
    pose = pose_from_world_to_camera(np.hstack([rotation, translation[:, None]]), camera, file)
    fisheye = flag(table.get("fisheye", False), f"fisheye of camera '{camera}'", file)
    coefficients = np.asarray(table.get("distortions", []), dtype=np.float64).reshape(-1).tolist()
    distortion = checked_distortion(coefficients, camera, file, fisheye)
    return Camera(camera, round(width), round(height), lens, pose, distortion, fisheye)


def _load(file: Path) -> dict[str, Any]:
    if file_status(file).st_size > MAX_BYTES:
        raise UserError(f"{file} is larger than {MAX_BYTES // 2**20} MiB; it is no calibration")
    try:
        if sys.version_info >= (3, 11):
            import tomllib

            return tomllib.loads(read_text(file))
        import tomli  # type: ignore[import-not-found,unused-ignore]

        return tomli.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} is not valid TOML ({reason}); correct that place or export the file again") from None


def find_calibration(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".toml" else None
    candidates = [path / "camera_array.toml", *sorted(path.glob("[!.]*alib*.toml"))]
    return next((c for c in candidates if c.is_file()), None)


LAYOUT = Layout(
    "aniposelib", calibration=Calibration("Calib.toml or camera_array.toml", find_calibration, read_cameras)
)
