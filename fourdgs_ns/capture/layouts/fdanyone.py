"""4DAnyone's output: ``cameras.json`` and ``videos/dense/<NN>.mp4`` of generated cameras around a person.

cameras.json holds ``cameras``: camera_id, K, camera_to_world (OpenCV axes), image_width, image_height and the video's path;
metadata.json the frame rate, possibly as a fraction. The first camera is held out.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import checked_intrinsics, checked_pose
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.named_rig import capture_of
from fourdgs_ns.capture.layouts.reading import frame_rate, matrix, number, path_in, read_json
from fourdgs_ns.capture.layouts.rig import require_files
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

NAME = "4danyone"


def recognizes(root: Path) -> bool:
    return (root / "cameras.json").is_file() and (root / "videos" / "dense").is_dir()


def read(root: Path) -> Capture:
    """Read cameras.json and the videos it names, else those called like its cameras."""
    file = root / "cameras.json"
    listed_cameras = read_json(file).get("cameras")
    if not isinstance(listed_cameras, list) or not all(isinstance(c, dict) for c in listed_cameras):
        raise UserError(f"{file} has no list 'cameras'; export it again")
    cameras, frames = [], {}
    for i, entry in enumerate(listed_cameras):
        camera = str(entry.get("camera_id", i))
        camera = f"{int(camera):02d}" if camera.isdecimal() else camera
        lens = checked_intrinsics(matrix(entry.get("K"), (3, 3), f"K of camera {camera}", file), camera, file)
        pose = np.asarray(entry.get("camera_to_world"), dtype=object)
        pose = matrix(pose.tolist(), (4, 4), f"camera_to_world of camera {camera}", file)
        width, height = (
            round(number(entry.get(f"image_{k}"), f"image_{k} of {camera}", file)) for k in ("width", "height")
        )
        cameras.append(Camera(camera, width, height, lens, checked_pose(pose, camera, file)))
        stated = entry.get("video")
        video = path_in(root, stated) if isinstance(stated, str) else root / "videos" / "dense" / f"{camera}.mp4"
        require_files([video], file)
        frames[camera] = [video]
    return capture_of(root, NAME, cameras, frames, file, None, _fps(root))


def _fps(root: Path) -> float | None:
    metadata = root / "metadata.json"
    stated = read_json(metadata).get("fps") if metadata.is_file() else None
    if isinstance(stated, str):
        try:
            return frame_rate(float(Fraction(stated)), "fps", metadata)
        except (ValueError, ZeroDivisionError):
            raise UserError(
                f"fps in {metadata} is '{stated}'; write a number or a fraction such as 30000/1001"
            ) from None
    return None if stated is None else frame_rate(stated, "fps", metadata)


LAYOUT = Layout(NAME, "cameras.json with videos/dense", recognizes, read)
