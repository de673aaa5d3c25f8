"""The matcher ``dense``: depth maps of all cameras, of which the places that several agree on become points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from jaxtyping import Float

from fourdgs_ns.common.cores import workers
from fourdgs_ns.geometry.view_volume import attention_point, depth_limits
from fourdgs_ns.points import depth_maps
from fourdgs_ns.points.depth_maps import DepthMap, GrayView, depth_map
from fourdgs_ns.points.flow import project
from fourdgs_ns.points.instants import SILHOUETTE_MARGIN, PosedImage
from fourdgs_ns.points.matcher import TriangulatedPoints, no_points

DEFAULT_MAX_POINTS = 30_000
MOST_WORKERS = 4
"""Depth maps computed at once: each takes up to half a GB."""


@dataclass(frozen=True)
class DenseOptions:
    """Thresholds; pixels are those of the images as they are matched."""

    neighbors: int = 4
    """Cameras that each one is compared with."""
    least_angle_degrees: float = 1.5
    """Neighbours at least this far apart, as seen from the scene: less leaves depth open."""
    largest_angle_degrees: float = 60.0
    """Neighbours farther apart see different sides of things."""
    least_score: float = 0.6
    """Correlation with the neighbours, from 0 to 1."""
    max_error: float = 1.0
    """Largest reprojection error in pixels of an observation."""
    depth_tolerance: float = 0.01
    """Largest relative difference of the depths that two cameras say."""
    small_rig: int = 3
    """Up to this many cameras two that agree are enough, beyond it takes three."""


DEFAULT_OPTIONS = DenseOptions()


class DenseMatcher:
    """Many points on all textured surfaces, those without corners as well; no weights, no network, no GPU."""

    def __init__(self, max_points: int | None = None) -> None:
        self.max_points = DEFAULT_MAX_POINTS if max_points is None else max_points

    def facts(self) -> dict:
        sides = [depth_maps.SMALL_SIDE, depth_maps.SWEEP_SIDE, depth_maps.FULL_SIDE, depth_maps.WINDOW]
        return {
            "matcher": "dense",
            "constants": [*sides, SILHOUETTE_MARGIN],
            "max_points": self.max_points,
            **asdict(DEFAULT_OPTIONS),
        }

    def points(self, images: Sequence[PosedImage]) -> TriangulatedPoints:
        if len(images) < 2:
            return no_points(len(images))
        poses = np.stack([image.camera.world_from_camera for image in images])
        groups = nearest_cameras(poses, DEFAULT_OPTIONS)
        near, far = depth_limits(poses)
        views = [_gray(image) for image in images]

        def work(r: int) -> DepthMap | None:
            return depth_map(views[r], [views[c] for c in groups[r]], near[r], far[r]) if groups[r] else None

        with workers(min(len(images), MOST_WORKERS)) as pool:
            maps = list(pool.map(work, range(len(images))))
        return fuse(images, maps, groups, self.max_points)


def _gray(image: PosedImage) -> GrayView:
    gray = cv2.cvtColor(image.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return GrayView(gray, image.camera)


def nearest_cameras(world_from_camera: Float[np.ndarray, "c 4 4"], options: DenseOptions) -> list[list[int]]:
    """For each camera the others that see the scene from almost the same side and distance, nearest first."""
    centres, axes = world_from_camera[:, :3, 3], world_from_camera[:, :3, 2]
    to_scene = attention_point(world_from_camera) - centres
    distance = np.maximum(np.linalg.norm(to_scene, axis=1), 1e-9)
    sides = to_scene / distance[:, None]
    angle = np.degrees(np.arccos(np.clip(sides @ sides.T, -1.0, 1.0)))
    turned = np.degrees(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))
    apart = np.degrees(np.linalg.norm(centres[:, None] - centres[None], axis=-1) / distance[:, None])
    # Parallel cameras see the scene from the same side, however far they stand apart.
    parallax = np.maximum(angle, np.minimum(apart, 90.0))
    good = (parallax >= options.least_angle_degrees) & (np.maximum(parallax, turned) <= options.largest_angle_degrees)
    cost = np.where(good, parallax + turned + np.abs(np.degrees(np.log(distance[:, None] / distance[None]))), np.inf)
    order = np.argsort(cost, axis=1, kind="stable")[:, : options.neighbors]
    return [[int(c) for c in row if np.isfinite(cost[r, c])] for r, row in enumerate(order)]


def fuse(
    images: Sequence[PosedImage],
    maps: Sequence[DepthMap | None],
    groups: Sequence[Sequence[int]],
    max_points: int,
) -> TriangulatedPoints:
    """Points that enough depth maps agree on, each once, at most ``max_points``.

    The pixels that are looked at, and which of their points stay, are the same at every instant: a static scene gives
    the same points again.
    """
    pixels_in_all = sum(m.depth.size for m in maps if m is not None)
    stride = max(1, int(np.sqrt(pixels_in_all / (4 * max_points))))
    needed = 2 if len(images) <= DEFAULT_OPTIONS.small_rig else 3
    linked = [set(group) for group in groups]
    for r, group in enumerate(groups):
        for c in group:
            linked[c].add(r)
    used = [
        None if m is None else np.zeros((m.depth.shape[0] // stride + 1, m.depth.shape[1] // stride + 1), bool)
        for m in maps
    ]
    found = []
    for r, own in enumerate(maps):
        if own is None:
            continue
        part = _agreed(r, images, maps, sorted(linked[r]), stride, used, needed)
        found.append(part)
    if not found:
        return no_points(len(images))
    positions, colors, seen_by, errors, priority = (np.concatenate(column) for column in zip(*found))
    points = TriangulatedPoints(positions, colors, seen_by, errors)
    return points if len(positions) <= max_points else points.take(np.sort(np.argsort(priority)[:max_points]))


def _agreed(r, images, maps, others, stride, used, needed):  # type: ignore[no-untyped-def]
    """Positions, colours, seen_by, errors and priority of the points that camera ``r`` adds."""
    own, options = maps[r], DEFAULT_OPTIONS
    h, w = own.depth.shape
    y, x = (a.reshape(-1) for a in np.mgrid[stride // 2 : h : stride, stride // 2 : w : stride])
    keep = (own.score[y, x] >= options.least_score) & ~used[r][y // stride, x // stride]
    if images[r].keep is not None:
        mask = cv2.resize(images[r].keep.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) > 0
        keep &= mask[y, x]
    priority = np.random.default_rng(r).random(len(y))[keep]
    y, x = y[keep], x[keep]
    pixels = np.stack([x, y], axis=1) + 0.5
    mine = _lift(own.view, pixels, own.depth[y, x])
    total, count = mine.copy(), np.ones(len(mine))
    targets, valid = np.zeros((len(mine), len(images), 2)), np.zeros((len(mine), len(images)), bool)
    targets[:, r], valid[:, r] = pixels, True
    for c in others:
        other = maps[c]
        if other is None:
            continue
        uvz = project(other.view.camera.projection, mine)
        oh, ow = other.depth.shape
        column, row = np.floor(uvz[:, 0]).astype(int), np.floor(uvz[:, 1]).astype(int)
        inside = (uvz[:, 2] > 0) & (column >= 0) & (row >= 0) & (column < ow) & (row < oh)
        column, row = np.where(inside, column, 0), np.where(inside, row, 0)
        depth = other.depth[row, column]
        agree = inside & (np.abs(depth - uvz[:, 2]) <= options.depth_tolerance * uvz[:, 2])
        agree &= other.score[row, column] >= options.least_score
        theirs = _lift(other.view, uvz[:, :2], depth)
        total[agree] += theirs[agree]
        count[agree] += 1
        targets[:, c], valid[:, c] = uvz[:, :2], agree
    positions = total / count[:, None]
    squared = np.zeros(valid.shape)
    for c in (r, *others):
        if maps[c] is not None:
            squared[:, c] = ((project(maps[c].view.camera.projection, positions)[:, :2] - targets[:, c]) ** 2).sum(
                axis=1
            )
    squared *= valid
    good = (count >= needed) & (squared.max(axis=1) <= options.max_error**2)
    for c in others:
        if maps[c] is not None:
            hit = good & valid[:, c]
            cells = np.floor(targets[hit, c]).astype(int) // stride
            used[c][cells[:, 1], cells[:, 0]] = True
    ratio = images[r].image.shape[1] / w
    sharp = cv2.GaussianBlur(images[r].image, (0, 0), 0.7 * ratio)
    ih, iw = sharp.shape[:2]
    rows = np.minimum((pixels[:, 1] * ratio).astype(int), ih - 1)
    columns = np.minimum((pixels[:, 0] * ratio).astype(int), iw - 1)
    errors = np.sqrt(squared.sum(axis=1) / valid.sum(axis=1))
    return positions[good], sharp[rows, columns][good], valid[good], errors[good], priority[good]


def _lift(view: GrayView, pixels: Float[np.ndarray, "n 2"], depth: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """World points of pixels at depths."""
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(view.camera.intrinsics).T
    return (rays * depth[:, None]) @ view.camera.world_from_camera[:3, :3].T + view.camera.center
