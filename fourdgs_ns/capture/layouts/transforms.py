"""Nerfstudio's transforms.json with cameras and time.

Each entry of ``frames`` names an image by file_path with its camera-to-world matrix (OpenGL axes). Its camera is its
camera_label (or camera, cam_id), else its folder; its instant is ``time`` (any unit), ``frame_id``, or the number in
its name. An entry may also stand for a whole camera: it names a video, a folder of frames, or one file inside that
folder (Diffuman4D, and captures processed by this project: frames/<camera>/ and metadata.json). The first camera is held out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.images import probe_image
from fourdgs_ns.capture.layouts.entries import (
    CAMERA_KEYS,
    Entry,
    camera_names,
    camera_of,
    cameras_of,
    entry_numbers,
    read_entries,
)
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.reading import find_point_files, frame_rate, image_fps, metadata_fps, number, path_in
from fourdgs_ns.capture.layouts.rig import (
    ALPHA_NOTE,
    FixedCamera,
    movement,
    on_common_clock,
    refuse_folders_of_frames,
    require_cameras,
    require_files,
    rig_capture,
    rig_fps,
    size_of,
)
from fourdgs_ns.capture.layouts.sequences import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Track,
    files_in,
    frame_numbers,
    image_track,
    mask_source,
    natural_key,
    video_track,
)
from fourdgs_ns.capture.layouts.times import instants, to_seconds
from fourdgs_ns.capture.stamps import are_stamps
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

NAME = "transforms"

TIME_KEYS = ("time", "frame_id", "frame_index")
_NO_NOTES: tuple[str, ...] = ()
_NO_CLOCKS: Mapping[str, float] = {}


def recognizes(root: Path) -> bool:
    return (root / "transforms.json").is_file()


def read(root: Path) -> Capture:
    """Read transforms.json; see the module's description for what its entries may mean."""
    listing = root / "transforms.json"
    content, entries = read_entries(listing)
    names = camera_names(entries)
    timed = any(key in entry.fields for entry in entries for key in TIME_KEYS)
    if names is None and len(entries) > 1 and not timed:
        one_each = len({entry.path.parent for entry in entries}) == 1
        where = f"all {len(entries)} entries lie in {entries[0].path.parent}" if one_each else "no entry says"
        raise UserError(
            f"{listing} tells neither cameras nor times apart ({where}, as in a static scene); "
            f"add 'camera_label' and 'time' or 'frame_id' to each entry"
        )
    names = names or ["camera"] * len(entries)
    by_camera: dict[str, list[Entry]] = {n: [] for n in sorted(set(names), key=natural_key)}
    for camera, entry in zip(names, entries, strict=True):
        by_camera[camera].append(entry)
    if not any(key in entries[0].fields for key in CAMERA_KEYS):
        _refuse_folders_of_frames(listing, by_camera)
    if not timed and all(len(own) == 1 for own in by_camera.values()):
        capture = _whole_cameras(root, content, {camera: own[0] for camera, own in by_camera.items()})
    else:
        capture = _single_views(root, content, by_camera)
    cloud = content.get("ply_file_path")
    if isinstance(cloud, str) and path_in(root, cloud).is_file():
        return replace(capture, point_files=(path_in(root, cloud),))
    return capture


def _refuse_folders_of_frames(listing: Path, by_camera: Mapping[str, Sequence[Entry]]) -> None:
    entries = [entry for own in by_camera.values() for entry in own]
    size = size_of(entry.world_from_camera for entry in entries)
    if all(movement(np.stack([e.world_from_camera for e in own]), size).moves for own in by_camera.values()):
        poses: dict[str, list[np.ndarray]] = {}
        for entry in entries:
            poses.setdefault(entry.path.stem, []).append(entry.world_from_camera)
        refuse_folders_of_frames(poses, size, listing, "/".join(entries[0].path.parts[-2:]))


def find_calibration(path: Path) -> Path | None:
    """Also ``refined_cameras.json`` of a training, and any other name of such a file."""
    if path.suffix == ".json" and path.name != "models.json" and not path.is_dir():
        return path
    return path / "transforms.json" if (path / "transforms.json").is_file() else None


def read_cameras(listing: Path) -> list[Camera]:
    """One camera of every camera_label, or of every file name when there is none; sizes must be stated, and poses one."""
    _, entries = read_entries(listing)
    names = camera_names(entries) or [entry.path.stem for entry in entries]
    by_camera: dict[str, list[Entry]] = {}
    for camera, entry in zip(names, entries, strict=True):
        by_camera.setdefault(camera, []).append(entry)
    size = size_of(entry.world_from_camera for entry in entries)
    cameras = []
    for camera, own in by_camera.items():
        entry, moved = own[0], movement(np.stack([e.world_from_camera for e in own]), size)
        if moved.moves:
            raise UserError(
                f"camera '{camera}' in {listing} {moved} between its {len(own)} entries, but a calibration has one pose of each; "
                "give one entry per camera"
            )
        if "w" not in entry.fields or "h" not in entry.fields:
            raise UserError(f"camera '{camera}' in {listing} has no w and h; add the size of its images in pixels")
        width, height = (round(number(entry.fields[k], f"{k} of camera '{camera}'", listing)) for k in "wh")
        cameras.append(_camera(entry, camera, width, height))
    return cameras


