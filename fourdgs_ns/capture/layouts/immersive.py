"""Google's Immersive Light Field Video (Broxton et al. 2020): ``models.json`` and one video per fisheye camera.

Videos (or folders of images) are called like the cameras, camera_0001.mp4 and so on; the protocol holds the first one out.

models.json is a list of objects with name, width, height, focal_length, pixel_aspect_ratio, principal_point,
radial_distortion (k1, k2 of the equidistant model, then 0), position (centre) and orientation (axis and angle, world to
camera).
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import (
    checked_distortion,
    checked_intrinsics,
    checked_pose,
    is_fisheye_model,
)
from fourdgs_ns.capture.layouts.layout import Calibration, Layout, inside
from fourdgs_ns.capture.layouts.named_rig import capture_of, frames_by_camera
from fourdgs_ns.capture.layouts.reading import matrix, number, number_list, read_text
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, pinhole

NAME = "immersive"
CALIBRATION = "models.json"


def recognizes(root: Path) -> bool:
    return (root / CALIBRATION).is_file()


def read(root: Path) -> Capture:
    """Read a folder of the data set; cameras without a video are left out with a note."""
    file = root / CALIBRATION
    cameras = read_cameras(file)
    return capture_of(root, NAME, cameras, frames_by_camera(root, [c.name for c in cameras]), file, None)


def read_cameras(path: Path) -> list[Camera]:
    """All cameras of the list."""
    file = path
    try:
        content = json.loads(read_text(file))
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); download it again") from None
    if not isinstance(content, list) or not content or not all(isinstance(c, dict) and "name" in c for c in content):
        raise UserError(f"{file} is no list of cameras with names; download it again")
    cameras = []
    for entry in content:
        camera = str(entry["name"])
        width, height = (round(number(entry.get(k), f"{k} of {camera}", file)) for k in ("width", "height"))
        focal = number(entry.get("focal_length"), f"focal_length of {camera}", file)
        aspect = number(entry.get("pixel_aspect_ratio", 1.0), f"pixel_aspect_ratio of {camera}", file)
        cx, cy = matrix(entry.get("principal_point"), (2,), f"principal_point of {camera}", file)
        if not is_fisheye_model(str(entry.get("projection_type", "fisheye")), camera, file):
            raise UserError(f"projection_type of {camera} in {file} is no fisheye; undistort its video, or remove it")
        radial = number_list(entry.get("radial_distortion"), f"radial_distortion of {camera}", file)
        lens = checked_intrinsics(pinhole(focal, focal * aspect, cx, cy), camera, file)
        orientation = matrix(entry.get("orientation"), (3,), f"orientation of {camera}", file)
        position = matrix(entry.get("position"), (3,), f"position of {camera}", file)
        camera_from_world = np.asarray(cv2.Rodrigues(orientation.reshape(3, 1))[0])
        pose = checked_pose(np.hstack([camera_from_world.T, position[:, None]]), camera, file)
        distortion = checked_distortion(radial, camera, file, fisheye=True)
        cameras.append(Camera(camera, width, height, lens, pose, distortion, fisheye=True))
    return cameras


LAYOUT = Layout(
    NAME,
    "models.json",
    recognizes,
    read,
    Calibration(CALIBRATION, inside(CALIBRATION), read_cameras),
)
