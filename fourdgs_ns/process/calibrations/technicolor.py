"""The cameras of the layout technicolor, see :mod:`fourdgs_ns.capture.layouts.technicolor`."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts.technicolor import CALIBRATION, read_cameras
from fourdgs_ns.geometry.camera import Camera

name = "technicolor"
looks_for = CALIBRATION


def recognizes(path: Path) -> bool:
    return path.name == CALIBRATION or (path / CALIBRATION).is_file()


def read(path: Path) -> list[Camera]:
    return read_cameras(path / CALIBRATION if path.is_dir() else path)
