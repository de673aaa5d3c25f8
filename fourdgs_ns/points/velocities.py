"""Velocities of the points of a key frame: from the points of the next one, or from optical flow to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import cKDTree

from fourdgs_ns.geometry.neighbors import mean_neighbor_distance
from fourdgs_ns.points.flow import displacements
from fourdgs_ns.points.instants import PosedImage
from fourdgs_ns.points.matcher import TriangulatedPoints

VelocitySource = Literal["flow", "neighbors", "none"]

NEIGHBORS = 3
CANDIDATES = 12
"""Nearest points that are looked through for ``NEIGHBORS`` of the same colour."""
SAME_COLOR = 24
"""Largest difference in any of R, G, B between two sightings of one moving point, which may turn in the light."""
LARGEST_STEP, LARGEST_SPREAD = 3.0, 2.0
"""Largest displacement, and largest distance between the displacements to the neighbours, in local spacings."""
FLOW_SECONDS = 1 / 15
"""Flow is measured this far before and after a key frame, rounded to whole frames: shorter is noisier, longer loses what
is fast. Of 1, 2 and 3 frames at 30 frames per second two gave the most right velocities."""


def neighbor_velocities(
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    next_positions: Float[np.ndarray, "m 3"],
    next_colors: UInt8[np.ndarray, "m 3"],
    interval: float,
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Velocity of each point towards another key frame, and where it is known.

    The median of the displacements to the 3 nearest points of the same colour, divided by ``interval`` (in units of t,
    negative for an earlier key frame). Unknown, and zero, where that is beyond 3 times the local spacing, where the
    displacements differ too much, or where the way back from the nearest point does not lead home. Things that move
    farther than their points are apart are thus left out, or wrong where their texture repeats.

    Source: FreeTimeGS, section on initialisation; the thresholds are those of FreeTimeGS++ where it says any.
    """
    n, m = len(positions), len(next_positions)
    if n < 2 or m < NEIGHBORS or interval == 0:
        return np.zeros((n, 3), np.float32), np.zeros(n, bool)
    here, there = np.asarray(positions, np.float64), np.asarray(next_positions, np.float64)
    spacing = mean_neighbor_distance(here)
    targets = _nearest_of_color(here, colors, there, next_colors)
    found = targets >= 0
    steps = np.where(found[:, :, None], there[targets] - here[:, None], np.nan)
    known = found.all(axis=1)
    step = np.zeros((n, 3))
    step[known] = np.median(steps[known], axis=1)
    spread = np.full(n, np.inf)
    spread[known] = np.linalg.norm(steps[known] - step[known, None], axis=2).max(axis=1)
    known &= (np.linalg.norm(step, axis=1) <= LARGEST_STEP * spacing) & (spread <= LARGEST_SPREAD * spacing)
    back = _nearest_of_color(there, next_colors, here, colors)[targets[:, 0]]
    home = np.linalg.norm(here[back] - here[:, None], axis=2) <= spacing[:, None]
    known &= ((back >= 0) & home).any(axis=1)
    return np.where(known[:, None], step / interval, 0.0).astype(np.float32), known


def _nearest_of_color(
    positions: np.ndarray, colors: np.ndarray, others: np.ndarray, other_colors: np.ndarray
) -> np.ndarray:
    """Indices [n, 3] of the nearest others of the same colour, -1 where there are fewer."""
    k = min(CANDIDATES, len(others))
    _, ids = cKDTree(others).query(positions, k=k, workers=-1)
    ids = ids.reshape(len(positions), k)
    same = np.abs(other_colors[ids].astype(int) - colors[:, None].astype(int)).max(axis=2) <= SAME_COLOR
    # Stable: of those of the same colour the nearest come first.
    order = np.argsort(~same, axis=1, kind="stable")[:, :NEIGHBORS]
    chosen = np.where(np.take_along_axis(same, order, axis=1), np.take_along_axis(ids, order, axis=1), -1)
    missing = NEIGHBORS - chosen.shape[1]
    return np.pad(chosen, ((0, 0), (0, missing)), constant_values=-1) if missing > 0 else chosen


def flow_frames(frame: int, times_seconds: Float[np.ndarray, " f"]) -> tuple[int, int]:
    """The frames before and after ``frame`` to which flow is measured; ``frame`` itself where the clip ends."""
    seconds = np.diff(times_seconds)
    gap = 1 if len(seconds) == 0 else max(1, round(FLOW_SECONDS / max(float(np.median(seconds)), 1e-9)))
    return max(frame - gap, 0), min(frame + gap, len(times_seconds) - 1)


def flow_velocities(
    points: TriangulatedPoints,
    images: Sequence[PosedImage],
    before: tuple[Mapping[str, PosedImage], float],
    after: tuple[Mapping[str, PosedImage], float],
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Velocity of each point in world units per unit of t, and where it is known (elsewhere zero).

    ``before`` and ``after``: images of neighbouring frames and how far from the key frame they are in units of t, both
    at least 0. The slope between both where flow is known to both, which cancels what acceleration adds to each; else
    the one there is.
    """
    n = len(points.positions)
    total, span, known = np.zeros((n, 3)), np.zeros(n), np.zeros(n, bool)
    for (neighbors, interval), sign in ((before, -1.0), (after, 1.0)):
        if interval > 0 and n > 0:
            step, sure = displacements(points.positions, points.seen_by, images, neighbors)
            total += sign * step
            span += np.where(sure, interval, 0.0)
            known |= sure
    return np.where(known[:, None], total / np.where(known, span, 1.0)[:, None], 0.0).astype(np.float32), known
