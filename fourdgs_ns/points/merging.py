"""One cloud over time from key frames: static points are kept once, moving ones at every instant with its velocity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fourdgs_ns.points.key_frames import KeyFrame, KeyFrames
from fourdgs_ns.points.persistence import find_static, keep_once
from fourdgs_ns.points.ply import write_points_ply
from fourdgs_ns.points.velocities import VelocitySource, neighbor_velocities

MID_CLIP = 0.5
"""t of static points."""


@dataclass(frozen=True, eq=False)
class CloudOverTime:
    """Points of a whole clip, each with its time."""

    positions: Float[np.ndarray, "n 3"]
    """The capture's world."""
    colors: UInt8[np.ndarray, "n 3"]
    times: Float[np.ndarray, " n"]
    """t of the key frame, 0.5 for static points; float32."""
    velocities: Float[np.ndarray, "n 3"]
    """World units per unit of t, float32; zero where unknown."""
    static: Bool[np.ndarray, " n"]
    """Recognised as not moving."""


@dataclass(frozen=True)
class KeyFrameSummary:
    """One line of the report."""

    frame: int
    """Index of the instant."""
    points: int
    error_pixels: float
    """Median reprojection error; NaN without points."""
    static: float
    """Share of the points that are static; NaN without points."""
    known: float
    """Share of the other points whose velocity is known; NaN without such points."""


@dataclass(frozen=True, eq=False)
class Merged:
    """The cloud over time, and what the report says about it."""

    cloud: CloudOverTime
    sightings: CloudOverTime
    """The points of all key frames, each at its own time, before static ones were joined."""
    summaries: tuple[KeyFrameSummary, ...]
    lonely_cameras: tuple[int, ...]
    """Positions among the training cameras of those that see no point."""


def merge_key_frames(found: KeyFrames, velocities: VelocitySource = "flow") -> Merged:
    """Join the key frames, and write one PLY each and ``points.ply`` beside what is kept of them.

    Static points (:func:`find_static`) are kept once, with zero velocity, in the middle of the clip. ``neighbors``
    takes velocities from the next key frame's points (the last one looks back); ``flow`` does so only where there were
    no neighbouring frames to follow the flow to.
    """
    clouds, count = found.clouds, len(found.clouds)
    sizes = [len(cloud.positions) for cloud in clouds]
    speeds, known = [], []
    for k, cloud in enumerate(clouds):
        if velocities == "neighbors" or (velocities == "flow" and not cloud.flow):
            v, sure = _towards_neighbor(found, k)
        else:
            v, sure = cloud.velocities, cloud.known
        speeds.append(v)
        known.append(sure)
    times = np.repeat(found.times, sizes).astype(np.float32)
    positions, colors = _joined(clouds, "positions"), _joined(clouds, "colors")
    moved = np.concatenate(speeds).astype(np.float32)
    footprints = _joined(clouds, "footprints")
    static, means = find_static(positions, colors, times, moved, footprints, found.key_interval)
    moved[static] = 0.0
    positions = np.where(static[:, None], means, positions)
    keep = keep_once(positions, colors, times, static, footprints)
    merged_times = np.where(static, np.float32(MID_CLIP), times)
    merged = CloudOverTime(positions[keep], colors[keep], merged_times[keep], moved[keep], static[keep])
    summaries = []
    for k, (start, end) in enumerate(zip(np.cumsum([0, *sizes[:-1]]), np.cumsum(sizes))):
        part = slice(start, end)
        file = found.directory / f"key-frame-{found.frames[k]:06d}.ply"
        write_points_ply(file, positions[part], colors[part], times[part], moved[part], static[part])
        summaries.append(_summary(found.frames[k], clouds[k], static[part], known[k]))
    write_points_ply(
        found.directory / "points.ply", merged.positions, merged.colors, merged.times, merged.velocities, merged.static
    )
    seen = np.sum([c.observations for c in clouds], axis=0) if count else np.zeros(0, int)
    sightings = CloudOverTime(positions, colors, times, moved, static)
    return Merged(merged, sightings, tuple(summaries), tuple(int(c) for c in np.flatnonzero(seen == 0)))


def _towards_neighbor(found: KeyFrames, k: int) -> tuple[np.ndarray, np.ndarray]:
    own = found.clouds[k]
    if len(found.clouds) < 2:
        return own.velocities, own.known
    j = k + 1 if k + 1 < len(found.clouds) else k - 1
    other = found.clouds[j]
    interval = float(found.times[j] - found.times[k])
    return neighbor_velocities(own.positions, own.colors, other.positions, other.colors, interval)


def _joined(clouds: Sequence[KeyFrame], name: str) -> np.ndarray:
    return np.concatenate([getattr(cloud, name) for cloud in clouds])


def _summary(frame: int, cloud: KeyFrame, static: np.ndarray, known: np.ndarray) -> KeyFrameSummary:
    n = len(static)
    return KeyFrameSummary(
        frame,
        n,
        float(np.median(cloud.errors)) if n else float("nan"),
        float(static.mean()) if n else float("nan"),
        float(known[~static].mean()) if n and not static.all() else float("nan"),
    )
