"""Epipolar errors between calibrated cameras on what rests and on what moves, and the clock errors that explain them.

Matches are sought by appearance alone, so that nothing about the poses is presupposed. Where the scene rests, their
distance from the epipolar line tells how good the calibration is. Where it moves, a camera that is late by d seconds shows
each point where it was d seconds before; following the points over a few frames gives the d at which they lie on the lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from fourdgs_ns.initialization.instants import PosedImage
from fourdgs_ns.preprocessing.offsets import PairOffset, solve_offsets
from fourdgs_ns.preprocessing.rig_features import features_of, match

WINDOW = 10
"""Frames before and after an instant over which points are followed."""
MOVING_PIXELS = 1.0
"""Per frame, from which a point counts as moving."""
RESTING_PIXELS = 0.25
BELIEVED_SHARE = 0.03
"""Of the longer side: matches of moving points farther from their line than this are mistakes of appearance."""
FEWEST_MOVING = 12
FEWEST_CONSISTENT = 25
"""Matches by chance agree on some geometry too, up to about fifteen of them."""
STEPS_PER_FRAME = 10


@dataclass(frozen=True)
class Followed:
    """Matches of one pair of cameras at one instant, in pixels of their images."""

    a: Float[np.ndarray, "m 2"]
    b: Float[np.ndarray, "w m 2"]
    """Positions in camera b at the frames -WINDOW .. WINDOW around the instant; NaN where lost."""
    a_path: Float[np.ndarray, "w m 2"]


@dataclass(frozen=True)
class PairErrors:
    """What the matches of two cameras say."""

    a: str
    b: str
    static: Float[np.ndarray, " s"]
    """Distances in pixels from the epipolar lines (symmetric), resting points whose matches are surely right."""
    moving: Float[np.ndarray, " m"]
    shift_frames: float | None
    """Frames by which camera b's clock is later than camera a's, where points that move tell it."""
    moving_at_shift: float | None
    """Median distance of moving points once b is shifted."""


def fundamental(a: PosedImage, b: PosedImage) -> Float[np.ndarray, "3 3"]:
    """x_b' F x_a = 0 for pixels of the same point."""
    b_from_a = np.linalg.inv(b.world_from_camera) @ a.world_from_camera
    t = b_from_a[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    f = np.linalg.inv(b.intrinsics).T @ cross @ b_from_a[:3, :3] @ np.linalg.inv(a.intrinsics)
    return f / max(float(np.abs(f).max()), 1e-300)


def line_distance(
    f: Float[np.ndarray, "3 3"], a: Float[np.ndarray, "*n 2"], b: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n"]:
    """Root mean square of the distances of b from a's line and of a from b's line, in pixels."""
    ha = np.concatenate([a, np.ones((*a.shape[:-1], 1))], axis=-1)
    hb = np.concatenate([b, np.ones((*b.shape[:-1], 1))], axis=-1)
    lines_b, lines_a = ha @ f.T, hb @ f
    residual = (hb * lines_b).sum(axis=-1)
    in_b = residual / np.maximum(np.linalg.norm(lines_b[..., :2], axis=-1), 1e-30)
    in_a = residual / np.maximum(np.linalg.norm(lines_a[..., :2], axis=-1), 1e-30)
    return np.sqrt(0.5 * (in_a**2 + in_b**2))


def follow(frames: Sequence[np.ndarray], middle: int, points: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "w m 2"]:
    """Positions of ``points`` (of frame ``middle``, gray images) in all frames by optical flow; NaN where lost.

    Frame to frame, and back as a test. Pixel i covers [i, i + 1).
    """
    result = np.full((len(frames), len(points), 2), np.nan)
    result[middle] = points
    if len(points) == 0:
        return result
    for direction in (-1, 1):
        i = middle
        current = (points - 0.5).astype(np.float32).reshape(-1, 1, 2)
        alive = np.ones(len(points), bool)
        while 0 <= i + direction < len(frames):
            j = i + direction
            there, ok, _ = cv2.calcOpticalFlowPyrLK(frames[i], frames[j], current, None, winSize=(15, 15), maxLevel=3)  # type: ignore[call-overload]
            back, ok_back, _ = cv2.calcOpticalFlowPyrLK(frames[j], frames[i], there, None, winSize=(15, 15), maxLevel=3)  # type: ignore[call-overload]
            alive &= (ok.ravel() > 0) & (ok_back.ravel() > 0)
            alive &= np.abs(back - current).max(axis=(1, 2)) < 0.7
            result[j, alive] = there[alive, 0] + 0.5
            current, i = there, j
    return result


def is_moving(path: Float[np.ndarray, "w m 2"], middle: int) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Which followed points move, and which surely rest."""
    neighbors = [path[i] for i in (middle - 1, middle + 1) if 0 <= i < len(path)]
    if not neighbors:
        return np.zeros(path.shape[1], bool), np.ones(path.shape[1], bool)
    with np.errstate(invalid="ignore"):
        step = np.max([np.linalg.norm(n - path[middle], axis=1) for n in neighbors], axis=0)
        return step > MOVING_PIXELS, step < RESTING_PIXELS


def pair_errors(
    images: Sequence[tuple[Mapping[str, PosedImage], Mapping[str, Sequence[np.ndarray]], int]],
) -> list[PairErrors]:
    """Errors of all pairs of cameras; one entry of ``images`` per instant: the posed images, for each camera the gray frames
    around the instant, and which of them is the instant."""
    names = sorted({name for posed, _, _ in images for name in posed})
    gathered: dict[tuple[str, str], list[tuple[PosedImage, PosedImage, Followed, int]]] = {}
    for posed, around, middle in images:
        features = {n: features_of([cv2.cvtColor(i.image, cv2.COLOR_RGB2BGR)]) for n, i in posed.items()}
        chosen = {(a, b): match(features[a], features[b]) for a, b in combinations([n for n in names if n in posed], 2)}
        # Only what is matched somewhere is followed.
        paths = {}
        for n in posed:
            used = np.unique(np.concatenate([pairs[:, pair.index(n)] for pair, pairs in chosen.items() if n in pair]))
            paths[n] = np.full((len(around[n]), len(features[n].pixels), 2), np.nan)
            paths[n][:, used] = follow(around[n], middle, features[n].pixels[used])
        for (a, b), pairs in chosen.items():
            followed = Followed(features[a].pixels[pairs[:, 0]], paths[b][:, pairs[:, 1]], paths[a][:, pairs[:, 0]])
            gathered.setdefault((a, b), []).append((posed[a], posed[b], followed, middle))
    return [summarize_pair(a, b, parts) for (a, b), parts in gathered.items()]


def clock_errors(errors: Sequence[PairErrors], names: Sequence[str]) -> dict[str, float]:
    """Frames by which each camera's clock is later than most others' (median 0).

    Cameras that moving points say nothing about are missing.
    """
    index = {name: i for i, name in enumerate(names)}
    pairs = [
        PairOffset(index[e.a], index[e.b], e.shift_frames, float(len(e.moving)))
        for e in errors
        if e.shift_frames is not None
    ]
    if not pairs:
        return {}
    offsets, _ = solve_offsets(pairs, len(names), 0.5)
    offsets = offsets - np.nanmedian(offsets)
    return {n: float(offsets[i]) for n, i in index.items() if np.isfinite(offsets[i])}


def consistent(a: Float[np.ndarray, "m 2"], b: Float[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
    """Which matches of resting points agree on one epipolar geometry, whatever it is; none when too few do.

    Poses take no part, so that wrong matches are told apart from a wrong calibration. A match that comes back at the next
    instant counts once.
    """
    keep = np.zeros(len(a), bool)
    _, once = np.unique(np.round(np.concatenate([a, b], axis=1) / 2), axis=0, return_index=True)
    if len(once) < FEWEST_CONSISTENT:
        return keep
    f, inside = cv2.findFundamentalMat(a[once], b[once], cv2.USAC_MAGSAC, 1.5, 0.999, 5000)
    if f is None or inside is None or inside.sum() < max(FEWEST_CONSISTENT, 0.15 * len(once)):
        return keep
    keep[once[inside.ravel() > 0]] = True
    return keep


def summarize_pair(a: str, b: str, parts: Sequence[tuple[PosedImage, PosedImage, Followed, int]]) -> PairErrors:
    """Errors of one pair from its matches at several instants (the images, the matches, the position of the instant)."""
    moving: list[np.ndarray] = []
    resting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    curves = []
    shifts = np.linspace(-WINDOW, WINDOW, 2 * WINDOW * STEPS_PER_FRAME + 1)
    for image_a, image_b, followed, middle in parts:
        f = fundamental(image_a, image_b)
        distance = line_distance(f, followed.a, followed.b[middle])
        moves_a, rests_a = is_moving(followed.a_path, middle)
        moves_b, rests_b = is_moving(followed.b, middle)
        rests = rests_a & rests_b
        resting.append((followed.a[rests], followed.b[middle, rests], distance[rests]))
        # A clock error moves points off their lines, but not across the image.
        chosen = moves_a & moves_b & (distance <= BELIEVED_SHARE * max(image_a.image.shape))
        moving.append(distance[chosen])
        curves.append(_curves(f, followed, chosen, middle, shifts))
    in_a, in_b, distances = (np.concatenate(x) for x in zip(*resting))
    all_static, all_moving = distances[consistent(in_a, in_b)], np.concatenate(moving)
    curve = np.concatenate(curves)
    if len(curve) < FEWEST_MOVING:
        return PairErrors(a, b, all_static, all_moving, None, None)
    cost = np.nanmedian(curve, axis=0)
    share = np.isfinite(curve).mean(axis=0)
    cost = np.where(share > 0.5, cost, np.inf)
    if not np.isfinite(cost).any():
        return PairErrors(a, b, all_static, all_moving, None, None)
    best = int(cost.argmin())
    # Motion along the lines says nothing about clocks.
    informative = np.nanmax(np.where(np.isfinite(cost), cost, np.nan)) > 1.5 * cost[best] + 0.3
    at_edge = best in (0, len(shifts) - 1)
    if not informative or at_edge:
        return PairErrors(a, b, all_static, all_moving, None, float(cost[best]))
    return PairErrors(a, b, all_static, all_moving, -float(shifts[best]), float(cost[best]))


def _curves(
    f: np.ndarray, followed: Followed, chosen: np.ndarray, middle: int, shifts: np.ndarray
) -> Float[np.ndarray, "m s"]:
    """Distance from the line when b is read ``shift`` frames after the instant, for each chosen match and shift."""
    path = followed.b[:, chosen]
    frames = np.arange(len(path)) - middle
    inside = np.clip(shifts, frames[0], frames[-1])
    low = np.clip(np.searchsorted(frames, inside, side="right") - 1, 0, max(len(frames) - 2, 0))
    high = np.minimum(low + 1, len(frames) - 1)
    weight = (inside - frames[low])[:, None, None]
    positions = (1 - weight) * path[low] + weight * path[high]  # [s, m, 2]
    positions[(shifts < frames[0]) | (shifts > frames[-1])] = np.nan
    a = np.broadcast_to(followed.a[chosen], positions.shape)
    return line_distance(f, a, positions).T
