"""Which points of a cloud over time are static: those that are found again and again in the same place and colour."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import cKDTree

from fourdgs_ns.geometry.neighbors import mean_neighbor_distance
from fourdgs_ns.points.thinning import thin_over_time, twins

STATIC_PIXELS = 2.0
"""How near its twins a static point must be, in pixels as the cameras see it: points are found to about one."""
STATIC_SPACINGS = 1.0
"""And relative to the spacing of the points of its key frame: among closer ones another may pass for a twin."""
STATIC_SHARE = 1 / 3
"""Share of the other key frames that must hold a twin. Features of static points are found again about every other time."""
MOST_COMPARED = 10
"""Key frames that each one is compared with, spread over the clip."""


def find_static(
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    times: Float[np.ndarray, " n"],
    velocities: Float[np.ndarray, "n 3"],
    footprints: Float[np.ndarray, " n"],
    key_interval: float,
) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Which points are static, and where: the mean of a point and its twins, which is less noisy than either.

    A point is static when at least a third of the other key frames hold a twin, that is a point of the same colour within
    two pixels and the local spacing, and when its velocity (world units per unit of t) would not take it farther than
    that by the next key frame. ``footprints``: size of a pixel at each point, in world units. With a single key frame
    only the velocity counts, and what has none is static. Points of one key frame share exactly the same time.
    """
    means = np.array(positions, np.float64)
    instants = np.unique(times)
    static = np.zeros(len(times), bool)
    members = [np.flatnonzero(times == t) for t in instants]
    trees = [cKDTree(positions[ids]) for ids in members]
    for k, ids in enumerate(members):
        others = np.array([j for j in range(len(instants)) if j != k])
        if len(others) > MOST_COMPARED:
            others = others[np.unique(np.linspace(0, len(others) - 1, MOST_COMPARED).round().astype(int))]
        reach = static_reach(positions[ids], footprints[ids])
        found, total = np.zeros(len(ids), int), means[ids].copy()
        for j in others:
            twin = twins(trees[j], colors[members[j]], positions[ids], colors[ids], reach)
            there = twin >= 0
            found += there
            total[there] += positions[members[j][twin[there]]]
        slow = np.linalg.norm(velocities[ids], axis=1) * key_interval <= reach
        static[ids] = slow & (found >= np.ceil(STATIC_SHARE * len(others)))
        means[ids] = total / (found + 1)[:, None]
    return static, means


def static_reach(positions: Float[np.ndarray, "n 3"], footprints: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How far from each point of one key frame its twins may be, in world units."""
    return np.minimum(STATIC_PIXELS * footprints, STATIC_SPACINGS * mean_neighbor_distance(positions))


def keep_once(
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    times: Float[np.ndarray, " n"],
    static: Bool[np.ndarray, " n"],
    footprints: Float[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """All points that move, and of the ``static`` ones those that no earlier key frame holds already."""
    keep = ~static
    ids = np.flatnonzero(static)
    keep[ids] = thin_over_time(positions[ids], colors[ids], times[ids], "static", STATIC_PIXELS * footprints[ids])
    return keep
