"""COLMAP's sparse models, text or binary: cameras and images as plain data, bounded by the size of the files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fourdgs_ns.capture.layouts.conventions import checked_distortion, checked_intrinsics, pose_from_world_to_camera
from fourdgs_ns.capture.layouts.reading import read_text
from fourdgs_ns.capture.layouts.sequences import folders_in
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status
from fourdgs_ns.geometry.camera import Camera, pinhole

MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
}
COUNTS = dict(MODELS.values())
FOLDERS = ("sparse", "colmap/sparse", "")


@dataclass(frozen=True)
class ModelImage:
    """Pose of one image."""

    name: str
    """Relative path, with forward slashes."""
    camera_id: int
    world_from_camera: Float[np.ndarray, "4 4"]


def find_models(root: Path) -> list[Path]:
    """The folders under ``root`` that hold cameras and images: the one with most images first, which COLMAP may number 1."""
    around = [root / name for name in FOLDERS]
    numbered = [f for folder in around[:-1] for f in folders_in(folder) if f.name.isdecimal()]
    found = [folder for folder in (*numbered, *around) if _suffix(folder) is not None]
    return sorted(found, key=count_images, reverse=True) if len(found) > 1 else found


def find_model(root: Path) -> Path | None:
    """The first of :func:`find_models`."""
    return next(iter(find_models(root)), None)


def count_images(folder: Path) -> int:
    """Number of images that a model says it has."""
    if _suffix(folder) == ".bin":
        return int(_Reader(folder / "images.bin").take("Q")[0])
    return len(_image_lines(folder / "images.txt"))


def _suffix(folder: Path) -> str | None:
    """Binary files count where both kinds are there, as in COLMAP."""
    both = (s for s in (".bin", ".txt") if (folder / f"cameras{s}").is_file() and (folder / f"images{s}").is_file())
    return next(both, None)


def read_model(folder: Path) -> tuple[dict[int, Camera], list[ModelImage]]:
    """Cameras by id, in the world's origin because poses belong to images; and images in the order of their names.

    Raises:
        UserError: unreadable or cut off, or a lens model that is not known.
    """
    if _suffix(folder) == ".bin":
        cameras, images = _binary_cameras(folder / "cameras.bin"), _binary_images(folder / "images.bin")
    else:
        cameras, images = _text_cameras(folder / "cameras.txt"), _text_images(folder / "images.txt")
    for image in images:
        if image.camera_id not in cameras:
            raise UserError(
                f"image {image.name} in {folder} is of camera {image.camera_id}, which is not listed; export again"
            )
    return cameras, sorted(images, key=lambda image: image.name)


def _camera(camera_id: int, model: str, width: int, height: int, params: list[float], file: Path) -> Camera:
    if len(params) != COUNTS.get(model):
        known = ", ".join(COUNTS)
        raise UserError(
            f"camera {camera_id} in {file} has the lens model {model} ({len(params)} numbers); known are {known}"
        )
    two_focals = model in ("PINHOLE", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV")
    fx, fy, cx, cy, *rest = params if two_focals else [params[0], *params]
    radial = model in ("SIMPLE_RADIAL", "RADIAL")
    coefficients = [*rest, 0.0, 0.0][:2] if radial else rest
    fisheye = "FISHEYE" in model
    name = f"{camera_id}"
    lens = checked_intrinsics(pinhole(fx, fy, cx, cy), name, file)
    distortion = checked_distortion(coefficients, name, file, fisheye)
    return Camera(name, width, height, lens, np.eye(4), distortion, fisheye)


def _pose(q: list[float], t: list[float], name: str, file: Path) -> Float[np.ndarray, "4 4"]:
    w, x, y, z = q
    if not np.isfinite(q).all() or np.linalg.norm(q) < 1e-6:
        raise UserError(f"image {name} in {file} has no rotation; export the model again")
    rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
    return pose_from_world_to_camera(np.hstack([rotation, np.array(t)[:, None]]), name, file)


def _text_cameras(file: Path) -> dict[int, Camera]:
    cameras = {}
    for words in (line.split() for line in _lines(file) if line):
        try:
            camera_id, width, height = int(words[0]), int(words[2]), int(words[3])
            params = [float(x) for x in words[4:]]
        except (ValueError, IndexError):
            raise UserError(
                f"the line '{' '.join(words)[:40]}' in {file} is no camera; export the model again"
            ) from None
        cameras[camera_id] = _camera(camera_id, words[1], width, height, params, file)
    return cameras


def _lines(file: Path) -> list[str]:
    """Without comments."""
    return [line for line in map(str.strip, read_text(file).splitlines()) if not line.startswith("#")]


def _image_lines(file: Path) -> list[str]:
    """The lines of images: the line after one lists its features, and may be empty or, from other programs, missing."""
    found: list[str] = []
    after_image = False
    for line in _lines(file):
        after_image = bool(line) and not (after_image and not _is_image(line))
        found += [line] if after_image else []
    return found


def _is_image(line: str) -> bool:
    """Ten words of which the last is a name; of features (x y id) all words are numbers."""
    words = line.split(maxsplit=9)
    return len(words) == 10 and _numeric(words[:9]) and not _numeric(words[9].split())


def _numeric(words: Sequence[str]) -> bool:
    try:
        return all(np.isfinite(float(word)) for word in words)
    except ValueError:
        return False


def _text_images(file: Path) -> list[ModelImage]:
    images = []
    for line in _image_lines(file):
        words = line.split(maxsplit=9)
        try:
            numbers = [float(x) for x in words[1:8]]
            camera_id, name = int(words[8]), words[9].strip()
        except (ValueError, IndexError):
            raise UserError(f"the line '{line[:40]}' in {file} is no image; export the model again") from None
        images.append(_image(name, camera_id, numbers, file))
    return images


def _image(name: str, camera_id: int, numbers: list[float], file: Path) -> ModelImage:
    pose = _pose(numbers[:4], numbers[4:], name, file)
    return ModelImage(name.replace("\\", "/"), camera_id, pose)


class _Reader:
    """Little-endian numbers from a file in memory; an end too early is an error that names it."""

    def __init__(self, file: Path) -> None:
        file_status(file)
        self.file, self.data, self.position = file, file.read_bytes(), 0

    def take(self, form: str) -> tuple:
        size = struct.calcsize("<" + form)
        self.skip(size)
        return struct.unpack_from("<" + form, self.data, self.position - size)

    def skip(self, size: int) -> None:
        if size < 0 or self.position + size > len(self.data):
            raise UserError(f"{self.file} ends before its last entry (an interrupted copy); copy it again")
        self.position += size

    def word(self) -> str:
        end = self.data.find(b"\0", self.position)
        if end < 0:
            raise UserError(f"{self.file} ends inside a name (an interrupted copy); copy it again")
        text = self.data[self.position : end].decode("utf-8", "replace")
        self.position = end + 1
        return text


def _binary_cameras(file: Path) -> dict[int, Camera]:
    reader = _Reader(file)
    cameras = {}
    for _ in range(reader.take("Q")[0]):
        camera_id, model_id, width, height = reader.take("iiQQ")
        if model_id not in MODELS:
            raise UserError(f"camera {camera_id} in {file} has the lens model number {model_id}, which is not known")
        model, count = MODELS[model_id]
        cameras[camera_id] = _camera(camera_id, model, width, height, list(reader.take("d" * count)), file)
    return cameras


def _binary_images(file: Path) -> list[ModelImage]:
    reader = _Reader(file)
    images = []
    for _ in range(reader.take("Q")[0]):
        _, *numbers, camera_id = reader.take("idddddddi")
        name = reader.word()
        reader.skip(24 * reader.take("Q")[0])
        images.append(_image(name, camera_id, numbers, file))
    return images
