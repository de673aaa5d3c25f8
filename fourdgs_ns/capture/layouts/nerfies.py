"""Nerfies and HyperNeRF: dataset.json, metadata.json, camera/<id>.json and rgb/<scale>x/<id>.png.

metadata.json gives each image a warp_id (its instant) and a camera_id; camera files hold orientation (world to camera),
position, focal_length, principal_point, skew, pixel_aspect_ratio, distortions and image_size at full size. ids of
val_ids are held out: they form cameras of their own. Usually one or two cameras that move.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import (
    checked_distortion,
    checked_intrinsics,
    checked_pose,
    scaled_intrinsics,
)
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.reading import (
    find_point_files,
    image_fps,
    matrix,
    number,
    number_list,
    read_json,
    whole,
)
from fourdgs_ns.capture.layouts.rig import View, camera_from_views, size_of
from fourdgs_ns.capture.layouts.sequences import IMAGE_SUFFIXES, files_in, folders_in
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

NAME = "nerfies"


def recognizes(root: Path) -> bool:
    return (root / "dataset.json").is_file() and (root / "camera").is_dir() and (root / "rgb").is_dir()


def read(root: Path) -> Capture:
    """Read the largest images of rgb/."""
    dataset, metadata = read_json(root / "dataset.json"), read_json(root / "metadata.json")
    ids = dataset.get("ids")
    if not isinstance(ids, list) or not ids:
        raise UserError(f"{root / 'dataset.json'} has no list 'ids'; download it again")
    val_ids = dataset.get("val_ids") or []
    if not isinstance(val_ids, list):
        raise UserError(f"val_ids of {root / 'dataset.json'} is no list; download it again")
    held_out = {str(i) for i in val_ids}
    images = _images(root)
    views: dict[str, list[tuple[str, View]]] = {}
    instants = {}
    for image_id in map(str, ids):
        facts = metadata.get(image_id)
        if not isinstance(facts, dict):
            raise UserError(f"{root / 'metadata.json'} does not know the image {image_id}; download it again")
        instants[image_id] = whole(facts.get("warp_id", facts.get("time_id")), f"warp_id of {image_id}", root)
    numbers = np.array(sorted(set(instants.values())))
    for image_id, instant in instants.items():
        if image_id not in images:
            raise UserError(f"{root / 'dataset.json'} names the image {image_id}, which is not in rgb/; put it back")
        camera = f"camera{metadata[image_id].get('camera_id', 0)}" + ("_val" if image_id in held_out else "")
        file = root / "camera" / f"{image_id}.json"
        pose = _pose(file, image_id)
        view = View(images[image_id], pose, int(np.searchsorted(numbers, instant)))
        views.setdefault(camera, []).append((image_id, view))
    cameras = []
    size = size_of(view.world_from_camera for own in views.values() for _, view in own)
    for camera in sorted(views):
        first = root / "camera" / f"{views[camera][0][0]}.json"
        own = [view for _, view in views[camera]]
        cameras.append(camera_from_views(camera, own, partial(_camera, first), first, size))
    fps, notes = image_fps(root)
    return Capture(
        root=root,
        layout=NAME,
        cameras=tuple(cameras),
        times_seconds=(numbers - numbers[0]) / fps,
        eval_cameras=tuple(c.name for c in cameras if c.name.endswith("_val")),
        frame_numbers=numbers,
        point_files=find_point_files(root),
        notes=notes,
    )


def _images(root: Path) -> dict[str, Path]:
    scales = [f for f in folders_in(root / "rgb") if f.name.endswith("x") and f.name[:-1].isdecimal()]
    if not scales:
        raise UserError(f"{root / 'rgb'} has no folder 1x, 2x, ...; put the images into rgb/1x")
    largest = min(scales, key=lambda f: int(f.name[:-1]))
    return {path.stem: path for path in files_in(largest, IMAGE_SUFFIXES)}


def _pose(file: Path, image_id: str) -> np.ndarray:
    content = read_json(file)
    rotation = matrix(content.get("orientation"), (3, 3), f"orientation of {image_id}", file)
    position = matrix(content.get("position"), (3,), f"position of {image_id}", file)
    return checked_pose(np.hstack([rotation.T, position[:, None]]), image_id, file)


def _camera(file: Path, camera: str, width: int, height: int) -> Camera:
    content = read_json(file)
    focal = number(content.get("focal_length"), "focal_length", file)
    aspect = number(content.get("pixel_aspect_ratio", 1.0), "pixel_aspect_ratio", file)
    cx, cy = matrix(content.get("principal_point"), (2,), "principal_point", file)
    w, h = matrix(content.get("image_size"), (2,), "image_size", file)
    k1, k2, k3 = _coefficients(content, ("radial_distortion",), 3, file)
    p1, p2 = _coefficients(content, ("tangential_distortion", "tangential"), 2, file)
    lens = checked_intrinsics(pinhole(focal, focal * aspect, cx, cy), camera, file)
    lens[0, 1] = number(content.get("skew", 0.0), "skew", file)
    distortion = checked_distortion([k1, k2, p1, p2, k3], camera, file)
    lens = scaled_intrinsics(lens, (w, h), (width, height), camera, file)
    return Camera(camera, width, height, lens, _pose(file, camera), distortion)


def _coefficients(content: dict[str, Any], names: tuple[str, ...], count: int, file: Path) -> list[float]:
    """The coefficients under the first of ``names`` that exists, filled with zeros up to ``count``."""
    name = next((n for n in names if n in content), names[0])
    values = number_list(content.get(name), name, file)
    if any(values[count:]):
        raise UserError(f"{name} in {file} has {len(values)} numbers; only {count} are known, undistort the images")
    return (values + [0.0] * count)[:count]


LAYOUT = Layout(NAME, "dataset.json with camera/ and rgb/", recognizes, read)
