"""Camera paths in space and time as pure functions: poses, intrinsics and t per image, nothing rendered.

Poses are world from camera with OpenGL axes (x right, y up, z backward), as Nerfstudio's; t is in [0, 1].
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_paths import get_path_from_json
from nerfstudio.cameras.cameras import Cameras, CameraType

from fourdgs_ns.capture.images import MAX_SIDE_PIXELS
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import read_bytes
from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, look_at
from fourdgs_ns.representation.types import Clip

MAX_PATH_BYTES = 1 << 28
Poses = Float[np.ndarray, "n 3 4"]


def frame_rate(clip: Clip) -> float:
    """Frames per second of the capture; 30 for a clip that does not know."""
    known = clip.duration_seconds > 0 and clip.num_frames > 1
    return (clip.num_frames - 1) / clip.duration_seconds if known else 30.0


def running_times(clip: Clip, first: float, last: float, speed: float, fps: float) -> Float[np.ndarray, " n"]:
    """t of each image of a video at ``fps`` in which the clip runs from t = ``first`` to ``last`` at ``speed``.

    Speeds under 1 are slow motion: times between frames are rendered. At speed 1 and the capture's own frame rate every
    image is a frame. ``last`` < ``first`` runs backwards.
    """
    seconds = abs(last - first) * clip.duration_seconds
    count = round(seconds * fps / speed) + 1
    return np.linspace(first, last, count) if count > 1 else np.array([first])


def orbit(
    pose: Float[np.ndarray, "3 4"],
    target: Float[np.ndarray, "3"],
    up: Float[np.ndarray, "3"],
    degrees: Float[np.ndarray, " n"],
) -> Poses:
    """``pose`` turned about the axis ``up`` through ``target`` by each of ``degrees``: distance and tilt stay."""
    axis = up / np.linalg.norm(up)
    poses = np.empty((len(degrees), 3, 4))
    for k, angle in enumerate(np.deg2rad(degrees)):
        turn = rotation_about(axis, float(angle))
        poses[k, :, :3] = turn @ pose[:, :3]
        poses[k, :, 3] = target + turn @ (pose[:, 3] - target)
    return poses


def rotation_about(axis: Float[np.ndarray, "3"], radians: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(radians) * cross + (1 - np.cos(radians)) * (cross @ cross)


def sway(degrees: float, count: int) -> Float[np.ndarray, " n"]:
    """Angles of one smooth swing to +degrees / 2, -degrees / 2 and back; a full turn for 360."""
    share = np.arange(count) / max(count, 1)
    return 360.0 * share if degrees >= 360 else degrees / 2 * np.sin(2 * np.pi * share)


def spiral(pose: Float[np.ndarray, "3 4"], distance: float, radius: float, turns: float, count: int) -> Poses:
    """The camera circles in its own image plane with ``radius`` and drifts to and fro, facing the point ``distance`` ahead.

    It starts and ends at ``pose`` moved by ``radius`` along its x axis; half as far forward and back as sideways.
    """
    right, above, back = pose[:, 0], pose[:, 1], pose[:, 2]
    focus = pose[:, 3] - distance * back
    angles = 2 * np.pi * turns * np.arange(count) / max(count - 1, 1)
    poses = np.empty((count, 3, 4))
    for k, angle in enumerate(angles):
        place = pose[:, 3] + radius * (np.cos(angle) * right + np.sin(angle) * above + 0.5 * np.sin(angle / 2) * back)
        poses[k] = looking_at(place, focus, above)
    return poses


def looking_at(
    place: Float[np.ndarray, "3"], focus: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 4"]:
    """The pose at ``place`` whose optical axis goes through ``focus``, with ``up`` as nearly upright as it can be."""
    return (look_at(place, focus, up) @ OPENCV_FROM_OPENGL)[:3]


def between(poses: Poses, count: int) -> Float[np.ndarray, "{count} 3 4"]:
    """``count`` poses along the chain ``poses``, the same time for each link: centres linear, rotations spherical."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(poses) == 1 or count == 1:
        return np.repeat(poses[:1], count, axis=0)
    knots = np.arange(len(poses))
    places = np.linspace(0, len(poses) - 1, count)
    turned = Slerp(knots, Rotation.from_matrix(poses[:, :, :3]))(places).as_matrix()
    centers = np.stack([np.interp(places, knots, poses[:, axis, 3]) for axis in range(3)], axis=1)
    return np.concatenate([turned, centers[:, :, None]], axis=2)


