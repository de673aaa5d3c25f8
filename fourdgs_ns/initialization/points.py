"""The points over time that a training starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fourdgs_ns.data.capture import Capture, CaptureCamera
from fourdgs_ns.errors import UserError
from fourdgs_ns.initialization.ply import GRAY, read_points_ply
from fourdgs_ns.initialization.view_volume import view_volume

Method = Literal["auto", "ply", "triangulate", "random"]

FEWEST_POINTS = 1000
"""A cloud of fewer triangulated points says nothing about the scene's shape."""
UNTIMED = 0.5
"""t of points that say no time: the middle of the clip."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class InitialPoints:
    """A point cloud in which every point carries the time at which it was seen."""

    positions: Float[np.ndarray, "n 3"]
    """The capture's world coordinates, float32."""
    colors: UInt8[np.ndarray, "n 3"]
    """RGB."""
    times: Float[np.ndarray, " n"]
    """t in [0, 1], float32."""
    timed: bool
    """False when the source says no times: then all of them are 0.5."""
    source: str
    """One sentence for the log: where the points come from."""
    velocities: Float[np.ndarray, "n 3"] = None  # type: ignore[assignment]
    static: Bool[np.ndarray, " n"] = None  # type: ignore[assignment]
    key_interval: float = 1.0

    def __post_init__(self) -> None:
        if self.velocities is None:
            object.__setattr__(self, "velocities", np.zeros_like(self.positions))
        if self.static is None:
            object.__setattr__(self, "static", np.zeros(len(self.positions), bool))


def load_points(
    capture: Capture,
    *,
    train_cameras: Sequence[str],
    downscale: float,
    key_frames: int = 10,
    method: Method = "auto",
    num_random: int = 50_000,
    seed: int = 0,
    progress: bool = True,
) -> InitialPoints:
    """Points to start a training of ``train_cameras`` from; frames of other cameras are never opened.

    * ``ply``: the capture's point files.
    * ``triangulate``: matches between the training cameras at ``key_frames`` instants, intersected with the known poses
      (see :mod:`fourdgs_ns.initialization.key_frames`; computed once and then kept with the capture).
    * ``random``: ``num_random`` grey points, uniform in the volume that at least three cameras see, each at a random
      instant of the clip.
    * ``auto``: the first of these that the capture allows; fewer than 1000 triangulated points do not count.

    ``downscale`` is that of training: it sets the size of the images that are matched.

    Raises UserError when the method that was asked for gives no points.
    """
    if not train_cameras:
        raise UserError(f"no camera of {capture.root} is left for training; hold out fewer with --eval-cameras")
    cameras = [capture.camera(name) for name in train_cameras]
    if method == "ply" or (method == "auto" and capture.point_files):
        return _from_files(capture)
    if method == "random":
        return _random(capture, cameras, num_random, seed, "")
    points, shortfall = _triangulated(capture, cameras, downscale, key_frames, progress)
    if points is not None:
        return points
    if method == "triangulate":
        raise UserError(f"{shortfall}; check the calibration, or start with --initial-points random")
    logger.warning("%s; training starts from random points", shortfall)
    return _random(capture, cameras, num_random, seed, f"{shortfall}, so it starts with ")


def _times_of(capture: Capture) -> Float[np.ndarray, " f"]:
    """t in [0, 1] of every instant of the clip (0 for a clip of one instant)."""
    duration = capture.duration_seconds
    return capture.times_seconds / duration if duration > 0 else np.zeros(capture.num_frames)


def _from_files(capture: Capture) -> InitialPoints:
    if not capture.point_files:
        raise UserError(
            f"{capture.root} has no point cloud; put one there as points3D.ply, or start with "
            "--initial-points triangulate"
        )
    notes: list[str] = []
    clouds = [read_points_ply(path, notes) for path in capture.point_files]
    for note in notes:
        logger.warning(note)
    timed = all(times is not None for _, _, times in clouds)
    positions = np.concatenate([p for p, _, _ in clouds])
    times = np.concatenate([np.full(len(p), UNTIMED, np.float32) if not timed else t for p, _, t in clouds])
    names = ", ".join(str(path) for path in capture.point_files)
    about_time = "each with its time" if timed else "without times"
    source = "; ".join([f"{len(positions)} initial points from {names}, {about_time}", *notes])
    return InitialPoints(positions, np.concatenate([c for _, c, _ in clouds]), times, timed, source)


def _triangulated(
    capture: Capture, cameras: Sequence[CaptureCamera], downscale: float, key_frames: int, progress: bool
) -> tuple[InitialPoints | None, str]:
    """Triangulated points, or None and what is wrong with them."""
    # Late, so that importing this module does not load the compiler behind the matching.
    from fourdgs_ns.initialization.key_frames import choose_key_frames, triangulate_key_frames

    frames = [int(f) for f in choose_key_frames(capture.num_frames, key_frames)]
    if len(cameras) < 2:
        return None, f"{capture.root} has a single training camera, whose frames cannot be triangulated"
    cloud = triangulate_key_frames(
        capture, cameras, key_frames=frames, times=_times_of(capture), downscale=downscale, progress=progress
    )
    n = len(cloud.positions)
    found = f"{n} points triangulated from {len(cameras)} cameras at {len(frames)} instants of {capture.root}"
    if n < FEWEST_POINTS:
        return None, f"only {found}"
    interval = 1.0 / max(len(frames) - 1, 1)
    return InitialPoints(cloud.positions, cloud.colors, cloud.times, True, found, key_interval=interval), ""


def _random(
    capture: Capture, cameras: Sequence[CaptureCamera], num_points: int, seed: int, because: str
) -> InitialPoints:
    if num_points < 1:
        raise UserError(f"--num-random-points is {num_points}; give at least 1")
    rng = np.random.default_rng(seed)
    positions, k = view_volume(cameras).sample(num_points, rng)
    times = _times_of(capture)[rng.integers(capture.num_frames, size=num_points)].astype(np.float32)
    colors = np.full((num_points, 3), GRAY, np.uint8)
    source = f"{because}{num_points} random points in the volume that at least {k} viewpoint(s) see"
    return InitialPoints(positions.astype(np.float32), colors, times, True, source)
