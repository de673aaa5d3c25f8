"""Technicolor's light field videos: ``cameras_parameters.txt`` and images of a 4x4 grid of undistorted cameras.

Images are ``<anything>_<frame>_<camera>.png``, all in one folder, or ``<camera>/<frame>.png``; the protocol holds camera 10 out.

A header line, then one row per camera: f cu cv ar skew, quaternion qw qx qy qz, translation tx ty tz. The rotation and
translation bring world points into the camera (OpenCV axes); f, cu and cv are pixels of the 2048x1088 images.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import checked_intrinsics, pose_from_world_to_camera
from fourdgs_ns.capture.layouts.layout import Calibration, Layout, inside
from fourdgs_ns.capture.layouts.named_rig import capture_of
from fourdgs_ns.capture.layouts.reading import read_text
from fourdgs_ns.capture.layouts.sequences import IMAGE_SUFFIXES, files_in, folders_in
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

NAME = "technicolor"
CALIBRATION = "cameras_parameters.txt"
SIZE = (2048, 1088)
HELD_OUT = "10"


def recognizes(root: Path) -> bool:
    return (root / CALIBRATION).is_file()


def read(root: Path) -> Capture:
    """Read a Technicolor folder; images may be larger or smaller than 2048x1088."""
    file = root / CALIBRATION
    return capture_of(root, NAME, read_cameras(file), _files(root), file, HELD_OUT)


def _files(root: Path) -> dict[str, list[Path]]:
    """Images by camera: a folder for each, or the last number of each name."""
    found = {
        f.name: paths
        for parent in (root, root / "images")
        for f in folders_in(parent)
        if (paths := files_in(f, IMAGE_SUFFIXES))
    }
    found = {camera: paths for camera, paths in found.items() if camera.isdecimal()}
    if found:
        return found
    by_camera: dict[str, list[Path]] = {}
    for path in files_in(root, IMAGE_SUFFIXES) or files_in(root / "images", IMAGE_SUFFIXES):
        match = re.search(r"(\d+)_(\d+)$", path.stem)
        if match:
            by_camera.setdefault(match.group(2), []).append(path)
    return by_camera


def read_cameras(path: Path) -> list[Camera]:
    """Cameras 00, 01, ... in the order of the rows."""
    file = path
    cameras: list[Camera] = []
    for line in read_text(file).splitlines():
        words = line.split()
        try:
            values = [float(word) for word in words]
        except ValueError:
            continue  # the header
        if not values:
            continue
        camera = f"{len(cameras):02d}"
        if len(values) != 12:
            raise UserError(
                f"the row of camera {camera} in {file} has {len(values)} numbers instead of 12; export it again"
            )
        f, cu, cv, aspect, skew, qw, qx, qy, qz, *t = values
        if not np.isfinite(values).all() or np.linalg.norm([qw, qx, qy, qz]) < 1e-6:
            raise UserError(f"the row of camera {camera} in {file} holds no rotation; calibrate that camera again")
        lens = checked_intrinsics(pinhole(f, f * (aspect if aspect > 0 else 1.0), cu, cv), camera, file)
        lens[0, 1] = skew
        rotation = Rotation.from_quat([qx, qy, qz, qw]).as_matrix()
        pose = pose_from_world_to_camera(np.hstack([rotation, np.array(t)[:, None]]), camera, file)
        cameras.append(Camera(camera, *SIZE, lens, pose))
    if not cameras:
        raise UserError(f"{file} has no row of 12 numbers; export it again")
    return cameras


LAYOUT = Layout(
    NAME,
    "cameras_parameters.txt",
    recognizes,
    read,
    Calibration(CALIBRATION, inside(CALIBRATION), read_cameras),
)
