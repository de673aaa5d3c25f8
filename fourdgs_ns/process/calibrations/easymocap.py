"""``intri.yml`` and ``extri.yml`` of EasyMocap and EasyVolcap (OpenCV FileStorage, world to camera)."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts.easyvolcap import read_cameras
from fourdgs_ns.geometry.camera import Camera

name = "easymocap"
looks_for = "intri.yml and extri.yml"


def recognizes(path: Path) -> bool:
    folder = _folder(path)
    return (folder / "intri.yml").is_file() and (path.is_dir() or path.name in ("intri.yml", "extri.yml"))


def read(path: Path) -> list[Camera]:
    """All cameras of ``names``; a size that the file does not state is that of the frames."""
    return read_cameras(_folder(path))


def _folder(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    optimized = folder / "optimized"
    return optimized if path.is_dir() and (optimized / "intri.yml").is_file() else folder
