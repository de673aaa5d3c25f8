"""What every matcher of cameras offers: the images of one instant in, points with the cameras that see them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fourdgs_ns.points.instants import PosedImage


@dataclass(frozen=True, eq=False)
class TriangulatedPoints:
    """Points of one instant."""

    positions: Float[np.ndarray, "n 3"]
    """World coordinates of the poses."""
    colors: UInt8[np.ndarray, "n 3"]
    """RGB, mean over the observations."""
    seen_by: Bool[np.ndarray, "n c"]
    """Which of the c images each point was observed in."""
    errors: Float[np.ndarray, " n"]
    """Root mean square reprojection error in pixels of the matched images."""

    def take(self, keep: np.ndarray) -> TriangulatedPoints:
        """The points selected by an index array or a mask."""
        return TriangulatedPoints(self.positions[keep], self.colors[keep], self.seen_by[keep], self.errors[keep])


@runtime_checkable
class Matcher(Protocol):
    """Finds the points of one instant."""

    def facts(self) -> dict:
        """Everything about the matcher that decides the points, as JSON: part of the key of cached results."""

    def points(self, images: Sequence[PosedImage]) -> TriangulatedPoints:
        """Points that are consistent between ``images``, world coordinates of their poses.

        Filtered by reprojection error, by lying in front of the cameras, and by parallax. None for images without
        matches.
        """


def no_points(num_images: int) -> TriangulatedPoints:
    """The result of an instant in which nothing matched."""
    return TriangulatedPoints(
        np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros((0, num_images), bool), np.zeros(0)
    )


def subsample(points: TriangulatedPoints, max_points: int | None) -> TriangulatedPoints:
    """At most ``max_points`` of the points, sampled without replacement; the same ones at every call."""
    if max_points is None or len(points.positions) <= max_points:
        return points
    chosen = np.random.default_rng(0).choice(len(points.positions), max_points, replace=False)
    return points.take(np.sort(chosen))
