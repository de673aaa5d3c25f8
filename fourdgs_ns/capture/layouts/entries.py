"""Entries of transforms files (Nerfstudio, Blender): which camera, which lens, which pose, which instant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.capture.capture import RecordedCamera
from fourdgs_ns.capture.layouts.conventions import (
    checked_distortion,
    checked_intrinsics,
    pose_from_opengl,
    scaled_intrinsics,
)
from fourdgs_ns.capture.layouts.reading import matrix, number, read_json
from fourdgs_ns.capture.layouts.rig import View, camera_from_views
from fourdgs_ns.capture.layouts.sequences import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

CAMERA_KEYS = ("camera_label", "camera", "cam_id")
LENS_KEYS = (
    *("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "camera_model"),
    *("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"),
)
PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


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
        pose = matrix(frame.get("transform_matrix"), (4, 4), f"transform_matrix of {file_path}", listing)
        label = next((str(frame[key]) for key in CAMERA_KEYS if key in frame), file_path)
        entries.append(
            Entry(
                _existing(listing.parent / file_path),
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
        same_name = len({f.name for f in folders}) < len(set(folders))
        return [f.parent.name if same_name else f.name for f in folders]  # cam00/images/0000.png
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

    model = str(fields.get("camera_model", "OPENCV")).upper()
    fisheye = model == "OPENCV_FISHEYE"
    if not fisheye and model not in PINHOLE_MODELS:
        raise UserError(
            f"camera '{camera}' in {listing} has the camera_model {model}; known are {', '.join(PINHOLE_MODELS)} and "
            f"OPENCV_FISHEYE, convert the frames to one of them"
        )
    w, h = value("w") or width, value("h") or height
    fx, fy = value("fl_x"), value("fl_y")
    angle_x, angle_y = value("camera_angle_x"), value("camera_angle_y")
    if fx is None and angle_x is not None:
        fx = w / 2 / math.tan(angle_x / 2) if 0 < angle_x < math.pi else math.nan
        if fy is None and angle_y is not None:
            fy = h / 2 / math.tan(angle_y / 2) if 0 < angle_y < math.pi else math.nan
    if fx is None:
        raise UserError(
            f"camera '{camera}' in {listing} has neither fl_x nor camera_angle_x; add its focal length in pixels"
        )
    cx, cy = value("cx"), value("cy")
    at_calibration = pinhole(fx, fx if fy is None else fy, w / 2 if cx is None else cx, h / 2 if cy is None else cy)
    at_calibration = checked_intrinsics(at_calibration, camera, listing)
    order = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    distortion = checked_distortion([value(key) or 0.0 for key in order], camera, listing, fisheye)
    lens = scaled_intrinsics(at_calibration, (w, h), (width, height), camera, listing)
    return Camera(camera, width, height, lens, entries[0].world_from_camera, distortion, fisheye)


def entry_numbers(entries: Sequence[Entry], key: str) -> Float[np.ndarray, " n"]:
    """The number ``key`` of each entry; UserError when one lacks it."""
    values = []
    for entry in entries:
        if key not in entry.fields:
            raise UserError(f"{entry.listing} gives some entries a '{key}' but not {entry.path.name}; add it there")
        value = number(entry.fields[key], f"{key} of {entry.path.name}", entry.listing)
        if abs(value) > 1e9:
            raise UserError(
                f"{key} of {entry.path.name} in {entry.listing} is {value:g}; write times counted from the clip's start"
            )
        values.append(value)
    return np.array(values, dtype=np.float64)


def cameras_of(by_camera: Mapping[str, Sequence[Entry]], index: Int[np.ndarray, " n"]) -> list[RecordedCamera]:
    """Cameras from entries that are one image each; ``index`` is the instant of each entry, camera after camera."""
    cameras, start = [], 0
    for camera, entries in by_camera.items():
        own = index[start : start + len(entries)]
        start += len(entries)
        views = [View(e.path, e.world_from_camera, int(i)) for e, i in zip(entries, own, strict=True)]
        cameras.append(camera_from_views(camera, views, partial(camera_of, entries), entries[0].listing))
    return cameras


def instants(times: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " f"], Int[np.ndarray, " n"]]:
    """The distinct times, increasing, and the position of each entry among them.

    Times closer than 1e-5 of the clip are one instant, so that files may round them differently.
    """
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    new = np.diff(ordered) > 1e-5 * max(float(ordered[-1] - ordered[0]), 1e-12)
    group = np.concatenate([[0], np.cumsum(new)])
    index = np.empty(len(times), dtype=np.int64)
    index[order] = group
    return ordered[np.concatenate([[True], new])], index


def to_seconds(times: Float[np.ndarray, " f"], fps: float | None) -> tuple[Float[np.ndarray, " f"], tuple[str, ...]]:
    """Seconds from the first instant, whatever unit ``times`` has.

    With a stated frame rate, times from exactly 0 to 1 whose smallest step is no frame are normalised, multiples of a
    frame are seconds, and of anything else the smallest step is one frame. Without a rate, whole numbers are frames at 30
    per second and everything else is seconds.
    """
    since = times - times[0]
    if len(times) == 1:
        return since, ()
    step = float(np.diff(times).min())
    if fps is not None:
        frames = since * fps
        one_frame_steps = abs(step * fps - 1) < 0.05
        normalised = times[0] == 0 and abs(times[-1] - 1) < 1e-6
        multiples = step * fps > 0.5 and np.abs(frames - np.round(frames)).max() < 0.05
        if one_frame_steps or (multiples and not normalised):
            return since, ()
        return since / (step * fps), (f"times are scaled so that their smallest step is one frame at {fps:g} fps",)
    if len(times) > 2 and np.all(times == np.round(times)):
        return since / 30.0, (
            'times are frame numbers, taken at 30 fps; state another rate in metadata.json as {"fps": 60}',
        )
    return since, (f"times are taken as seconds: the clip lasts {since[-1]:g} s",)
