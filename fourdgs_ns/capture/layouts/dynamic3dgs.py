"""Dynamic 3D Gaussians (CMU Panoptic): train_meta.json and test_meta.json with ims/ and seg/.

Indexed [frame t][camera c]: k (3x3), w2c (4x4 world to camera, OpenCV axes), fn (image under ims/) and cam_id. Images
of seg/ label people and are no mattes. The protocol holds the cameras of test_meta.json out.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.capture import Capture, ImageFrames, RecordedCamera
from fourdgs_ns.capture.layouts.conventions import checked_intrinsics, pose_from_world_to_camera, scaled_intrinsics
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.reading import find_point_files, image_fps, matrix, number, path_in, read_json
from fourdgs_ns.capture.layouts.rig import View, camera_from_views, on_common_clock, require_cameras, size_of
from fourdgs_ns.capture.layouts.sequences import natural_key
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

NAME = "dynamic3dgs"


@dataclass
class _Listed:
    """What the metadata say about one camera."""

    path: Path
    width: float
    height: float
    intrinsics: Float[np.ndarray, "3 3"]
    views: list[View] = field(default_factory=list)


def recognizes(root: Path) -> bool:
    return (root / "train_meta.json").is_file()


def read(root: Path) -> Capture:
    """Read a folder of Dynamic 3D Gaussians; a camera whose pose changes becomes a moving one."""
    train, instants = _read_meta(root, root / "train_meta.json")
    test: dict[str, _Listed] = {}
    test_instants = instants
    if (root / "test_meta.json").is_file():
        test, test_instants = _read_meta(root, root / "test_meta.json")
    if instants != test_instants:
        raise UserError(
            f"{root / 'train_meta.json'} has {instants} frames but test_meta.json has {test_instants}; cut both alike"
        )
    both = sorted(set(train) & set(test), key=natural_key)
    if both:
        raise UserError(f"camera '{both[0]}' is in train_meta.json and test_meta.json of {root}; remove it from one")
    names = sorted({**train, **test}, key=natural_key)
    size = size_of(view.world_from_camera for listed in (train | test).values() for view in listed.views)
    cameras = [_camera(root, camera, (train | test)[camera], size) for camera in names]
    if not any(c.moves for c in cameras):
        require_cameras(root, names)
    fps, notes = image_fps(root)
    return Capture(
        root=root,
        layout=NAME,
        cameras=tuple(cameras),
        times_seconds=np.arange(instants) / fps,
        eval_cameras=tuple(c for c in names if c in test),
        point_files=find_point_files(root),
        masks_are_mattes=False,
        notes=(*notes, *on_common_clock(cameras, instants)),
    )


def _read_meta(root: Path, path: Path) -> tuple[dict[str, _Listed], int]:
    meta = read_json(path)
    width, height = (number(meta.get(side), side, path) for side in "wh")
    k, w2c, files, ids = (_table(meta, key, path) for key in ("k", "w2c", "fn", "cam_id"))
    if not (len(k) == len(w2c) == len(files) == len(ids)) or not files:
        raise UserError(
            f"{path} has k for {len(k)} frames, w2c for {len(w2c)}, fn for {len(files)}, cam_id for {len(ids)}; "
            f"these must be equal and not 0, export it again"
        )
    cameras: dict[str, _Listed] = {}
    seen: dict[str, dict[bytes, Any]] = defaultdict(dict)
    for t, row in enumerate(ids):
        if not (len(k[t]) == len(w2c[t]) == len(files[t]) == len(row)):
            raise UserError(
                f"frame {t} of {path} lists different numbers of cameras in k, w2c, fn, cam_id; export it again"
            )
        for c, identity in enumerate(row):
            camera = str(identity)
            where = f"of camera '{camera}' at frame {t}"
            image = path_in(root / "ims", str(files[t][c]))
            intrinsics = matrix(k[t][c], (3, 3), f"k {where}", path)
            world_to_camera = matrix(w2c[t][c], (4, 4), f"w2c {where}", path)
            # Most cameras stand still: each distinct calibration is checked once.
            poses, key = seen[camera], intrinsics.tobytes() + world_to_camera.tobytes()
            if key in poses:
                cameras[camera].views.append(View(image, poses[key], t))
                continue
            poses[key] = pose_from_world_to_camera(world_to_camera, camera, path)
            if camera not in cameras:
                cameras[camera] = _Listed(path, width, height, checked_intrinsics(intrinsics, camera, path))
            elif not np.allclose(intrinsics, cameras[camera].intrinsics, rtol=1e-5, atol=1e-4):
                raise UserError(
                    f"k {where} in {path} differs from earlier frames; zooming cameras are not supported, remove it"
                )
            cameras[camera].views.append(View(image, poses[key], t))
    return cameras, len(files)


def _table(meta: dict[str, Any], key: str, path: Path) -> list[list[Any]]:
    table = meta.get(key)
    if not isinstance(table, list) or not all(isinstance(row, list) for row in table):
        raise UserError(f"{path} has no table '{key}' indexed by frame and camera; export it again")
    return table


def _camera(root: Path, camera: str, listed: _Listed, size: float) -> RecordedCamera:
    def camera_at(_: str, width: int, height: int) -> Camera:
        stated = (listed.width, listed.height)
        lens = scaled_intrinsics(listed.intrinsics, stated, (width, height), camera, listed.path)
        return Camera(camera, width, height, lens, listed.views[0].world_from_camera)

    read_camera = camera_from_views(camera, listed.views, camera_at, listed.path, size)
    images = root / "ims"
    labels = [
        (root / "seg" / os.path.relpath(view.path, images)).with_suffix(".png")
        for view in sorted(listed.views, key=lambda view: view.index)
    ]
    if not labels[0].parent.is_dir():
        return read_camera
    missing = next((p for p in labels if not p.is_file()), None)
    if missing is not None:
        raise UserError(
            f"camera '{camera}' has no mask {missing}; put it back, or rename {labels[0].parent} to ignore it"
        )
    return replace(read_camera, masks=ImageFrames(tuple(labels)))


LAYOUT = Layout(NAME, "train_meta.json with ims/", recognizes, read)
