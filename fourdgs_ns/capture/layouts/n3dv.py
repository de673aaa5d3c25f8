"""Neural 3D Video: cam00.mp4, cam01.mp4, ... (or images) next to poses_bounds.npy of LLFF.

Row i of poses_bounds.npy belongs to camera i in natural order: a 3x5 matrix [R | t | height width focal] and two depth
bounds. R is camera-to-world with the columns down, right, backwards. The protocol holds the first camera out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import checked_intrinsics, checked_pose, scaled_intrinsics
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.reading import read_npy
from fourdgs_ns.capture.layouts.rig import FixedCamera, require_cameras, rig_capture, rig_fps
from fourdgs_ns.capture.layouts.sequences import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Track,
    by_stem,
    files_in,
    folders_in,
    image_track,
    mask_source,
    video_track,
)
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

NAME = "n3dv"


def recognizes(root: Path) -> bool:
    return (root / "poses_bounds.npy").is_file()


def read(root: Path) -> Capture:
    """Read an N3DV folder; one image per camera directly under images/ is a clip of one frame."""
    poses_file = root / "poses_bounds.npy"
    rows = _rows(poses_file)
    tracks = _tracks(root)
    if len(rows) != len(tracks):
        raise UserError(
            f"{poses_file} has {len(rows)} rows but {root} has {len(tracks)} cameras ({', '.join(tracks)}); "
            f"put the missing cameras back or remove the rows of those that are gone"
        )
    require_cameras(root, list(tracks))
    cameras = []
    for row, (camera, track) in zip(rows, tracks.items(), strict=True):
        pose, at_calibration, calibrated = _camera(row, camera, poses_file)
        size = track.width, track.height
        lens = scaled_intrinsics(at_calibration, calibrated, size, camera, poses_file)
        cameras.append(FixedCamera(Camera(camera, *size, lens, pose), track, mask_source(root, camera, track)))
    fps, notes = rig_fps(root, tracks)
    return rig_capture(root, NAME, cameras, fps=fps, eval_cameras=(cameras[0].name,), notes=notes)


def find_calibration(path: Path) -> Path | None:
    file = path / "poses_bounds.npy" if path.is_dir() else path
    return file if file.suffix == ".npy" and file.is_file() else None


def read_cameras(file: Path) -> list[Camera]:
    """One camera per row, in natural order, without names."""
    cameras = []
    for i, row in enumerate(_rows(file)):
        pose, intrinsics, (width, height) = _camera(row, f"row {i}", file)
        cameras.append(Camera("", round(width), round(height), intrinsics, pose))
    return cameras


def _rows(file: Path) -> Float[np.ndarray, "n 17"]:
    rows = read_npy(file)
    if rows.ndim != 2 or rows.shape[1] != 17:
        shape = "x".join(str(n) for n in rows.shape)
        raise UserError(f"{file} has the shape {shape} instead of Nx17 (one row per camera); export it with LLFF")
    return rows


def _camera(
    row: Float[np.ndarray, "17"], camera: str, file: Path
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 3"], tuple[float, float]]:
    """Pose, intrinsics, and the width and height at which they hold."""
    matrix = row[:15].reshape(3, 5)
    down, right, backwards, centre = matrix[:, 0], matrix[:, 1], matrix[:, 2], matrix[:, 3]
    height, width, focal = (float(x) for x in matrix[:, 4])
    pose = checked_pose(np.stack([right, down, -backwards, centre], axis=1), camera, file)
    intrinsics = checked_intrinsics(pinhole(focal, focal, width / 2, height / 2), camera, file)
    return pose, intrinsics, (width, height)


def _tracks(root: Path) -> dict[str, Track]:
    """Frames by camera, in the order of the rows: videos, else a folder per camera, else an image per camera."""
    videos = files_in(root, VIDEO_SUFFIXES)
    videos = [v for v in videos if v.name.startswith("cam")] or videos
    if videos:
        return {camera: video_track(path) for camera, path in by_stem(videos).items()}
    for parent in (root, root / "images"):
        found = {}
        for folder in folders_in(parent):
            images = files_in(folder, IMAGE_SUFFIXES) or files_in(folder / "images", IMAGE_SUFFIXES)
            if images and (parent != root or folder.name.startswith("cam")):
                found[folder.name] = image_track(images, folder.name)
        if found:
            return found
    flat = files_in(root / "images", IMAGE_SUFFIXES)
    if flat:
        return {camera: image_track([path], camera) for camera, path in by_stem(flat).items()}
    raise UserError(
        f"{root} has poses_bounds.npy but neither cam*.mp4, nor images in cam*/ or images/; "
        f"put the videos next to poses_bounds.npy"
    )


LAYOUT = Layout(
    NAME,
    "poses_bounds.npy with cam*.mp4 or images",
    recognizes,
    read,
    Calibration("poses_bounds.npy", find_calibration, read_cameras),
)
