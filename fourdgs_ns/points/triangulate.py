"""Points of one instant, triangulated from features of several cameras whose poses are known."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numba import njit
from scipy.sparse import coo_array

from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.geometry.view_volume import attention_point
from fourdgs_ns.points.epipolar_matching import PosedFeatures, match_pair
from fourdgs_ns.points.matcher import TriangulatedPoints, no_points


@dataclass(frozen=True)
class TriangulationOptions:
    """Thresholds of a triangulation; pixels are those of the images that the features come from."""

    band: float = 2.0
    """Matches lie at most this many pixels from each other's epipolar lines."""
    ratio: float = 0.9
    """Best descriptor distance on the epipolar line relative to the second best."""
    max_distance: float = 0.7
    """Largest descriptor distance of a match (unit vectors: 0 to sqrt 2)."""
    max_error: float = 2.0
    """Largest reprojection error in pixels of an observation."""
    min_angle_degrees: float = 1.5
    """Least angle between the two most different rays to a point; less leaves its depth open."""
    max_pair_angle_degrees: float = 105.0
    """Cameras whose optical axes differ more are not compared: SIFT finds nothing true there."""
    small_rig: int = 6
    """Up to this many cameras two views are enough for a point."""
    exhaustive_cameras: int = 40
    """Up to this many cameras all pairs are compared; beyond, each with its ``neighbors`` nearest poses."""
    neighbors: int = 16


DEFAULT_OPTIONS = TriangulationOptions()


def triangulate(images: Sequence[PosedFeatures]) -> TriangulatedPoints:
    """Points confirmed by enough matches, refined to least reprojection error.

    Chance finds a partner on an epipolar line, and among many cameras even a third view of it, but hardly ever a loop
    of matches. So the matches among a point's v views must weigh v together (a chain has only v - 1 of them), where a
    match weighs as many times as its descriptor is nearer than the next best, at most 2. Two views thus need a match
    twice as good as any other on the line; and rigs of more than six cameras need three views, because among hundreds
    of pairs such matches come about by chance.
    """
    if len(images) < 2:
        return no_points(len(images))
    options = DEFAULT_OPTIONS
    pairs = camera_pairs(np.stack([image.camera.world_from_camera for image in images]), options)
    with ThreadPoolExecutor(available_cores()) as pool:
        matches = list(
            pool.map(
                lambda pair: match_pair(
                    images[pair[0]],
                    images[pair[1]],
                    band=options.band,
                    ratio=options.ratio,
                    max_distance=options.max_distance,
                ),
                pairs,
            )
        )
    return _points_of_matches(images, pairs, matches, options)


def camera_pairs(world_from_camera: Float[np.ndarray, "c 4 4"], options: TriangulationOptions) -> list[tuple[int, int]]:
    """Pairs of cameras (smaller index first) that look the same way closely enough to be matched."""
    axes, centres = world_from_camera[:, :3, 2], world_from_camera[:, :3, 3]
    angle = np.degrees(np.arccos(np.clip(axes @ axes.T, -1.0, 1.0)))
    allowed = angle <= options.max_pair_angle_degrees
    if len(axes) > options.exhaustive_cameras:
        to_scene = np.linalg.norm(centres - attention_point(world_from_camera), axis=1).mean()
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1) / max(to_scene, 1e-12)
        # Difference in viewing direction and in place, both in radians as seen from the scene.
        rank = np.argsort(np.argsort(np.radians(angle) + apart, axis=1), axis=1)
        near = rank <= options.neighbors
        allowed &= near | near.T
    return [(int(a), int(b)) for a, b in zip(*np.nonzero(np.triu(allowed, 1)))]


