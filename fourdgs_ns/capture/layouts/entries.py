"""Entries of transforms files (Nerfstudio, Blender): which camera, which lens, which pose, which instant."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.capture.capture import RecordedCamera
from fourdgs_ns.capture.layouts.conventions import (
    RATIONAL_MODELS,
    check_unscaled,
    checked_distortion,
    checked_intrinsics,
    is_fisheye_model,
    pose_from_opengl,
    scaled_intrinsics,
)
from fourdgs_ns.capture.layouts.reading import flag, matrix, number, number_list, path_in, read_json
from fourdgs_ns.capture.layouts.rig import View, camera_from_views, size_of
from fourdgs_ns.capture.layouts.sequences import IMAGE_SUFFIXES, LARGEST_STAMP, VIDEO_SUFFIXES, telling_names
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

CAMERA_KEYS = ("camera_label", "camera", "cam_id")
FISHEYE_COEFFICIENTS = ("k1", "k2", "k3", "k4")
COEFFICIENTS = (
    *("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    *("s1", "s2", "s3", "s4", "tau_x", "tau_y"),
)
"""In OpenCV's order; those of thin prisms and tilted sensors under OpenCV's own names."""
UNREAD_KEYS = (
    *("b1", "b2", "p3", "p4", "rolling_shutter", "rolling_shutter_time"),
    *("latlong", "ftheta_p0", "ftheta_p1", "ftheta_p2", "ftheta_p3", "ftheta_p4"),
)
"""What changes where a pixel looks, and is refused unless zero."""
LENS_KEYS = (
    *("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "x_fov", "y_fov"),
    *("camera_model", "is_fisheye", *COEFFICIENTS, *UNREAD_KEYS),
)


@dataclass(frozen=True)
class Entry:
    """One entry of ``frames``, with the values of the file's top level where it has none of its own."""

    path: Path
    """Image, video or folder of frames."""
    fields: Mapping[str, Any]
    world_from_camera: Float[np.ndarray, "4 4"]
    listing: Path


def read_entries(listing: Path) -> tuple[dict[str, Any], list[Entry]]:
    """The top level of a transforms file and its entries, poses converted to OpenCV axes."""
    content = read_json(listing)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(f, dict) for f in frames):
        raise UserError(f"{listing} has no list 'frames' of entries; export the file again")
    shared = {key: content[key] for key in LENS_KEYS if key in content}
    entries = []
    for i, frame in enumerate(frames):
        file_path = frame.get("file_path")
        if not isinstance(file_path, str) or not file_path:
            raise UserError(f"entry {i} of {listing} has no file_path; add it or remove the entry")
        stated = frame.get("transform_matrix")
        rows = 3 if isinstance(stated, list) and len(stated) == 3 else 4  # the last one is always 0 0 0 1
        pose = matrix(stated, (rows, 4), f"transform_matrix of {file_path}", listing)
        label = next((str(frame[key]) for key in CAMERA_KEYS if key in frame), file_path)
        entries.append(
            Entry(
                _existing(path_in(listing.parent, file_path)),
                {**shared, **frame},
                pose_from_opengl(pose, label, listing),
                listing,
            )
        )
    return content, entries


def _existing(path: Path) -> Path:
    """Blender's files leave the suffix away."""
    if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES or path.is_dir():
        return path
    suffixed = [path.with_name(path.name + suffix) for suffix in (".png", ".jpg", ".jpeg", ".webp")]
    return next((p for p in suffixed if p.is_file()), path if path.is_file() else suffixed[0])


def camera_names(entries: Sequence[Entry]) -> list[str] | None:
    """The camera of each entry: its label, else its folder, else the file name without its last number.

    None when nothing tells cameras apart: all entries lie in one folder under one numbered name.
    """
    for key in CAMERA_KEYS:
        with_key = [key in e.fields for e in entries]
        if all(with_key):
            return [str(e.fields[key]) for e in entries]
        if any(with_key):
            bad = entries[with_key.index(False)]
            raise UserError(f"{bad.listing} gives some entries a '{key}' but not {bad.path.name}; add it there")
    if all(e.path.suffix.lower() in VIDEO_SUFFIXES for e in entries):
        return [e.path.stem for e in entries]
    folders = [e.path if e.path.is_dir() else e.path.parent for e in entries]
    if len(set(folders)) > 1:
        return telling_names(folders)
    prefixes = [re.sub(r"[_\-.]?\d+$", "", e.path.stem) for e in entries]
    if len(set(prefixes)) > 1 and all(prefixes):
        return prefixes
    return None