def _whole_cameras(root: Path, content: dict[str, Any], entries: dict[str, Entry]) -> Capture:
    """One entry per camera, which stands for all its frames."""
    require_cameras(root, list(entries))
    cameras = []
    for camera, entry in entries.items():
        track = _track(camera, entry, shared=sum(e.path.parent == entry.path.parent for e in entries.values()) > 1)
        found = _camera(entry, camera, track.width, track.height)
        cameras.append(FixedCamera(found, track, mask_source(root, camera, track)))
    fps, notes = rig_fps(root, {c.name: c.track for c in cameras})
    if "fps" in content:
        fps, notes = frame_rate(content["fps"], "fps", root / "transforms.json"), ()
    return rig_capture(root, NAME, cameras, fps=fps, eval_cameras=(cameras[0].name,), notes=notes)


def _camera(entry: Entry, camera: str, width: int, height: int) -> Camera:
    """The camera that an entry stands for, with the offset of its clock if it states one."""
    stated = entry.fields.get("time_offset_seconds")
    late = None if stated is None else number(stated, f"time_offset_seconds of '{camera}'", entry.listing)
    return replace(camera_of([entry], camera, width, height), time_offset_seconds=late)


def _track(camera: str, entry: Entry, shared: bool) -> Track:
    """Frames of a camera from its only entry; a folder ``shared`` by several cameras is not listed."""
    path = entry.path
    folder = path if path.is_dir() else path.parent
    if path.suffix.lower() in VIDEO_SUFFIXES:
        require_files([path], entry.listing)
        return video_track(path)
    images = files_in(folder, IMAGE_SUFFIXES)
    if not path.is_dir():
        require_files([path], entry.listing)
        images = [path] if shared else images
    if not images:
        raise UserError(
            f"{entry.listing} names {folder} for camera '{camera}', which holds no images; put its frames there"
        )
    return image_track(images, camera)


def _single_views(root: Path, content: dict[str, Any], by_camera: dict[str, list[Entry]]) -> Capture:
    """Entries that are one image each."""
    stated = content.get("fps")
    fps = metadata_fps(root) if stated is None else frame_rate(stated, "fps", root / "transforms.json")
    entries = [entry for own in by_camera.values() for entry in own]
    numbers, notes, late, unit = None, _NO_NOTES, _NO_CLOCKS, 1.0
    key = next((k for k in TIME_KEYS if any(k in e.fields for e in entries)), None)
    if key == "time":
        values, index, late = instants(entry_numbers(entries, key), by_camera)
        unit, notes = to_seconds(values, fps)
        times = unit * (values - values[0])
    else:
        if key is None:
            values = np.concatenate([_numbers_in_names(camera, own) for camera, own in by_camera.items()])
        else:
            values = entry_numbers(entries, key)
            fraction = np.flatnonzero(values != np.round(values))
            if len(fraction):
                odd = entries[fraction[0]]
                raise UserError(
                    f"{key} of {odd.path.name} in {odd.listing} is no whole number; write fractions as 'time'"
                )
        if key is None and are_stamps(np.unique(values).astype(np.float64)):
            raise UserError(
                f"the names of the images in {root / 'transforms.json'} are time stamps ({entries[0].path.name}); write them "
                "as 'time' into its entries"
            )
        numbers, index = np.unique(np.round(values).astype(np.int64), return_inverse=True)
        if fps is None:
            fps, notes = image_fps(root)
        times = (numbers - numbers[0]) / fps
    cameras = cameras_of(by_camera, index)
    if late:
        cameras = [replace(c, camera=replace(c.camera, time_offset_seconds=unit * late[c.name])) for c in cameras]
    if any("mask_path" in entry.fields for entry in entries):
        notes = (*notes, "mask_path is not read; give images an alpha channel to cut the subject out")
    if probe_image(entries[0].path).has_alpha:
        notes = (*notes, ALPHA_NOTE)
    if not any(c.moves for c in cameras):
        require_cameras(root, [c.name for c in cameras])
    return Capture(
        root=root,
        layout=NAME,
        cameras=tuple(cameras),
        times_seconds=times,
        # The only camera of a monocular clip cannot be held out.
        eval_cameras=(cameras[0].name,) if len(cameras) > 1 else (),
        frame_numbers=numbers,
        point_files=find_point_files(root),
        notes=(*notes, *on_common_clock(cameras, len(times))),
    )


def _numbers_in_names(camera: str, entries: Sequence[Entry]) -> np.ndarray:
    paths = [entry.path for entry in entries]
    return frame_numbers(paths, camera) if len(paths) > 1 else np.zeros(1, dtype=np.int64)


LAYOUT = Layout(
    NAME,
    "transforms.json",
    recognizes,
    read,
    Calibration("transforms.json", find_calibration, read_cameras),
)
