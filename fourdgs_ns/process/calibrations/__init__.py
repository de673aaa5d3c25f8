"""Calibrations that other tools wrote: one reader per file, each returning named cameras in our conventions.

To add a format, write a module with ``name``, ``looks_for``, ``recognizes`` and ``read``, and add it to ``FORMATS``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fourdgs_ns.capture.layouts.calibration import at_frame_size
from fourdgs_ns.capture.layouts.sequences import listed, natural_key
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.process.calibrations import aniposelib, colmap, easymocap, immersive, llff, technicolor, transforms


class Format(Protocol):
    """What a reader module offers."""

    name: str
    looks_for: str

    def recognizes(self, path: Path) -> bool:
        """Whether a file or folder is of this format."""

    def read(self, path: Path) -> list[Camera]:
        """Cameras in the order of the file; names may be empty when the format has none.

        Raises:
            UserError: unreadable or contradictory; the message names file and camera.
        """


FORMATS: Mapping[str, Format] = {
    f.name: f for f in (llff, easymocap, aniposelib, technicolor, immersive, transforms, colmap)
}


def recognise(path: Path) -> Format:
    """The format of a calibration file or folder.

    Raises:
        UserError: none fits.
    """
    for known in FORMATS.values():
        if known.recognizes(path):
            return known
    wanted = "; ".join(f"{f.name}: {f.looks_for}" for f in FORMATS.values())
    raise UserError(f"{path} is no calibration that is known (looked for {wanted}); give one of these")


def read_calibration(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Calibration of the cameras named in ``sizes``, brought to these sizes of their frames.

    Cameras are found by name; by the number in it when that is unambiguous (cam01, cam_01, 1); or, for formats without
    names, by their order. Result as of :func:`fourdgs_ns.process.calibrate.solve_rig`, without matches.

    Raises:
        UserError: no such file, another rig, or another aspect of the images.
    """
    known = recognise(path)
    found = known.read(path)
    chosen = match_names(found, list(sizes), path)
    cameras = [at_frame_size(camera, *sizes[camera.name], path) for camera in chosen]
    return {
        "cameras": [camera.to_json() for camera in cameras],
        "failed": {},
        "report": {},
        "matches": [],
        "points": [],
        "source": str(path),
        "format": known.name,
    }


def match_names(cameras: Sequence[Camera], names: Sequence[str], path: Path) -> list[Camera]:
    """The calibrated camera of each of ``names``, renamed.

    Raises:
        UserError: one has none.
    """
    from dataclasses import replace

    if all(not camera.name for camera in cameras):
        if len(cameras) != len(names):
            raise UserError(
                f"{path} has {len(cameras)} cameras without names but there are {len(names)} videos "
                f"({listed(list(names))}); give the calibration of exactly these cameras in natural order"
            )
        ordered = sorted(names, key=natural_key)
        by_name = {name: replace(camera, name=name) for name, camera in zip(ordered, cameras, strict=True)}
        return [by_name[name] for name in names]
    by_name = {camera.name: camera for camera in cameras}
    for key in (lambda name: name, _number):
        own = {key(name): name for name in names}
        theirs = {key(name): camera for name, camera in by_name.items()}
        if None in own or len(own) < len(names) or len(theirs) < len(by_name):
            continue
        if all(word in theirs for word in own):
            return [replace(theirs[key(name)], name=name) for name in names]
    missing = [name for name in names if name not in by_name]
    raise UserError(
        f"{path} calibrates cameras {listed(list(by_name))} but not {listed(missing)}; it may be of another rig, or give the "
        "videos its names with --camera-names"
    )


def _number(name: str) -> int | None:
    """The last number in a name."""
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits else None
