"""Velocities of points from optical flow: where their images go, they go.

Every point is projected into the cameras that see it, the images' optical flow to a neighbouring frame says where it
is seen there, and the rays of those places are intersected again. Between neighbouring frames even fast things move by
a few pixels, so that they need not be recognised over the distance between key frames. (FreeTimeGS++ does the same.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float

from fourdgs_ns.common.cores import workers
from fourdgs_ns.points.instants import PosedImage

LARGEST_RESIDUAL = 0.5
"""Pixels by which a camera's flow may disagree with the common 3D motion, plus ``RELATIVE_RESIDUAL`` of the flow."""
RELATIVE_RESIDUAL = 0.1
LARGEST_ROUND_TRIP = 0.5
"""Pixels from a place to itself along the flow there and back, plus ``RELATIVE_ROUND_TRIP`` of the flow."""
RELATIVE_ROUND_TRIP = 0.1
ROUNDS = 3
"""Solutions, each without the cameras that disagreed with the one before."""
STEPS = 3
"""Gauss-Newton steps per solution; the first one is exact but for perspective."""


def image_flow(
    start: PosedImage, end: PosedImage, pixels: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Flow in pixels at ``pixels`` of ``start``, and where following it to ``end`` and back comes home.

    Dense inverse search (Kroeger et al., 2016), both ways.
    """
    a, b = (cv2.cvtColor(image.image, cv2.COLOR_RGB2GRAY) for image in (start, end))
    if np.array_equal(a, b):
        # Frozen video: the search would return noise.
        return np.zeros_like(pixels), np.ones(len(pixels), bool)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # The preset stops at half the resolution, which doubles the error of a velocity.
    search.setFinestScale(0)
    search.setVariationalRefinementIterations(2)
    there, back = (search.calc(p, q, np.zeros((*a.shape, 2), np.float32)) for p, q in ((a, b), (b, a)))
    moved = sample(np.asarray(there), pixels)
    error = np.linalg.norm(moved + sample(np.asarray(back), pixels + moved), axis=1)
    h, w = a.shape
    inside = np.all((pixels + moved >= 0) & (pixels + moved <= (w, h)), axis=1)
    return moved, inside & (error <= LARGEST_ROUND_TRIP + RELATIVE_ROUND_TRIP * np.linalg.norm(moved, axis=1))


def sample(image: np.ndarray, pixels: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Bilinear values of ``image`` [h, w, ...] at pixel positions (pixel i covers [i, i + 1)), float64 [n, ...]."""
    h, w = image.shape[:2]
    x, y = np.clip(pixels[:, 0] - 0.5, 0, w - 1), np.clip(pixels[:, 1] - 0.5, 0, h - 1)
    x0, y0 = np.minimum(x.astype(int), max(w - 2, 0)), np.minimum(y.astype(int), max(h - 2, 0))
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    shape = (-1, *[1] * (image.ndim - 2))
    fx, fy = (x - x0).reshape(shape), (y - y0).reshape(shape)
    top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    return top * (1 - fy) + (image[y1, x0] * (1 - fx) + image[y1, x1] * fx) * fy


def project(projection: Float[np.ndarray, "3 4"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Pixel x, y and depth of world points."""
    h = points @ projection[:, :3].T + projection[:, 3]
    depth = np.where(np.abs(h[:, 2:]) > 1e-12, h[:, 2:], 1e-12)
    return np.concatenate([h[:, :2] / depth, h[:, 2:]], axis=1)


def displacements(
    positions: Float[np.ndarray, "n 3"],
    seen_by: Bool[np.ndarray, "n c"],
    start: Sequence[PosedImage],
    end: Mapping[str, PosedImage],
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """How far each point moves from the instant of ``start`` to that of ``end``, and where that is known.

    ``seen_by`` has one column per image of ``start``; ``end`` holds the images of the same cameras by name, with their
    own poses. A displacement is known when the flows of at least two cameras agree on it, those that disagree left out.
    """
    n, c = seen_by.shape
    targets, valid = np.zeros((n, c, 2)), np.zeros((n, c), bool)
    projections = np.stack([image.camera.projection for image in start]) if c else np.zeros((0, 3, 4))

    def follow(k: int) -> None:
        ids = np.flatnonzero(seen_by[:, k])
        if start[k].camera.name not in end or len(ids) == 0:
            return
        moved = end[start[k].camera.name]
        pixels = project(start[k].camera.projection, positions[ids])[:, :2]
        flow, sure = image_flow(start[k], moved, pixels)
        targets[ids, k], valid[ids, k] = pixels + flow, sure
        projections[k] = moved.camera.projection
        size[ids, k] = np.linalg.norm(flow, axis=1)

    size = np.zeros((n, c))
    with workers(c) as pool:
        list(pool.map(follow, range(c)))
    limit = LARGEST_RESIDUAL + RELATIVE_RESIDUAL * size
    places = np.array(positions, np.float64)
    for _ in range(ROUNDS):
        places = np.array(positions, np.float64)
        places, residual, conditioned = intersect(places, projections, targets, valid)
        agree = valid & (residual <= limit)
        if (agree == valid).all():
            break
        # One camera at a time: a single wrong flow pulls the solution away from all others.
        worst = np.argmax(np.where(valid, residual - limit, -np.inf), axis=1)
        wrong = (valid & ~agree).any(axis=1)
        valid[np.flatnonzero(wrong), worst[wrong]] = False
    known = conditioned & (valid.sum(axis=1) >= 2) & (~valid | (residual <= limit)).all(axis=1)
    return np.where(known[:, None], places - positions, 0.0), known


def intersect(
    positions: Float[np.ndarray, "n 3"],
    projections: Float[np.ndarray, "c 3 4"],
    targets: Float[np.ndarray, "n c 2"],
    valid: Bool[np.ndarray, "n c"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n c"], Bool[np.ndarray, " n"]]:
    """Points of least squared reprojection error to ``targets`` where ``valid``, by Gauss-Newton from ``positions``.

    Also their residuals in pixels per image, and whether they are well determined and in front of all cameras.
    """
    places = np.array(positions, np.float64)
    solvable = np.ones(len(places), bool)
    for _ in range(STEPS):
        normal, right = np.zeros((len(places), 3, 3)), np.zeros((len(places), 3))
        for k, p in enumerate(projections):
            ids = np.flatnonzero(valid[:, k])
            uvz = project(p, places[ids])
            j = (p[None, :2, :3] - uvz[:, :2, None] * p[None, 2:, :3]) / uvz[:, 2, None, None]
            normal[ids] += np.einsum("nij,nik->njk", j, j)
            right[ids] += np.einsum("nij,ni->nj", j, targets[ids, k] - uvz[:, :2])
        trace = np.trace(normal, axis1=1, axis2=2)
        solvable &= np.linalg.det(normal) > 1e-9 * np.maximum(trace, 1e-30) ** 3
        normal[~solvable], right[~solvable] = np.eye(3), 0.0
        places += np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    residual = np.full(valid.shape, np.inf)
    for k, p in enumerate(projections):
        uvz = project(p, places)
        residual[:, k] = np.where(uvz[:, 2] > 0, np.linalg.norm(uvz[:, :2] - targets[:, k], axis=1), np.inf)
    return places, residual, solvable