def _points_of_matches(
    images: Sequence[PosedFeatures],
    pairs: Sequence[tuple[int, int]],
    matches: Sequence[tuple[Int[np.ndarray, "_m 2"], Float[np.ndarray, " _m"]]],
    options: TriangulationOptions,
) -> TriangulatedPoints:
    # One blob can carry several features (orientations): what is triangulated are places in images.
    kept, place_of, first = [], [], 0
    for image in images:
        _, keep, inverse = np.unique(image.pixels, axis=0, return_index=True, return_inverse=True)
        kept.append(keep)
        place_of.append(first + inverse.reshape(-1))
        first += len(keep)
    joined = [np.stack([place_of[a][m[:, 0]], place_of[b][m[:, 1]]], axis=1) for (a, b), (m, _) in zip(pairs, matches)]
    weight = [np.clip(1 / np.maximum(ambiguity, 0.5), 1.0, 2.0) for _, ambiguity in matches]
    edges, edge_of = np.unique(np.concatenate([np.zeros((0, 2), int), *joined]), axis=0, return_inverse=True)
    weights = np.zeros(len(edges))
    np.maximum.at(weights, edge_of.reshape(-1), np.concatenate([np.zeros(0), *weight]))
    graph = coo_array((weights, (edges[:, 0], edges[:, 1])), shape=(first, first)).tocsr()
    graph = (graph + graph.T).tocsr()
    starts, neighbors = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)
    camera_of = np.repeat(np.arange(len(images)), [len(keep) for keep in kept])
    views = (
        camera_of,
        np.concatenate([image.pixels[keep] for image, keep in zip(images, kept)]),
        np.concatenate([image.rays[keep] for image, keep in zip(images, kept)]),
        np.stack([image.camera.projection for image in images]),
        np.stack([image.camera.center for image in images]),
    )
    limit, max_cos, min_views = (
        options.max_error**2,
        np.cos(np.radians(options.min_angle_degrees)),
        2 if len(images) <= options.small_rig else 3,
    )
    # Every match is a hypothesis of a point; the best confirmed ones come first.
    hypotheses, support = _judge(edges, starts, neighbors, *views, limit, max_cos, np.ones(first, bool))
    order = np.argsort(-support, kind="stable")[: np.count_nonzero(support >= min_views)]
    owner, positions, errors = _settle(
        edges[order],
        hypotheses[order],
        starts,
        neighbors,
        graph.data,
        *views,
        limit,
        max_cos,
        min_views,
        np.ones(first, bool),
    )
    seen, n = owner >= 0, len(positions)
    colors = np.concatenate([image.colors[keep] for image, keep in zip(images, kept)])[seen].astype(np.float64)
    num_views = np.bincount(owner[seen], minlength=n)
    sums = np.stack([np.bincount(owner[seen], colors[:, k], minlength=n) for k in range(3)], axis=1)
    mean = sums / np.maximum(num_views, 1)[:, None]
    seen_by = np.zeros((n, len(images)), bool)
    seen_by[owner[seen], camera_of[seen]] = True
    return TriangulatedPoints(positions, np.rint(mean).astype(np.uint8), seen_by, errors)


