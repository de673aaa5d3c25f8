"""Epipolar errors between calibrated cameras on static and on moving points, and the clock errors that explain them.

Matches are sought by appearance alone, so that nothing about the poses is presupposed. Where the scene is static, their
distance from the epipolar line tells how good the calibration is. Where it moves, a camera that is late by d seconds shows
each point where it was d seconds before; following the points over a few frames gives the d at which they lie on the lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fourdgs_ns.geometry.camera import fundamental
from fourdgs_ns.geometry.epipolar import consistent, line_distance
from fourdgs_ns.points.appearance_matching import apart
from fourdgs_ns.points.instants import PosedImage
from fourdgs_ns.points.triangulate import TriangulationOptions, camera_pairs
from fourdgs_ns.process.offsets import PairOffset, solve_offsets
from fourdgs_ns.process.rig_features import RigFeatures, features_of, match

WINDOW = 10
"""Frames before and after an instant over which points are followed."""
MOVING_PIXELS = 1.0
"""Per frame, from which a point counts as moving."""
STATIC_PIXELS = 0.25
BELIEVED_SHARE = 0.03
"""Of the longer side: matches of moving points farther from their line than this are mistakes of appearance."""
SUPPORT_PIXELS = 1.5
"""In an image of 1000 pixels: a match speaks for the clock errors that bring it this near to its line."""
SUPPORT_SHARE = 0.2
"""Of the moving matches that must speak for one clock error before it is believed."""
FEWEST_MOVING = 12
STEPS_PER_FRAME = 10
COMPARED = TriangulationOptions(max_pair_angle_degrees=180.0, exhaustive_cameras=10, neighbors=6)
"""In large rigs each camera is compared with its nearest ones only: hundreds of pairs would take minutes and say no more."""


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
    """Distances in pixels from the epipolar lines (symmetric), static points whose matches are surely right."""
    moving: Float[np.ndarray, " m"]
    shift_frames: float | None
    """Frames by which camera b's clock is later than camera a's, where points that move tell it."""
    moving_at_shift: float | None
    """Median distance of the moving points that speak for the shift, once b is shifted."""
    support: int = 0
    """How many matches speak for it."""


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
    """Which followed points move, and which are surely static."""
    neighbors = [path[i] for i in (middle - 1, middle + 1) if 0 <= i < len(path)]
    if not neighbors:
        return np.zeros(path.shape[1], bool), np.ones(path.shape[1], bool)
    with np.errstate(invalid="ignore"):
        step = np.max([np.linalg.norm(n - path[middle], axis=1) for n in neighbors], axis=0)
        return step > MOVING_PIXELS, step < STATIC_PIXELS


def pair_errors(
    images: Sequence[tuple[Mapping[str, PosedImage], Mapping[str, Sequence[np.ndarray]], int]],
) -> list[PairErrors]:
    """Errors of pairs of cameras; one entry of ``images`` per instant: the posed images, for each camera the gray frames
    around the instant, and which of them is the instant."""
    names = sorted({name for posed, _, _ in images for name in posed})
    gathered: dict[tuple[str, str], list[tuple[PosedImage, PosedImage, Followed, int]]] = {}
    for posed, around, middle in images:
        features = {n: features_of([cv2.cvtColor(i.image, cv2.COLOR_RGB2BGR)]) for n, i in posed.items()}
        present = [n for n in names if n in posed]
        poses = np.stack([posed[n].camera.world_from_camera for n in present])
        pairs_of = [(present[i], present[j]) for i, j in camera_pairs(poses, COMPARED)]
        chosen = {(a, b): _apart(features[a], features[b], posed[a].image) for a, b in pairs_of}
        # Only what is matched somewhere is followed.
        paths = {}
        for n in posed:
            own = [pairs[:, pair.index(n)] for pair, pairs in chosen.items() if n in pair]
            used = np.unique(np.concatenate([np.zeros(0, np.int64), *own]))
            paths[n] = np.full((len(around[n]), len(features[n].pixels), 2), np.nan)
            paths[n][:, used] = follow(around[n], middle, features[n].pixels[used])
        for (a, b), pairs in chosen.items():
            followed = Followed(features[a].pixels[pairs[:, 0]], paths[b][:, pairs[:, 1]], paths[a][:, pairs[:, 0]])
            gathered.setdefault((a, b), []).append((posed[a], posed[b], followed, middle))
    return [summarize_pair(a, b, parts) for (a, b), parts in gathered.items()]


def _apart(a: RigFeatures, b: RigFeatures, image: UInt8[np.ndarray, "h w 3"]) -> Int[np.ndarray, "m 2"]:
    """Matches that say something about the poses; see :func:`apart`."""
    rows = match(a, b)
    return rows[apart(a.pixels[rows[:, 0]], b.pixels[rows[:, 1]], max(image.shape))]


def clock_errors(errors: Sequence[PairErrors], names: Sequence[str]) -> dict[str, float]:
    """Frames by which each camera's clock is later than most others' (median 0).

    Cameras that moving points say nothing about are missing.
    """
    index = {name: i for i, name in enumerate(names)}
    pairs = [
        PairOffset(index[e.a], index[e.b], e.shift_frames, float(e.support))
        for e in errors
        if e.shift_frames is not None
    ]
    if not pairs:
        return {}
    offsets, _ = solve_offsets(pairs, len(names), 0.5)
    offsets = offsets - np.nanmedian(offsets)
    return {n: float(offsets[i]) for n, i in index.items() if np.isfinite(offsets[i])}


def summarize_pair(a: str, b: str, parts: Sequence[tuple[PosedImage, PosedImage, Followed, int]]) -> PairErrors:
    """Errors of one pair from its matches at several instants (the images, the matches, the position of the instant)."""
    moving: list[np.ndarray] = []
    static: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    curves = []
    shifts = np.linspace(-WINDOW, WINDOW, 2 * WINDOW * STEPS_PER_FRAME + 1)
    for image_a, image_b, followed, middle in parts:
        f = fundamental(image_a.camera, image_b.camera)
        distance = line_distance(f, followed.a, followed.b[middle])
        moves_a, rests_a = is_moving(followed.a_path, middle)
        moves_b, rests_b = is_moving(followed.b, middle)
        rests = rests_a & rests_b
        static.append((followed.a[rests], followed.b[middle, rests], distance[rests]))
        # A clock error moves points off their lines, but not across the image.
        moves = moves_a & moves_b
        moving.append(distance[moves & (distance <= BELIEVED_SHARE * max(image_a.image.shape))])
        curves.append(_curves(f, followed, moves, middle, shifts) * 1000 / max(image_a.image.shape))
    in_a, in_b, distances = (np.concatenate(x) for x in zip(*static))
    all_static, all_moving = distances[consistent(in_a, in_b)], np.concatenate(moving)
    found = _clock_shift(np.concatenate(curves), shifts)
    if found is None:
        return PairErrors(a, b, all_static, all_moving, None, None)
    at, cost, support = found
    side = max(parts[0][0].image.shape)
    return PairErrors(a, b, all_static, all_moving, -float(shifts[at]), cost * side / 1000, support)


def _clock_shift(curves: Float[np.ndarray, "m s"], shifts: Float[np.ndarray, " s"]) -> tuple[int, float, int] | None:
    """Which shift brings most matches to their lines, their median distance there and their number.

    Matches vote, since a late camera's points can be far from their lines while wrong matches lie anywhere. None when too
    few agree, at the ends of the window, or when motion along the lines leaves the shift open.
    """
    followed = np.isfinite(curves).sum(axis=0)
    near = (curves < SUPPORT_PIXELS).sum(axis=0)  # comparisons with NaN are false
    # Points that are lost before a shift is reached must not count against it.
    share = np.where(followed >= max(FEWEST_MOVING, 0.25 * len(curves)), near / np.maximum(followed, 1), 0.0)
    if len(curves) < FEWEST_MOVING or share.max() < SUPPORT_SHARE:
        return None
    # The middle of the best stretch: slow points vote for a range.
    best = int(np.median(np.flatnonzero(share >= 0.98 * share.max())))
    speaking = curves[curves[:, best] < 2 * SUPPORT_PIXELS]
    if len(speaking) < FEWEST_MOVING:
        return None
    followed_by_most = np.isfinite(speaking).mean(axis=0) > 0.5
    cost = np.full(len(shifts), np.inf)
    cost[followed_by_most] = np.nanmedian(speaking[:, followed_by_most], axis=0)
    around = np.abs(shifts - shifts[best]) <= 2.0
    best = int(np.where(around, cost, np.inf).argmin())
    informative = np.nanmax(np.where(np.isfinite(cost), cost, np.nan)) > 1.5 * cost[best] + 0.3
    if not informative or best in (0, len(shifts) - 1):
        return None
    return best, float(cost[best]), len(speaking)


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
