"""COLMAP models, text or binary: one camera per folder of images, or per image."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts.colmap_model import find_model
from fourdgs_ns.capture.layouts.colmap_rig import read_cameras
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

name = "colmap"
looks_for = "a COLMAP model (cameras and images, .bin or .txt)"


def recognizes(path: Path) -> bool:
    return find_model(path if path.is_dir() else path.parent) is not None


def read(path: Path) -> list[Camera]:
    folder = find_model(path if path.is_dir() else path.parent)
    if folder is None:
        raise UserError(f"{path} holds no COLMAP model; give the folder with cameras.bin and images.bin")
    return read_cameras(folder)