def camera_of(entries: Sequence[Entry], camera: str, width: int, height: int) -> Camera:
    """The camera in the pose of its first entry, with the lens that all of them share, at the size of its frames.

    Raises:
        UserError: it differs between entries, or the model is no perspective camera.
    """
    fields, listing = entries[0].fields, entries[0].listing
    for entry in entries[1:]:
        changed = next((key for key in LENS_KEYS if entry.fields.get(key) != fields.get(key)), None)
        if changed:
            raise UserError(
                f"{changed} of camera '{camera}' changes in {listing} at {entry.path.name}; "
                f"a zooming camera is not supported, give each lens its own 'camera_label'"
            )

    def value(key: str) -> float | None:
        return number(fields[key], f"{key} of camera '{camera}'", listing) if key in fields else None

    w, h = value("w") or width, value("h") or height
    fx, fy = (_focal(value, axis, size) for axis, size in (("x", w), ("y", h)))
    fx, fy = fy if fx is None else fx, fx if fy is None else fy
    if fx is None or fy is None:
        raise UserError(
            f"camera '{camera}' in {listing} has neither fl_x nor camera_angle_x; add its focal length in pixels"
        )
    cx, cy = value("cx"), value("cy")
    at_calibration = pinhole(fx, fy, w / 2 if cx is None else cx, h / 2 if cy is None else cy)
    at_calibration = checked_intrinsics(at_calibration, camera, listing)
    if not (value("w") and value("h")):
        check_unscaled(at_calibration, (width, height), camera, listing, "w and h")
    distortion, fisheye = _distortion(fields, camera, listing)
    lens = scaled_intrinsics(at_calibration, (w, h), (width, height), camera, listing)
    return Camera(camera, width, height, lens, entries[0].world_from_camera, distortion, fisheye)


def _focal(value: Callable[[str], float | None], axis: str, pixels: float) -> float | None:
    """Focal length along an axis: as such, else from its angle in radians (Blender) or in degrees (instant-ngp)."""
    focal, angle, degrees = value(f"fl_{axis}"), value(f"camera_angle_{axis}"), value(f"{axis}_fov")
    if focal is not None:
        return focal
    if angle is None:
        angle = None if degrees is None else math.radians(degrees)
    if angle is None:
        return None
    return pixels / 2 / math.tan(angle / 2) if 0 < angle < math.pi else math.nan


def _distortion(fields: Mapping[str, Any], camera: str, listing: Path) -> tuple[tuple[float, ...], bool]:
    """Coefficients of the lens, and whether it is the fisheye model; what neither holds is refused."""
    stated = fields.get("camera_model")
    fisheye = False if stated is None else is_fisheye_model(str(stated), camera, listing)
    if "is_fisheye" in fields:
        flagged = flag(fields["is_fisheye"], f"is_fisheye of camera '{camera}'", listing)
        if stated is not None and flagged != fisheye:
            raise UserError(
                f"camera '{camera}' in {listing} has the camera_model {stated} and is_fisheye {flagged}, which contradict each "
                "other; remove the wrong one"
            )
        fisheye = flagged
    every = (*COEFFICIENTS, *UNREAD_KEYS)
    given = {key: number_list(fields.get(key), f"{key} of camera '{camera}'", listing) for key in every}
    order = FISHEYE_COEFFICIENTS if fisheye else COEFFICIENTS
    left = next((key for key in every if key not in order and any(given[key])), None)
    if left is not None:
        model = "fisheye lens k1 k2 k3 k4" if fisheye else "lens"
        raise UserError(
            f"camera '{camera}' in {listing} has {left} {given[left][0]:g}, which its {model} does not have; check the lens "
            "model, or undistort the frames and remove it"
        )
    values = {key: number(fields[key], f"{key} of camera '{camera}'", listing) for key in order if key in fields}
    rational = str(stated).upper() in RATIONAL_MODELS or values.get("k5") or values.get("k6")
    if values.get("k4") and not fisheye and not rational:
        raise UserError(
            f"camera '{camera}' in {listing} has k4 {values['k4']:g} of an unclear lens; write its camera_model there, "
            "OPENCV_FISHEYE or FULL_OPENCV (1 + k1 r^2 + ... over 1 + k4 r^2 + ...)"
        )
    return checked_distortion([values.get(key, 0.0) for key in order], camera, listing, fisheye), fisheye


def entry_numbers(entries: Sequence[Entry], key: str) -> Float[np.ndarray, " n"]:
    """The number ``key`` of each entry; UserError when one lacks it."""
    values = []
    for entry in entries:
        if key not in entry.fields:
            raise UserError(f"{entry.listing} gives some entries a '{key}' but not {entry.path.name}; add it there")
        value = number(entry.fields[key], f"{key} of {entry.path.name}", entry.listing)
        if abs(value) > LARGEST_STAMP:
            raise UserError(
                f"{key} of {entry.path.name} in {entry.listing} is {value:g}; write times counted from the clip's start"
            )
        values.append(value)
    return np.array(values, dtype=np.float64)


def cameras_of(by_camera: Mapping[str, Sequence[Entry]], index: Int[np.ndarray, " n"]) -> list[RecordedCamera]:
    """Cameras from entries that are one image each; ``index`` is the instant of each entry, camera after camera."""
    views: dict[str, list[View]] = {}
    start = 0
    for camera, entries in by_camera.items():
        own = index[start : start + len(entries)]
        start += len(entries)
        views[camera] = [View(e.path, e.world_from_camera, int(i)) for e, i in zip(entries, own, strict=True)]
    size = size_of(view.world_from_camera for own in views.values() for view in own)
    return [
        camera_from_views(camera, views[camera], partial(camera_of, entries), entries[0].listing, size)
        for camera, entries in by_camera.items()
    ]
