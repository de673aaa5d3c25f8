"""COLMAP models of rigs, and ``multipleview`` folders that are built on one.

Images of a model are ``[rig/]<camera>/<frame>.jpg``, with one pose per camera or one per frame, or one image per camera
whose frames lie elsewhere: images/<camera>/<frame>.jpg, cam01/frame_00001.jpg (multipleview, whose sparse_/ model names images
after cameras), or <camera>.mp4. The first camera is held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from fourdgs_ns.capture.capture import Capture, ImageFrames, RecordedCamera
from fourdgs_ns.capture.layouts.colmap_model import ModelImage, count_images, find_model, find_models, read_model
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.named_rig import capture_of, frames_by_camera
from fourdgs_ns.capture.layouts.rig import Movement, movement, refuse_folders_of_frames, size_of
from fourdgs_ns.capture.layouts.sequences import listed, natural_key, telling_names
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

NAME = "colmap-rig"
SPARSE_FOLDERS = ("", "sparse_")
ZOOMED = 0.05
"""Share by which their focal lengths may differ."""


@dataclass(frozen=True)
class _Posed:
    """One camera of a model and its images."""

    camera: Camera
    """In the pose and with the lens of the middle image."""
    images: Sequence[ModelImage]
    movement: Movement


def recognizes(root: Path) -> bool:
    return bool(_models(root))


def read(root: Path) -> Capture:
    """Read the model with most images and the frames beside it; a camera that moves needs a pose for each frame."""
    models = _models(root)
    if not models:
        raise UserError(f"{root} has no COLMAP model (sparse/0/cameras.bin and images.bin); put it there")
    folder, posed = models[0], _posed_cameras(models[0])
    frames = frames_by_camera(root, [own.camera.name for own in posed])
    capture = capture_of(root, NAME, [own.camera for own in posed], frames, folder / "images", None)
    moving = {own.camera.name: own for own in posed if own.movement.moves}
    cameras = [_moved(c, moving[c.name], folder) if c.name in moving else c for c in capture.cameras]
    notes = [
        f"{name} {own.movement}: each of its frames has its own pose" for name, own in moving.items() if name in frames
    ]
    if len(models) > 1:
        others = listed([f"{other} ({count_images(other)})" for other in models[1:]])
        notes.append(f"{folder} is used, the model with most images ({count_images(folder)}); not used: {others}")
    return replace(capture, cameras=tuple(cameras), notes=(*capture.notes, *notes))


def find_calibration(path: Path) -> Path | None:
    """The folder of the model."""
    return find_model(path if path.is_dir() else path.parent)


def read_cameras(folder: Path) -> list[Camera]:
    """One camera per folder of images, or per image when they lie in one folder.

    Raises:
        UserError: the model is damaged, or the images of one camera were taken in different poses.
    """
    posed = _posed_cameras(folder)
    for own in posed:
        if own.movement.moves:
            raise UserError(
                f"the {len(own.images)} images of '{own.camera.name}' in {folder} have different poses: it {own.movement}, or "
                "they are of several cameras; put each camera's images into a folder of its own, or remove what was taken while "
                "it moved"
            )
    return [own.camera for own in posed]


def _posed_cameras(folder: Path) -> list[_Posed]:
    lenses, images = read_model(folder)
    if not images:
        raise UserError(f"{folder} has no registered image; calibrate again")
    paths = [PurePosixPath(image.name) for image in images]
    parents = [path.parent for path in paths]
    stems = [path.stem for path in paths]
    told = telling_names(parents) if len(set(parents)) > 1 else stems
    by_camera = _grouped([name or stem for name, stem in zip(told, stems, strict=True)], images)
    size = size_of(image.world_from_camera for image in images)
    posed = [_posed(n, by_camera[n], lenses, size, folder) for n in sorted(by_camera, key=natural_key)]
    if any(own.movement.moves for own in posed):
        poses = {stem: [image.world_from_camera for image in own] for stem, own in _grouped(stems, images).items()}
        refuse_folders_of_frames(poses, size, folder, images[0].name)
    if len(set(parents)) == 1:
        _refuse_frames_as_cameras(images, folder)
    return posed


def _refuse_frames_as_cameras(images: Sequence[ModelImage], folder: Path) -> None:
    """Where all images lie in one folder each is a camera, and no two cameras have one pose."""
    known: dict[bytes, str] = {}
    for image in images:
        first = known.setdefault(image.world_from_camera.tobytes(), image.name)
        if first != image.name:
            raise UserError(
                f"images in {folder} that lie in one folder have the same pose ({first} and {image.name}), so they are frames of "
                "one camera; put each camera's images into a folder of its own"
            )


def _grouped(names: Sequence[str], images: Sequence[ModelImage]) -> dict[str, list[ModelImage]]:
    groups: dict[str, list[ModelImage]] = {}
    for name, image in zip(names, images, strict=True):
        groups.setdefault(name, []).append(image)
    return groups


def _movement(images: Sequence[ModelImage], size: float) -> Movement:
    return movement(np.stack([image.world_from_camera for image in images]), size)


def _posed(camera: str, images: list[ModelImage], lenses: dict[int, Camera], size: float, folder: Path) -> _Posed:
    middle = images[len(images) // 2]
    focal = [float(lenses[image.camera_id].intrinsics[0, 0]) for image in images]
    if max(focal) > (1 + ZOOMED) * min(focal):
        raise UserError(
            f"the images of '{camera}' in {folder} have focal lengths of {min(focal):.4g} to {max(focal):.4g} pixels; a camera "
            "that zooms is not supported, calibrate again with one lens per folder (single_camera_per_folder)"
        )
    lens = replace(lenses[middle.camera_id], name=camera, world_from_camera=middle.world_from_camera)
    return _Posed(lens, images, _movement(images, size))


def _moved(recorded: RecordedCamera, own: _Posed, folder: Path) -> RecordedCamera:
    poses = {PurePosixPath(image.name).stem: image.world_from_camera for image in own.images}
    paths = recorded.frames.paths if isinstance(recorded.frames, ImageFrames) else ()
    known = sum(path.stem in poses for path in paths)
    if known < len(recorded.frames):
        raise UserError(
            f"camera '{recorded.name}' in {folder} {own.movement} between its images (or they are of several cameras), but only "
            f"{known} of its {len(recorded.frames)} frames have a pose there; register all of its frames as images, or put one "
            "pose of it there"
        )
    return recorded.posed(np.stack([poses[path.stem] for path in paths]))


def _models(root: Path) -> list[Path]:
    return next((found for inner in SPARSE_FOLDERS if (found := find_models(root / inner))), [])


LAYOUT = Layout(
    NAME,
    "sparse/0 with cameras and images, and a folder of frames or a video per camera",
    recognizes,
    read,
    Calibration("a COLMAP model (cameras and images, .bin or .txt)", find_calibration, read_cameras),
)
