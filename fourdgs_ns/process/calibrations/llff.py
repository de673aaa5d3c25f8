"""``poses_bounds.npy`` of LLFF and Neural 3D Video: one row per camera in natural order, without names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourdgs_ns.capture.layouts.calibration import checked_intrinsics, checked_pose
from fourdgs_ns.capture.layouts.reading import read_npy
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

name = "llff"
looks_for = "poses_bounds.npy"


def recognizes(path: Path) -> bool:
    return _file(path).suffix == ".npy" and _file(path).is_file()


def read(path: Path) -> list[Camera]:
    """Rows [down, right, backwards | centre | height width focal] and two depth bounds."""
    file = _file(path)
    rows = read_npy(file)
    if rows.ndim != 2 or rows.shape[1] != 17:
        raise UserError(f"{file} has the shape {'x'.join(map(str, rows.shape))} instead of Nx17; export it with LLFF")
    cameras = []
    for i, row in enumerate(rows):
        matrix = row[:15].reshape(3, 5)
        down, right, backwards, centre = matrix[:, 0], matrix[:, 1], matrix[:, 2], matrix[:, 3]
        height, width, focal = (float(x) for x in matrix[:, 4])
        pose = checked_pose(np.stack([right, down, -backwards, centre], axis=1), f"row {i}", file)
        lens = checked_intrinsics(pinhole(focal, focal, width / 2, height / 2), f"row {i}", file)
        cameras.append(Camera("", round(width), round(height), lens, pose))
    return cameras


def _file(path: Path) -> Path:
    return path / "poses_bounds.npy" if path.is_dir() else path
