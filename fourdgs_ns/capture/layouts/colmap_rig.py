"""COLMAP models of rigs, and ``multipleview`` folders that are built on one.

Images of a model are ``[rig/]<camera>/<frame>.jpg`` with one fixed pose per camera, or one image per camera whose frames lie
elsewhere: images/<camera>/<frame>.jpg, cam01/frame_00001.jpg (multipleview, whose sparse_/ model names images after cameras),
or <camera>.mp4. The first camera is held out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.colmap_model import ModelImage, find_model, read_model
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.named_rig import capture_of, frames_by_camera
from fourdgs_ns.capture.layouts.sequences import natural_key
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

NAME = "colmap-rig"
SPARSE_FOLDERS = ("", "sparse_")
MOVED = 1e-2
"""Share of the rig's size by which the images of a camera may lie apart and still count as one pose."""


def recognizes(root: Path) -> bool:
    return _model(root) is not None


def read(root: Path) -> Capture:
    """Read the model and the frames beside it."""
    folder = _model(root)
    if folder is None:
        raise UserError(f"{root} has no COLMAP model (sparse/0/cameras.bin and images.bin); put it there")
    cameras = read_cameras(folder)
    return capture_of(root, NAME, cameras, frames_by_camera(root), folder / "images", None)


def find_calibration(path: Path) -> Path | None:
    """The folder of the model."""
    return find_model(path if path.is_dir() else path.parent)


def read_cameras(folder: Path) -> list[Camera]:
    """One camera per folder of images, or per image when they lie in one folder.

    Raises:
        UserError: the model is damaged, or the images of one camera were taken from different places.
    """
    lenses, images = read_model(folder)
    if not images:
        raise UserError(f"{folder} has no registered image; calibrate again")
    by_camera: dict[str, list[ModelImage]] = {}
    parents = {str(PurePosixPath(image.name).parent) for image in images}
    for image in images:
        path = PurePosixPath(image.name)
        own = path.parent.name if len(parents) > 1 else path.stem
        by_camera.setdefault(own, []).append(image)
    centres = np.stack([image.world_from_camera[:3, 3] for image in images])
    size = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
    return [_camera(n, by_camera[n], lenses, size, folder) for n in sorted(by_camera, key=natural_key)]


def _camera(camera: str, images: list[ModelImage], lenses: dict[int, Camera], size: float, folder: Path) -> Camera:
    centres = np.stack([image.world_from_camera[:3, 3] for image in images])
    spread = float(np.linalg.norm(centres - centres[0], axis=1).max())
    if spread > MOVED * max(size, 1e-12) and len(images) > 1:
        raise UserError(
            f"the {len(images)} images of '{camera}' in {folder} lie up to {spread:.3g} apart: that camera moved, or they are of "
            "several cameras; put each camera's images into a folder of its own"
        )
    pose = images[len(images) // 2].world_from_camera
    return replace(lenses[images[0].camera_id], name=camera, world_from_camera=pose)


def _model(root: Path) -> Path | None:
    return next((found for inner in SPARSE_FOLDERS if (found := find_model(root / inner)) is not None), None)


LAYOUT = Layout(
    NAME,
    "sparse/0 with cameras and images, and a folder of frames or a video per camera",
    recognizes,
    read,
    Calibration("a COLMAP model (cameras and images, .bin or .txt)", find_calibration, read_cameras),
)
