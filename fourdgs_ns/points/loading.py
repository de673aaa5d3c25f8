"""The points over time that a training starts from: read from files, found in the images, or random."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.common.console import warn
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.view_volume import view_volume
from fourdgs_ns.points.finding import find_points
from fourdgs_ns.points.instants import clip_times
from fourdgs_ns.points.matcher_name import MatcherName
from fourdgs_ns.points.ply import GRAY, TIME_TOLERANCE, PlyPoints, read_points_ply
from fourdgs_ns.points.velocities import VelocitySource

Method = Literal["auto", "ply", "triangulate", "random"]

FEWEST_POINTS = 1000
"""A cloud of fewer triangulated points says nothing about the scene's shape."""
UNTIMED = 0.5
"""t of points that say no time: the middle of the clip."""


@dataclass(frozen=True, eq=False)
class InitialPoints:
    """A point cloud in which every point carries the time at which it was seen."""

    positions: Float[np.ndarray, "n 3"]
    """The capture's world coordinates, float64: its origin may be far away."""
    colors: UInt8[np.ndarray, "n 3"]
    """RGB."""
    times: Float[np.ndarray, " n"]
    """t in [0, 1], float32."""
    timed: bool
    """False when the source says no times: then all of them are 0.5."""
    source: str
    """One sentence for the log: where the points come from."""
    velocities: Float[np.ndarray, "n 3"]
    """The capture's world units per unit of t, float32; zero where unknown."""
    static: Bool[np.ndarray, " n"]
    """Recognised as not moving: seen in the same place all the time."""
    key_interval: float
    """Distance of neighbouring key frames in units of t; 1 for a single one and for points without times."""


def load_points(
    capture: Capture,
    *,
    train_cameras: Sequence[str],
    downscale: float,
    key_frames: int | None = None,
    method: Method = "auto",
    matcher: MatcherName = "sift",
    max_points: int | None = None,
    velocities: VelocitySource = "flow",
    num_random: int = 50_000,
    seed: int = 0,
    progress: bool = True,
    contradiction: str = "",
) -> InitialPoints:
    """Points to start a training of ``train_cameras`` from; frames of other cameras are never opened.

    * ``ply``: the capture's point files.
    * ``triangulate``: ``matcher``'s matches between the training cameras at ``key_frames`` instants, intersected with
      the known poses, with velocities, static ones once (see :mod:`fourdgs_ns.points.finding`; computed once and
      then kept with the capture).
    * ``random``: ``num_random`` grey points, uniform in the volume that at least three cameras see, each at a random
      instant of the clip.
    * ``auto``: the first of these that the capture allows; fewer than 1000 triangulated points do not count.

    ``downscale`` is that of training: it sets the size of the images that are matched. ``contradiction``: why the
    calibration is doubted, for the warning that there are only random points.

    Raises UserError when the method that was asked for gives no points.
    """
    if not train_cameras:
        raise UserError(f"no camera of {capture.root} is left for training; hold out fewer with --eval-cameras")
    cameras = [capture.camera(name) for name in train_cameras]
    if method == "ply" or (method == "auto" and capture.point_files):
        return _from_files(capture)
    if method == "random":
        return _random(capture, cameras, num_random, seed, "")
    points, shortfall = _triangulated(
        capture,
        cameras,
        downscale=downscale,
        key_frames=key_frames,
        matcher=matcher,
        max_points=max_points,
        velocities=velocities,
        progress=progress,
    )
    if points is not None:
        return points
    if method == "triangulate":
        raise UserError(f"{shortfall}; check the calibration, or start with --initial-points random")
    doubt = f" (likely because {contradiction})" if contradiction else ""
    warn(
        f"{shortfall}{doubt}: training starts from {num_random} random points, which costs quality; look at the calibration "
        f"with `fourdgs-ns check {shlex.quote(str(capture.root))}`, or put a cloud there as points3D.ply"
    )
    return _random(capture, cameras, num_random, seed, f"{shortfall}, so it starts with ")


