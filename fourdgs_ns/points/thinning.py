"""Fewer points over time: what a later key frame adds to the earlier ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.spatial import cKDTree

from fourdgs_ns.geometry.neighbors import mean_neighbor_distance

KEPT_SHARE = 0.25
"""Share of every later frame's points that SpacetimeGaussian keeps."""
STATIC_DISTANCE = 0.25
"""How near an earlier point must be to stand for a later one, relative to the spacing of the later frame's points."""
STATIC_COLOR = 16
"""Largest difference in any of R, G, B between two sightings of one static point."""
CANDIDATES = 8


def thin_over_time(
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    times: Float[np.ndarray, " n"],
    rule: Literal["static", "sparse"] = "static",
    reach: Float[np.ndarray, " n"] | None = None,
) -> Bool[np.ndarray, " n"]:
    """Which points of a cloud over time to keep: all of the first frame, and of every later one

    * ``static``: those without a twin among the points kept from earlier frames, i.e. a point nearer than ``reach``
      (world units; None: a quarter of the local spacing, the mean distance to three neighbours in the same frame) and
      of the same colour. Static surfaces
      are found again in every frame and stay once; what moves or changes its colour stays.
    * ``sparse``: the 25 % with the largest distance to their nearest neighbour in the same frame, the rule of
      SpacetimeGaussian (``preprocesspoints`` 3).

    Points of one frame share exactly the same time.
    """
    keep = np.zeros(len(times), bool)
    for k, t in enumerate(np.unique(times)):
        ids = np.flatnonzero(times == t)
        if k == 0:
            keep[ids] = True
        elif rule == "sparse":
            # Stable, so that ties do not depend on the sorting algorithm.
            order = np.argsort(-mean_neighbor_distance(positions[ids], k=1), kind="stable")
            keep[ids[order[: int(KEPT_SHARE * len(ids))]]] = True
        else:
            near = STATIC_DISTANCE * mean_neighbor_distance(positions[ids]) if reach is None else reach[ids]
            earlier = np.flatnonzero(keep)
            found = twins(cKDTree(positions[earlier]), colors[earlier], positions[ids], colors[ids], near)
            keep[ids] = found < 0
    return keep


def twins(
    others: cKDTree,
    other_colors: UInt8[np.ndarray, "m 3"],
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    reach: Float[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """For each point the nearest of the ``others`` (a tree of their positions) within ``reach`` and of the same colour.

    -1 where there is none.
    """
    if others.n == 0 or len(positions) == 0:
        return np.full(len(positions), -1)
    distances, ids = others.query(positions, k=min(CANDIDATES, others.n), distance_upper_bound=reach.max() * 1.001)
    distances, ids = distances.reshape(len(positions), -1), ids.reshape(len(positions), -1)
    # The tree reports missing neighbours at infinite distance, with an index past the end.
    near = distances <= reach[:, None]
    known = other_colors[np.minimum(ids, others.n - 1)].astype(int)
    fits = near & (np.abs(known - colors[:, None].astype(int)).max(axis=2) <= STATIC_COLOR)
    first = fits.argmax(axis=1)
    return np.where(fits.any(axis=1), np.take_along_axis(ids, first[:, None], axis=1)[:, 0], -1)
