"""Distances between the points of a cloud."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

LEAST_SQUARED_DISTANCE = 1e-7
"""Floor of 3DGS, in squared units of the training's world: coinciding points still become Gaussians of some size."""


def mean_neighbor_distance(
    positions: Float[np.ndarray, "n 3"], k: int = 3, least_squared: float = 0.0
) -> Float[np.ndarray, " n"]:
    """Root mean square distance of every point to its ``k`` nearest others, in world units.

    With fewer than k other points the mean is over those there are; a single point gets the floor, ``least_squared`` in squared
    units. Source: the initial scales of 3D Gaussian Splatting.
    """
    n = len(positions)
    if n < 2:
        return np.full(n, np.sqrt(least_squared))
    points = np.asarray(positions, np.float64)
    distances, _ = cKDTree(points).query(points, k=min(k + 1, n), workers=-1)
    # The smallest of the k + 1 distances is the point's own zero (or that of a point in the same place: also zero).
    squared = (distances[:, 1:] ** 2).mean(axis=1)
    return np.sqrt(np.maximum(squared, least_squared))