@njit(nogil=True, cache=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(nogil=True, cache=True)
def _solve(a, b):  # type: ignore[no-untyped-def]
    """Solution of the symmetric 3x3 system by cofactors: LAPACK costs more to call, and much more to compile."""
    scale = a[0, 0] + a[1, 1] + a[2, 2] + 1e-300
    a00, a01, a02 = a[0, 0] / scale + 1e-12, a[0, 1] / scale, a[0, 2] / scale
    a11, a12, a22 = a[1, 1] / scale + 1e-12, a[1, 2] / scale, a[2, 2] / scale + 1e-12
    c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
    c11, c12, c22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
    determinant = (a00 * c00 + a01 * c01 + a02 * c02) * scale
    x = np.empty(3)
    x[0] = (c00 * b[0] + c01 * b[1] + c02 * b[2]) / determinant
    x[1] = (c01 * b[0] + c11 * b[1] + c12 * b[2]) / determinant
    x[2] = (c02 * b[0] + c12 * b[1] + c22 * b[2]) / determinant
    return x


@njit(nogil=True, cache=True)
def _closest_to_rays(ids, centres, rays, camera_of):  # type: ignore[no-untyped-def]
    """The point with the least sum of squared distances to the rays ``ids``."""
    a, b = np.zeros((3, 3)), np.zeros(3)
    origin = centres[camera_of[ids[0]]]  # the world's may be far away
    for i in ids:
        c, d = centres[camera_of[i]] - origin, rays[i]
        for p in range(3):
            for q in range(3):
                m = (1.0 if p == q else 0.0) - d[p] * d[q]
                a[p, q] += m
                b[p] += m * c[q]
    return origin + _solve(a, b)


@njit(nogil=True, cache=True)
def _squared_error(point, pixel, projection):  # type: ignore[no-untyped-def]
    """Squared reprojection error in pixels, infinite behind the camera."""
    x, y, z = projection[0, 3], projection[1, 3], projection[2, 3]
    for k in range(3):
        x += projection[0, k] * point[k]
        y += projection[1, k] * point[k]
        z += projection[2, k] * point[k]
    if z <= 0:
        return np.inf
    return (x / z - pixel[0]) ** 2 + (y / z - pixel[1]) ** 2


@njit(nogil=True, cache=True)
def _refine(point, ids, pixels, camera_of, projections):  # type: ignore[no-untyped-def]
    """Gauss-Newton on the reprojection errors, started at ``point``."""
    point = point.copy()
    for _ in range(4):
        a, b = np.zeros((3, 3)), np.zeros(3)
        for i in ids:
            p = projections[camera_of[i]]
            x, y, z = p[0, 3], p[1, 3], p[2, 3]
            for k in range(3):
                x += p[0, k] * point[k]
                y += p[1, k] * point[k]
                z += p[2, k] * point[k]
            if z <= 0:
                return point
            u, v = x / z, y / z
            du, dv = np.empty(3), np.empty(3)
            for k in range(3):
                du[k] = (p[0, k] - u * p[2, k]) / z
                dv[k] = (p[1, k] - v * p[2, k]) / z
            for k in range(3):
                b[k] += du[k] * (pixels[i, 0] - u) + dv[k] * (pixels[i, 1] - v)
                for m in range(3):
                    a[k, m] += du[k] * du[m] + dv[k] * dv[m]
        step = _solve(a, b)
        for k in range(3):
            point[k] += step[k]
    return point


@njit(nogil=True, cache=True)
def _supporters(  # type: ignore[no-untyped-def]
    point, seeds, starts, neighbors, free, pixels, camera_of, projections, limit, chosen, best
):
    """Free places among ``seeds`` and what they are matched with, within ``limit`` squared pixels of ``point``.

    The best one of each camera. ``chosen`` and ``best`` are scratch space, one entry per camera.
    """
    for c in range(len(chosen)):
        chosen[c], best[c] = -1, limit
    for s in seeds:
        for k in range(starts[s] - 1, starts[s + 1]):
            i = s if k < starts[s] else neighbors[k]
            if free[i]:
                error = _squared_error(point, pixels[i], projections[camera_of[i]])
                if error <= best[camera_of[i]]:
                    best[camera_of[i]], chosen[camera_of[i]] = error, i
    found = np.empty(len(chosen), np.int64)
    n = 0
    for i in chosen:
        if i >= 0:
            found[n] = i
            n += 1
    return found[:n]


@njit(nogil=True, cache=True)
def _confirmations(places, starts, neighbors, weights):  # type: ignore[no-untyped-def]
    """Sum of the weights of the matches among ``places``."""
    total = 1e-9  # so that rounding does not decide
    for i in places:
        for k in range(starts[i], starts[i + 1]):
            for j in places:
                if neighbors[k] == j and i < j:
                    total += weights[k]
    return total


@njit(nogil=True, cache=True)
def _judge(edges, starts, neighbors, camera_of, pixels, rays, projections, centres, limit, max_cos, free):  # type: ignore[no-untyped-def]
    """For each match the intersection of its two rays, and how many cameras agree with it among what its ends match."""
    chosen, best = np.empty(len(projections), np.int64), np.empty(len(projections))
    support = np.zeros(len(edges), np.int64)
    points = np.zeros((len(edges), 3))
    for e in range(len(edges)):
        ends = edges[e]
        if _dot(rays[ends[0]], rays[ends[1]]) <= max_cos:
            point = _closest_to_rays(ends, centres, rays, camera_of)
            for k in range(3):
                points[e, k] = point[k]
            support[e] = len(
                _supporters(point, ends, starts, neighbors, free, pixels, camera_of, projections, limit, chosen, best)
            )
    return points, support


@njit(nogil=True, cache=True)
def _settle(  # type: ignore[no-untyped-def]
    edges,
    hypotheses,
    starts,
    neighbors,
    weights,
    camera_of,
    pixels,
    rays,
    projections,
    centres,
    limit,
    max_cos,
    min_views,
    free,
):
    """Points from hypotheses, best one first: (point of each place or -1, points, rms errors in pixels).

    A point takes its places away from the hypotheses after it (``free`` is overwritten), so that a false match, which
    could join the tracks of many points into one, takes nothing from the points on either side.
    """
    chosen, best = np.empty(len(projections), np.int64), np.empty(len(projections))
    owner = np.full(len(camera_of), -1)
    points, errors = np.empty((len(edges), 3)), np.empty(len(edges))
    n = 0
    for e in range(len(edges)):
        if not (free[edges[e, 0]] and free[edges[e, 1]]):
            continue
        point, found = hypotheses[e], edges[e]
        for _ in range(2):  # the second round reaches the matches of everything that the first one found
            found = _supporters(
                point, found, starts, neighbors, free, pixels, camera_of, projections, limit, chosen, best
            )
            if len(found) < min_views:
                break
            point = _refine(_closest_to_rays(found, centres, rays, camera_of), found, pixels, camera_of, projections)
        if len(found) < min_views or _confirmations(found, starts, neighbors, weights) < len(found):
            continue
        total, worst, least_cos = 0.0, 0.0, 1.0
        for i in found:
            error = _squared_error(point, pixels[i], projections[camera_of[i]])
            total, worst = total + error, max(worst, error)
            for j in found:
                least_cos = min(least_cos, _dot(rays[i], rays[j]))
        if worst <= limit and least_cos <= max_cos:
            for k in range(3):
                points[n, k] = point[k]
            errors[n] = np.sqrt(total / len(found))
            for i in found:
                owner[i], free[i] = n, False
            n += 1
    return owner, points[:n], errors[:n]
