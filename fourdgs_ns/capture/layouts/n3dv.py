"""Neural 3D Video: cam00.mp4, cam01.mp4, ... (or images) next to poses_bounds.npy of LLFF.

A row of poses_bounds.npy is a 3x5 matrix [R | t | height width focal] and two depth bounds; R is camera-to-world with the
columns down, right, backwards. Rows are in the order of the cameras' names. Where names have numbers without leading zeros that
is not clear (cam2 cam10, or cam10 cam2 as LLFF sorts), and poses_bounds.txt beside it says it, one name per line. The protocol
holds the first camera out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import checked_intrinsics, checked_pose, scaled_intrinsics
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.reading import composed, read_npy, read_text
from fourdgs_ns.capture.layouts.rig import FixedCamera, require_cameras, rig_capture, rig_fps
from fourdgs_ns.capture.layouts.sequences import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Track,
    by_stem,
    files_in,
    folders_in,
    image_track,
    images_of,
    in_clear_order,
    listed,
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
    by_camera = dict(zip(row_names(poses_file, list(tracks)), rows, strict=True))
    cameras = []
    for camera, track in tracks.items():
        row = by_camera[camera]
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
    """One camera per row, with the names of poses_bounds.txt or without."""
    rows = _rows(file)
    names = _listed_names(file) or [""] * len(rows)
    if len(names) != len(rows):
        raise UserError(
            f"{_order_file(file)} has {len(names)} names but {file} has {len(rows)} rows; write one for each row"
        )
    cameras = []
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        pose, intrinsics, (width, height) = _camera(row, f"row {i}", file)
        cameras.append(Camera(name, round(width), round(height), intrinsics, pose))
    return cameras


def row_names(file: Path, cameras: Sequence[str]) -> list[str]:
    """The camera of each row of ``file``: as poses_bounds.txt says, else in the order of their names.

    Raises:
        UserError: names have no clear order, or poses_bounds.txt names others.
    """
    listed_names = _listed_names(file)
    if listed_names is None:
        return in_clear_order(cameras, file, f"write the name of each row into {_order_file(file)}, one per line")
    if sorted(listed_names) != sorted(cameras):
        raise UserError(
            f"{_order_file(file)} names {listed(listed_names)} but the cameras are {listed(list(cameras))}; write each of them "
            "there, in the order of the rows"
        )
    return listed_names


def _order_file(file: Path) -> Path:
    return file.with_suffix(".txt")


def _listed_names(file: Path) -> list[str] | None:
    path = _order_file(file)
    return [line.strip() for line in read_text(path).splitlines() if line.strip()] if path.is_file() else None


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
            images = images_of(folder)
            if images and (parent != root or folder.name.startswith("cam")):
                found[composed(folder.name)] = image_track(images, folder.name)
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
