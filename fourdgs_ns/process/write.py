"""Last step: ``transforms.json`` and ``metadata.json``, which make the folder a capture.

The frames stay as they were shot: training undistorts them once when it builds its own store of frames, so a second set
of resampled JPEGs would cost disk and sharpness for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.capture.layouts.entries import COEFFICIENTS, FISHEYE_COEFFICIENTS
from fourdgs_ns.common.files import write_json
from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, Camera

POINTS = "points3D.ply"


def transforms(
    cameras: Sequence[Camera],
    files: Mapping[str, str],
    fps: float,
    points: str | None = None,
) -> dict[str, Any]:
    """Content of transforms.json: one entry per camera that names its first frame, its video or its folder."""
    entries = []
    for camera in cameras:
        k = camera.intrinsics
        entry: dict[str, Any] = {
            "file_path": files[camera.name],
            "camera_label": camera.name,
            "w": camera.width,
            "h": camera.height,
            "fl_x": float(k[0, 0]),
            "fl_y": float(k[1, 1]),
            "cx": float(k[0, 2]),
            "cy": float(k[1, 2]),
            "camera_model": camera_model(camera),
            **lens_fields(camera),
            "transform_matrix": (camera.world_from_camera @ OPENCV_FROM_OPENGL).tolist(),
        }
        late = camera.time_offset_seconds or 0.0
        if abs(late) > 1e-6:
            entry["time_offset_seconds"] = late
        entries.append(entry)
    content: dict[str, Any] = {"fps": fps, "frames": entries}
    if points is not None:
        content["ply_file_path"] = points
    return content


def camera_model(camera: Camera) -> str:
    """COLMAP's name of the lens, as in Nerfstudio, whose own parser does not know the rational one."""
    rational = any(camera.distortion[5:])
    return "OPENCV_FISHEYE" if camera.fisheye else "FULL_OPENCV" if rational else "OPENCV"


def lens_fields(camera: Camera) -> dict[str, float]:
    """Distortion coefficients under the names that :mod:`fourdgs_ns.capture.layouts.entries` reads."""
    order = FISHEYE_COEFFICIENTS if camera.fisheye else COEFFICIENTS
    values = np.asarray(camera.distortion, np.float64)
    return {key: float(value) for key, value in zip(order, values) if value or camera.fisheye}


def write_capture(
    root: Path,
    cameras: Sequence[Camera],
    fps: float,
    frames: int,
    points: bool,
    facts: Mapping[str, Any],
) -> None:
    """Write both files; transforms.json last, because a folder with it is a capture.

    Raises:
        UserError: the disk is full.
    """
    names = [camera.name for camera in cameras]
    write_json(root / "metadata.json", {"fps": fps, "num_frames": frames, "cameras": names, **facts})
    files = {name: f"frames/{name}/000000.jpg" for name in names}
    write_json(root / "transforms.json", transforms(cameras, files, fps, POINTS if points else None))
