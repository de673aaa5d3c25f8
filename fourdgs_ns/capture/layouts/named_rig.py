"""Captures of calibrated cameras whose frames lie under the cameras' names; shared by several layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import at_frame_size
from fourdgs_ns.capture.layouts.rig import FixedCamera, require_cameras, rig_capture, rig_fps
from fourdgs_ns.capture.layouts.sequences import (
    IMAGE_SUFFIXES,
    MASK_FOLDERS,
    VIDEO_SUFFIXES,
    by_stem,
    composed,
    files_in,
    folders_in,
    image_track,
    images_of,
    listed,
    mask_source,
    natural_key,
    video_track,
)
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

FRAME_PARENTS = ("", "images", "videos", "frames", "videos/dense", "input", "images_2", "images_4", "images_8")


def frames_by_camera(root: Path, cameras: Sequence[str]) -> dict[str, list[Path]]:
    """Videos, folders of images or single images by camera, in the folder itself or under a usual name: where most of them are.

    Other videos and folders beside these are returned, too; where there are none of ``cameras`` at all, the first that there are.
    """
    best: dict[str, list[Path]] = {}
    for parent in (root / name for name in FRAME_PARENTS):
        for found in (_videos_in(parent, cameras), _images_in(parent, root), _flat_images_in(parent, cameras)):
            if not best or len(found.keys() & set(cameras)) > len(best.keys() & set(cameras)):
                best = found
    return best


def _videos_in(parent: Path, cameras: Sequence[str]) -> dict[str, list[Path]]:
    videos = files_in(parent, VIDEO_SUFFIXES)
    own = by_stem([video for video in videos if composed(video.stem) in cameras] or videos)
    return {camera: [path] for camera, path in own.items()}


def _flat_images_in(parent: Path, cameras: Sequence[str]) -> dict[str, list[Path]]:
    own = by_stem([path for path in files_in(parent, IMAGE_SUFFIXES) if composed(path.stem) in cameras])
    return {camera: [path] for camera, path in own.items()}


def _images_in(parent: Path, root: Path) -> dict[str, list[Path]]:
    others = (*FRAME_PARENTS, *MASK_FOLDERS, "depth") if parent == root else ()
    return {composed(f.name): images for f in folders_in(parent) if f.name not in others and (images := images_of(f))}


def capture_of(
    root: Path,
    layout: str,
    cameras: Sequence[Camera],
    frames: Mapping[str, Sequence[Path]],
    calibration: Path,
    held_out: str | None,
    fps: float | None = None,
) -> Capture:
    """Cameras that have both calibration and frames; ``held_out`` (None or absent: the first one) is for scores.

    Raises:
        UserError: fewer than two such cameras, or frames of another aspect than was calibrated.
    """
    by_name = {camera.name: camera for camera in cameras}
    usable = sorted((n for n in frames if n in by_name), key=natural_key)
    if not usable:
        raise UserError(
            f"no camera has both calibration and frames in {root}: {calibration.name} names {listed(list(by_name)) or 'none'}, "
            f"the frames are of {listed(list(frames)) or 'none'}; give both the same names"
        )
    require_cameras(root, usable)
    notes = []
    for what, names in (
        ("no calibration", [n for n in frames if n not in by_name]),
        ("no frames", [n for n in by_name if n not in frames]),
    ):
        if names:
            notes.append(f"cameras without use, because they have {what}: {listed(names)}")
    rig = []
    for name in usable:
        paths = list(frames[name])
        track = video_track(paths[0]) if paths[0].suffix.lower() in VIDEO_SUFFIXES else image_track(paths, name)
        camera = at_frame_size(by_name[name], track.width, track.height, calibration)
        rig.append(FixedCamera(camera, track, mask_source(root, name, track)))
    found_fps, fps_notes = rig_fps(root, {c.name: c.track for c in rig}) if fps is None else (fps, ())
    first = held_out if held_out in by_name and held_out in usable else usable[0]
    return rig_capture(root, layout, rig, fps=found_fps, eval_cameras=(first,), notes=(*notes, *fps_notes))