def by_proximity(poses: Poses) -> list[int]:
    """An order in which neighbours are near: along the direction in which the camera centres spread most."""
    centers = poses[:, :, 3] - poses[:, :, 3].mean(axis=0)
    direction = np.linalg.svd(centers, full_matrices=False)[2][0]
    return [int(i) for i in np.argsort(centers @ direction, kind="stable")]


def assemble(lens: Cameras, poses: Poses, times: Float[np.ndarray, " n"], scale: float = 1.0) -> Cameras:
    """Cameras [n] with the intrinsics and the size, times ``scale``, of the first camera of ``lens``; sizes become even."""
    height, width = int(lens.height.flatten()[0]), int(lens.width.flatten()[0])
    # H.264 wants even sizes; the field of view changes by less than a pixel.
    rows, columns = max(2 * round(height * scale / 2), 2), max(2 * round(width * scale / 2), 2)
    n = len(poses)
    first = lens.flatten()[0:1] if lens.ndim else lens
    fx, fy = float(first.fx.flatten()[0]) * columns / width, float(first.fy.flatten()[0]) * rows / height
    cx, cy = float(first.cx.flatten()[0]) * columns / width, float(first.cy.flatten()[0]) * rows / height
    return Cameras(
        camera_to_worlds=torch.from_numpy(np.ascontiguousarray(poses)).float(),
        fx=torch.full((n, 1), fx), fy=torch.full((n, 1), fy), cx=torch.full((n, 1), cx), cy=torch.full((n, 1), cy),
        height=torch.full((n, 1), rows), width=torch.full((n, 1), columns),
        camera_type=CameraType.PERSPECTIVE,
        times=torch.from_numpy(np.asarray(times)).float()[:, None],
    )  # fmt: skip


def mean_up(poses: Poses) -> Float[np.ndarray, "3"]:
    """Mean up direction of cameras, unit length."""
    up = poses[:, :, 1].mean(axis=0)
    return up / np.linalg.norm(up)


def read_saved_path(file: Path, clip: Clip) -> tuple[Cameras, Float[np.ndarray, " n"] | None, float | None]:
    """The camera path that the viewer saved: cameras [n] of its steps, their t and the video's frame rate, as far as it says.

    Raises:
        UserError: the file is no camera path, or not of a perspective camera.
    """
    try:
        record = json.loads(read_bytes(file, MAX_PATH_BYTES).decode("utf8"))
        for side in ("render_width", "render_height"):
            check_side(record[side])
        path = get_path_from_json(record)
        times = json_times(record["camera_path"], clip)
        fps = float(record.get("fps") or 0)
        kind = str(record.get("camera_type", "perspective")).lower()
        if not all(bool(value.isfinite().all()) for value in (path.camera_to_worlds, path.fx, path.fy)):
            raise ValueError("a pose or a field of view is not finite")
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise UserError(f"{file} is no camera path ({reason}); save one in the viewer's Render tab") from error
    if kind != "perspective":
        raise UserError(
            f"{file} was saved for a camera of the type {kind[:20]}, and perspective ones only are rendered; choose Perspective "
            "in the viewer's Render tab and save it again"
        )
    return path, times, fps if 0 < fps < math.inf else None


def check_side(pixels: Any) -> None:
    """Raises ValueError for what is no width or height of an image."""
    if not isinstance(pixels, int | float) or not 1 <= pixels <= MAX_SIDE_PIXELS:
        raise ValueError(f"an image cannot be {str(pixels)[:40]} pixels wide or high")


def json_times(steps: Sequence[dict], clip: Clip) -> Float[np.ndarray, " n"] | None:
    """t of each step of a camera path that the viewer saved; None when it carries none.

    Raises:
        UserError: some steps carry a time and others do not, or one is no number.
    """
    given = [step.get("render_time") for step in steps]
    if all(value is None for value in given):
        return None
    for index, value in enumerate(given):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(
                f"step {index} of the camera path has render_time {value!r} while others have numbers; save the path again "
                "with times in the viewer's Render tab, or give --span"
            )
    # The viewer's splines overshoot a little.
    return np.clip(np.array(given, dtype=np.float64), 0.0, 1.0)