def _from_files(capture: Capture) -> InitialPoints:
    if not capture.point_files:
        raise UserError(
            f"{capture.root} has no point cloud; put one there as points3D.ply, or start with "
            "--initial-points triangulate"
        )
    notes: list[str] = []
    clouds = [read_points_ply(path, notes) for path in capture.point_files]
    for note in notes:
        warn(note)
    timed = all(cloud.times is not None for cloud in clouds)
    positions = np.concatenate([cloud.positions for cloud in clouds])
    parts = [_in_time(cloud, timed) for cloud in clouds]
    times, velocities, static = (np.concatenate(column) for column in zip(*parts))
    colors = np.concatenate([cloud.colors for cloud in clouds])
    names = ", ".join(str(path) for path in capture.point_files)
    if timed and capture.part != (0.0, 1.0):
        keep, positions, times, velocities = _in_part(positions, times, velocities, static, capture.part)
        if not keep.any():
            raise UserError(
                f"{names} has no point from the chosen part of the clip (t {capture.part[0]:.3g} to {capture.part[1]:.3g}); "
                "start with --initial-points triangulate"
            )
        colors, static = colors[keep], static[keep]
    about = "each with its time" if timed else "without times"
    if velocities.any():
        about += " and its velocity"
    source = "; ".join([f"{len(positions)} initial points from {names}, {about}", *notes])
    instants = np.unique(times[~static]) if timed else np.zeros(0)
    interval = float(np.median(np.diff(instants))) if len(instants) > 1 else 1.0
    return InitialPoints(positions, colors, times, timed, source, velocities, static, interval)


def _in_time(cloud: PlyPoints, timed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, velocities and static of a file; without times velocities mean nothing."""
    n = len(cloud.positions)
    times = cloud.times if timed and cloud.times is not None else np.full(n, UNTIMED, np.float32)
    velocities = cloud.velocities if timed and cloud.velocities is not None else np.zeros((n, 3), np.float32)
    static = cloud.static if cloud.static is not None else np.zeros(n, bool)
    return times, np.where(static[:, None], np.float32(0), velocities), static


def _in_part(
    positions: Float[np.ndarray, "n 3"],
    times: Float[np.ndarray, " n"],
    velocities: Float[np.ndarray, "n 3"],
    static: Bool[np.ndarray, " n"],
    part: tuple[float, float],
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "m 3"], Float[np.ndarray, " m"], Float[np.ndarray, "m 3"]]:
    """Which points of a whole clip belong to its ``part``, and their positions, times and velocities in that clip.

    Static ones, and those whose instant is in the part or nearer to it than to the next instant of points outside:
    their velocity brings them to its first or last frame.
    """
    start, stop = part
    instants = np.unique(times[~static])
    reach = float(np.median(np.diff(instants))) / 2 if len(instants) > 1 else 1.0
    nearest = np.clip(times, start, stop)
    keep = static | (np.abs(times - nearest) <= reach + TIME_TOLERANCE)
    moved = positions + np.where(static, 0.0, nearest - times)[:, None] * velocities
    length = stop - start
    within = (nearest - start) / length if length > 0 else np.zeros(len(times))
    within = np.where(static, UNTIMED, within)
    return keep, moved[keep], *(column[keep].astype(np.float32) for column in (within, length * velocities))


def _triangulated(
    capture: Capture, cameras: Sequence[RecordedCamera], **options: Any
) -> tuple[InitialPoints | None, str]:
    """Triangulated points, or None and what is wrong with them. ``options`` are those of :func:`find_points`."""
    if len(cameras) < 2:
        return None, f"{capture.root} has a single training camera, whose frames cannot be triangulated"
    found = find_points(capture, cameras, **options)
    n, instants = len(found.merged.sightings.positions), len(found.key_frames.frames)
    source = f"{n} points triangulated from {len(cameras)} cameras at {instants} instants of {capture.root}"
    if n < FEWEST_POINTS:
        return None, "; ".join([f"only {source}", *found.notes])
    for note in found.notes:
        warn(note)
    cloud, interval = found.cloud, found.key_frames.key_interval
    source += f", {len(cloud.positions)} after joining the static ones ({int(cloud.static.sum())})"
    points = InitialPoints(
        cloud.positions, cloud.colors, cloud.times, True, source, cloud.velocities, cloud.static, interval
    )
    return points, ""


def _random(
    capture: Capture, cameras: Sequence[RecordedCamera], num_points: int, seed: int, because: str
) -> InitialPoints:
    if num_points < 1:
        raise UserError(f"--num-random-points is {num_points}; give at least 1")
    rng = np.random.default_rng(seed)
    positions, k = view_volume([c.camera for c in cameras], [c.poses for c in cameras]).sample(num_points, rng)
    times = clip_times(capture)[rng.integers(capture.num_frames, size=num_points)].astype(np.float32)
    colors = np.full((num_points, 3), GRAY, np.uint8)
    source = f"{because}{num_points} random points in the volume that at least {k} viewpoint(s) see"
    still, unknown = np.zeros(num_points, bool), np.zeros((num_points, 3), np.float32)
    interval = 1.0 / max(capture.num_frames - 1, 1)
    return InitialPoints(positions, colors, times, True, source, unknown, still, interval)
