"""What a reader of an on-disk convention offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.geometry.camera import Camera


@dataclass(frozen=True)
class Calibration:
    """Reads the cameras of a layout alone, for videos that lie elsewhere."""

    looks_for: str
    """The file by which it is recognised, for error messages."""
    find: Callable[[Path], Path | None]
    """The file or folder to read, from it itself or a folder around it; None when it is of another layout."""
    read_cameras: Callable[[Path], list[Camera]]
    """Cameras in the order of what ``find`` gave, unnamed where the layout has no names and of size 0 where it has no sizes.

    Raises UserError when it is unreadable or contradictory; the message names file and camera.
    """


@dataclass(frozen=True)
class Layout:
    """A convention of captures, or of calibrations only, where ``read`` is None."""

    name: str
    """How users call it."""
    looks_for: str = ""
    """The files by which a capture is recognised, for error messages."""
    recognizes: Callable[[Path], bool] = lambda root: False
    """Whether a folder has the files that mark a capture of this layout."""
    read: Callable[[Path], Capture] | None = None
    """Cameras, frames and calibration of a folder; nothing is decoded.

    Raises UserError when a file is missing, unreadable or contradicts another; the message names file and camera.
    """
    calibration: Calibration | None = None


def inside(name: str) -> Callable[[Path], Path | None]:
    """``find`` of a calibration that is one file called ``name``."""

    def find(path: Path) -> Path | None:
        if path.name == name:
            return path
        return path / name if (path / name).is_file() else None

    return find
