"""HyFluid and PINF: info.json with train_videos and test_videos of a smoke plume.

Each entry has a camera-to-world matrix with OpenGL axes, the field of view over the width, and the video's size, rate
and length. The principal point is the centre. The protocol holds test_videos out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import checked_intrinsics, pose_from_opengl, scaled_intrinsics
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.reading import frame_rate, matrix, mentions, number, path_in, read_json
from fourdgs_ns.capture.layouts.rig import FixedCamera, require_files, rig_capture
from fourdgs_ns.capture.layouts.sequences import Track, mask_source, video_track
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

NAME = "hyfluid"


def recognizes(root: Path) -> bool:
    return mentions(root / "info.json", "train_videos")


def read(root: Path) -> Capture:
    """Read a HyFluid folder; the frame rate of info.json is the one that counts."""
    path = root / "info.json"
    info = read_json(path)
    cameras, held_out, rates = [], [], {}
    notes: list[str] = []
    for split in ("train_videos", "test_videos"):
        entries = info.get(split, [])
        if not isinstance(entries, list) or not all(isinstance(e, dict) and "file_name" in e for e in entries):
            raise UserError(f"{split} in {path} is no list of entries with a file_name; export the file again")
        for entry in entries:
            camera = path_in(root, str(entry["file_name"])).stem
            track, rates[camera] = _track(root, entry, camera, path, notes)
            cameras.append(_camera(root, entry, camera, path, track))
            if split == "test_videos":
                held_out.append(camera)
    names = [c.name for c in cameras]
    if len(set(names)) != len(names):
        raise UserError(f"{path} names a video twice ({', '.join(names)}); remove the second entry")
    if len(set(rates.values())) > 1:
        different = ", ".join(f"{c} {r:g}" for c, r in rates.items())
        raise UserError(f"frame_rate differs between the cameras of {path} ({different}); re-encode them to one rate")
    fps = next(iter(rates.values()), 1.0)
    capture = rig_capture(root, NAME, cameras, fps=fps, eval_cameras=tuple(held_out), notes=notes)
    background = info.get("frame_bkg_color")
    if background is None:
        return capture
    r, g, b = matrix(background, (3,), "frame_bkg_color", path).tolist()
    return replace(capture, background=(r, g, b))


def _track(root: Path, entry: dict[str, Any], camera: str, path: Path, notes: list[str]) -> tuple[Track, float]:
    """The video cut to the stated number of frames, and the stated frame rate."""
    video = path_in(root, str(entry["file_name"]))
    require_files([video], path)
    track = video_track(video)
    header_fps = track.fps or 0.0
    fps = frame_rate(entry.get("frame_rate", header_fps), f"frame_rate of '{camera}'", path)
    if abs(header_fps / fps - 1) > 0.01:
        notes.append(
            f"{video.name} is stored at {header_fps:g} frames per second; {path.name} says {fps:g}, which is used"
        )
    stated = int(number(entry.get("frame_num", len(track)), f"frame_num of '{camera}'", path))
    if stated < 1:
        raise UserError(f"frame_num of '{camera}' in {path} is {stated}; write the number of frames of {video.name}")
    if stated != len(track):
        notes.append(f"{video.name} has {len(track)} frames; {path.name} says {stated}, the smaller number is used")
    return track.take(range(min(stated, len(track)))), fps


def _camera(root: Path, entry: dict[str, Any], camera: str, path: Path, track: Track) -> FixedCamera:
    pose = matrix(entry.get("transform_matrix"), (4, 4), f"transform_matrix of '{camera}'", path)
    angle = number(entry.get("camera_angle_x"), f"camera_angle_x of '{camera}'", path)
    size = entry.get("camera_hw", (track.height, track.width))
    height, width = matrix(size, (2,), f"camera_hw of '{camera}'", path).tolist()
    if not 0 < angle < math.pi:
        raise UserError(f"camera_angle_x of '{camera}' in {path} is {angle:g}; write the field of view in radians")
    focal = width / 2 / math.tan(angle / 2)
    calibrated = checked_intrinsics(pinhole(focal, focal, width / 2, height / 2), camera, path)
    actual = track.width, track.height
    lens = scaled_intrinsics(calibrated, (width, height), actual, camera, path)
    found = Camera(camera, *actual, lens, pose_from_opengl(pose, camera, path))
    return FixedCamera(found, track, mask_source(root, camera, track))


LAYOUT = Layout(NAME, "info.json with train_videos", recognizes, read)
