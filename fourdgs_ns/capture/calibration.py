"""Cameras of a calibration in any layout that has one, found by name for the videos or frames that they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fourdgs_ns.capture.layouts import LAYOUTS
from fourdgs_ns.capture.layouts.conventions import at_frame_size
from fourdgs_ns.capture.layouts.layout import Calibration
from fourdgs_ns.capture.layouts.sequences import in_clear_order, listed
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera


def recognise(path: Path) -> tuple[str, Calibration, Path]:
    """Name and reader of the layout of a calibration, and the file or folder that it reads.

    Raises:
        UserError: none fits.
    """
    known = {layout.name: layout.calibration for layout in LAYOUTS.loaded().values() if layout.calibration is not None}
    for name, calibration in known.items():
        file = calibration.find(path)
        if file is not None:
            return name, calibration, file
    wanted = "; ".join(f"{name}: {calibration.looks_for}" for name, calibration in known.items())
    raise UserError(f"{path} is no calibration that is known (looked for {wanted}); give one of these")


def read_calibration(path: Path, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Calibration of the cameras named in ``sizes``, brought to these sizes of their frames.

    Cameras are found by name; by the number in it when that is unambiguous (cam01, cam_01, 1); or, for formats without
    names, by their order. Result as of :func:`fourdgs_ns.process.calibrate.solve_rig`, without matches.

    Raises:
        UserError: no such file, another rig, or another aspect of the images.
    """
    layout, calibration, file = recognise(path)
    chosen = match_names(calibration.read_cameras(file), list(sizes), file)
    cameras = [at_frame_size(camera, *sizes[camera.name], path) for camera in chosen]
    return {
        "cameras": [camera.to_json() for camera in cameras],
        "failed": {},
        "report": {},
        "matches": [],
        "points": [],
        "source": str(path),
        "format": layout,
    }


def match_names(cameras: Sequence[Camera], names: Sequence[str], path: Path) -> list[Camera]:
    """The calibrated camera of each of ``names``, renamed.

    Raises:
        UserError: one has none.
    """
    if all(not camera.name for camera in cameras):
        if len(cameras) != len(names):
            raise UserError(
                f"{path} has {len(cameras)} cameras without names but there are {len(names)} videos "
                f"({listed(list(names))}); give the calibration of exactly these cameras in natural order"
            )
        remedy = f"write the name of each row into {path.with_suffix('.txt').name} beside it, one per line"
        ordered = in_clear_order(names, path, remedy)
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
