"""The matcher ``sift``: features compared along known epipolar lines, joined to tracks over all cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from fourdgs_ns.common.cores import workers
from fourdgs_ns.points.epipolar_matching import CONTRAST_THRESHOLD, extract_features
from fourdgs_ns.points.features import MAX_FEATURES
from fourdgs_ns.points.instants import SILHOUETTE_MARGIN, PosedImage
from fourdgs_ns.points.matcher import TriangulatedPoints, subsample
from fourdgs_ns.points.triangulate import DEFAULT_OPTIONS, triangulate


class SiftMatcher:
    """Few, exact points; needs texture, and cameras that differ by less than about 40 degrees."""

    def __init__(self, max_points: int | None = None) -> None:
        self.max_points = max_points

    def facts(self) -> dict:
        return {
            "matcher": "sift",
            "constants": [MAX_FEATURES, CONTRAST_THRESHOLD, SILHOUETTE_MARGIN],
            "max_points": self.max_points,
            **asdict(DEFAULT_OPTIONS),
        }

    def points(self, images: Sequence[PosedImage]) -> TriangulatedPoints:
        with workers(len(images)) as pool:
            features = list(pool.map(lambda i: extract_features(i.image, i.camera, i.keep), images))
        return subsample(triangulate(features), self.max_points)
