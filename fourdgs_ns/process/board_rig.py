"""Lenses and poses of a rig adjusted together with a board of markers that was carried through its view.

Features alone leave a small rig loose: they lie where the scene has texture, seldom where the views overlap, and a wrong
lens can hide in wrong depths. A rigid board has its own shape: each image of it has six unknowns whatever the number of its
corners, and cameras that see it at one instant see it in one place. All are adjusted at once, together with matches of
features, by damped least squares (Levenberg 1944, Marquardt 1963) on Huber's loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial.transform import Rotation

from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.epipolar import consistent, estimated
from fourdgs_ns.process.board import FEWEST_MARKERS, UNIT, Layout, View, board_layout

FEWEST_INSTANTS = 8
ITERATIONS = 30
HUBER_PIXELS = 1.0
CENTRE_DEVIATION, DISTORTION_DEVIATION = 0.02, 0.3
"""What is believed beforehand: the principal point lies that near to the centre (share of the longer side), and k1 and k2
are about that small."""
BELIEF = 100.0
"""Observations of one pixel that each of these beliefs weighs as much as."""
STEP = 1e-6
MOST_MATCHES = 400
"""Of one pair of cameras."""

CameraNumbers = Float[np.ndarray, "c 11"]
"""Rotation vector and translation (camera from world), log of the focal length, principal point (in longer sides), k1, k2."""


@dataclass(frozen=True)
class _Block:
    """Residuals of one kind: all are the same function of the few numbers that each depends on."""

    pixels: Float[np.ndarray, "n 2"]
    columns: Int[np.ndarray, "n k"]
    """Where those numbers stand in the vector of all."""
    predict: Callable[[Float[np.ndarray, "n k"]], Float[np.ndarray, "n 2"]]


def adjust_with_board(
    cameras: Sequence[Camera],
    views: Sequence[Mapping[int, View]],
    matches: Mapping[tuple[int, int], tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]],
    distorted: bool = True,
) -> list[Camera] | None:
    """Better cameras, in units of the markers' side; None when the markers are no rigid board, or too few instants show it.

    ``cameras``: a first calibration. ``views``: for each camera what it sees of the board, by instant. ``matches``: pixels of
    features that two cameras share, wrong ones among them; they join once the board has corrected the worst. Lenses have one
    focal length, a principal point, k1 and k2.
    """
    layout = board_layout([_straightened(v, c) for own, c in zip(views, cameras) for v in own.values()])
    if layout is None:
        return None
    placed = _place(cameras, views, layout)
    if placed is None:
        return None
    rig, boards = placed
    markers = sorted({m for own in views for v in own.values() for m in v} & layout.keys())
    squares = np.array([_middle_and_turn(layout[m]) for m in markers])
    instants = sorted(boards)
    c, b = len(cameras), len(instants)
    values = np.concatenate([rig.ravel(), np.concatenate([boards[i] for i in instants]), squares.ravel()])
    fixed = np.zeros(len(values), bool)
    fixed[:6] = True  # the first camera is the world
    fixed[11 * c + 6 * b : 11 * c + 6 * b + 3] = True  # the first marker is the board
    if not distorted:
        fixed[: 11 * c].reshape(c, 11)[:, 9:] = True
    block = _board_block(cameras, views, instants, markers)
    prior = _prior(cameras)
    values = _minimise(values, [block], prior, fixed)
    # Features tell about the parts of the images where the board never was.
    points, point_block = _match_block(_cameras(cameras, values), matches, len(values))
    if len(points):
        values = np.concatenate([values, points.ravel()])
        fixed = np.concatenate([fixed, np.zeros(points.size, bool)])
        values = _minimise(values, [block, point_block], prior, fixed)
    return _cameras(cameras, values)


def _straightened(view: View, camera: Camera) -> View:
    distortion = np.asarray(camera.distortion, np.float64)
    return {
        m: cv2.undistortPoints(s[:, None], camera.intrinsics, distortion, None, None, camera.intrinsics)[:, 0]
        for m, s in view.items()
    }


def _cameras(cameras: Sequence[Camera], values: np.ndarray) -> list[Camera]:
    adjusted = []
    for camera, own in zip(cameras, values[: 11 * len(cameras)].reshape(-1, 11)):
        side = max(camera.width, camera.height)
        matrix = np.array([[np.exp(own[6]), 0, own[7] * side], [0, np.exp(own[6]), own[8] * side], [0, 0, 1]])
        pose = np.linalg.inv(_matrix(own[:6]))
        adjusted.append(
            replace(
                camera, intrinsics=matrix, distortion=(*map(float, own[9:11]), 0.0, 0.0, 0.0), world_from_camera=pose
            )
        )
    return adjusted


def _place(
    cameras: Sequence[Camera], views: Sequence[Mapping[int, View]], layout: Layout
) -> tuple[CameraNumbers, dict[int, np.ndarray]] | None:
    """First numbers of the cameras, in units of the board, and of the board's poses at instants that two cameras see."""
    from_board: dict[int, dict[int, list[np.ndarray]]] = {}
    for c, seen in enumerate(views):
        for instant, view in seen.items():
            poses = _poses_of_board(cameras[c], view, layout)
            if poses:
                from_board.setdefault(instant, {})[c] = poses
    from_board = {i: own for i, own in from_board.items() if len(own) > 1}
    if len(from_board) < FEWEST_INSTANTS:
        return None
    to_world = np.stack([camera.world_from_camera for camera in cameras])
    # The board's origin is one point of the world, wherever it is seen from: scale * centre + R p is equal for two cameras.
    ratios = []
    for own in from_board.values():
        for i, j in combinations(own, 2):
            apart = to_world[i, :3, 3] - to_world[j, :3, 3]
            between = to_world[j, :3, :3] @ own[j][0][:3, 3] - to_world[i, :3, :3] @ own[i][0][:3, 3]
            ratios.append(float(apart @ between / max(apart @ apart, 1e-30)))
    scale = float(np.median(ratios))
    if not scale > 0:
        return None
    first = np.linalg.inv(to_world[0])
    scaled = first @ to_world
    scaled[:, :3, 3] *= scale
    rig = np.zeros((len(cameras), 11))
    for row, pose, camera in zip(rig, scaled, cameras):
        side = max(camera.width, camera.height)
        row[:6] = _numbers(np.linalg.inv(pose))
        row[6:9] = np.log(camera.intrinsics[0, 0]), camera.intrinsics[0, 2] / side, camera.intrinsics[1, 2] / side
        row[9 : 9 + min(2, len(camera.distortion))] = camera.distortion[:2]
    boards = {}
    corners = np.concatenate([layout[m] for m in sorted(layout)])
    corners = np.concatenate([corners, np.zeros((len(corners), 1))], axis=1)
    for instant, own in from_board.items():
        candidates = [scaled[c] @ pose for c, poses in own.items() for pose in poses]
        clouds = np.stack([corners @ pose[:3, :3].T + pose[:3, 3] for pose in candidates])
        # A flat thing seen from afar has two poses; other cameras tell which: the candidate nearest to the others is right.
        distances = np.linalg.norm(clouds[:, None] - clouds[None], axis=-1).mean(axis=-1)
        boards[instant] = _numbers(candidates[int(np.median(distances, axis=1).argmin())])
    return rig, boards


def _poses_of_board(camera: Camera, view: View, layout: Layout) -> list[np.ndarray]:
    """Camera from board, the likelier one first."""
    markers = [m for m in view if m in layout]
    if len(markers) < FEWEST_MARKERS:
        return []
    flat = np.concatenate([layout[m] for m in markers])
    pixels = np.concatenate([view[m] for m in markers])
    corners = np.concatenate([flat, np.zeros((len(flat), 1))], axis=1)
    rays = cv2.undistortPoints(pixels[:, None], camera.intrinsics, np.asarray(camera.distortion, np.float64))
    found = estimated(cv2.solvePnPGeneric, corners, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    _, turns, shifts, _ = found or (0, (), (), None)
    poses = [_matrix(np.concatenate([np.ravel(r), np.ravel(t)])) for r, t in zip(turns, shifts)]
    return [pose for pose in poses if np.isfinite(pose).all()]


def _board_block(
    cameras: Sequence[Camera],
    views: Sequence[Mapping[int, View]],
    instants: Sequence[int],
    markers: Sequence[int],
) -> _Block:
    rows, pixels = [], []
    for c, own in enumerate(views):
        for i, instant in enumerate(instants):
            for m, marker in enumerate(markers):
                if marker in own.get(instant, {}):
                    rows += [(c, i, m, k) for k in range(4)]
                    pixels.append(own[instant][marker])
    camera, instant_of, marker_of, corner = np.array(rows).T
    sides = np.array([max(x.width, x.height) for x in cameras], np.float64)[camera]
    start = 11 * len(cameras)
    columns = np.concatenate(
        [
            11 * camera[:, None] + np.arange(11),
            start + 6 * instant_of[:, None] + np.arange(6),
            start + 6 * len(instants) + 3 * marker_of[:, None] + np.arange(3),
        ],
        axis=1,
    )
    offsets = UNIT[corner] - 0.5

    def predict(own: np.ndarray) -> np.ndarray:
        cos, sin = np.cos(own[:, 19]), np.sin(own[:, 19])
        x = own[:, 17] + cos * offsets[:, 0] - sin * offsets[:, 1]
        y = own[:, 18] + sin * offsets[:, 0] + cos * offsets[:, 1]
        board = np.stack([x, y, np.zeros_like(x)], axis=1)
        world = Rotation.from_rotvec(own[:, 11:14]).apply(board) + own[:, 14:17]
        return _project(own[:, :11], world, sides)

    return _Block(np.concatenate(pixels), columns, predict)


def _match_block(
    cameras: Sequence[Camera],
    matches: Mapping[tuple[int, int], tuple[np.ndarray, np.ndarray]],
    start: int,
) -> tuple[Float[np.ndarray, "p 3"], _Block]:
    """Points of matched features, numbered from ``start`` on, and their residuals."""
    pixels, owners, points = [], [], []  # type: list[np.ndarray], list[np.ndarray], list[np.ndarray]
    for (i, j), (a, b) in matches.items():
        rays, projections = [], []
        for camera, own in ((cameras[i], a), (cameras[j], b)):
            distortion = np.asarray(camera.distortion, np.float64)
            rays.append(cv2.undistortPoints(own[:, None].astype(np.float64), camera.intrinsics, distortion)[:, 0])
            projections.append(np.linalg.inv(camera.world_from_camera)[:3])
        mean = np.eye(2) * 0.5 * (cameras[i].intrinsics[0, 0] + cameras[j].intrinsics[0, 0])
        keep = np.flatnonzero(consistent(rays[0] @ mean, rays[1] @ mean))
        keep = keep[np.linspace(0, len(keep) - 1, min(len(keep), MOST_MATCHES)).astype(int)]
        if len(keep) == 0:
            continue
        found = cv2.triangulatePoints(projections[0], projections[1], rays[0][keep].T, rays[1][keep].T)
        world = (found[:3] / found[3]).T
        depths = [world @ p[2, :3] + p[2, 3] for p in projections]
        ahead = (depths[0] > 0) & (depths[1] > 0) & np.isfinite(world).all(axis=1)
        keep, world = keep[ahead], world[ahead]
        pixels += [a[keep], b[keep]]
        number = sum(len(p) for p in points) + np.arange(len(keep))
        owners += [np.stack([np.full(len(keep), c), number], axis=1) for c in (i, j)]
        points.append(world)
    if not points:
        return np.zeros((0, 3)), _Block(np.zeros((0, 2)), np.zeros((0, 14), np.int64), lambda own: own[:, :2])
    camera, number = np.concatenate(owners).T
    sides = np.array([max(x.width, x.height) for x in cameras], np.float64)[camera]
    columns = np.concatenate([11 * camera[:, None] + np.arange(11), start + 3 * number[:, None] + np.arange(3)], axis=1)
    return np.concatenate(points), _Block(
        np.concatenate(pixels), columns, lambda own: _project(own[:, :11], own[:, 11:14], sides)
    )


def _project(
    camera: Float[np.ndarray, "n 11"], world: Float[np.ndarray, "n 3"], sides: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Pixels of points, one camera for each."""
    p = Rotation.from_rotvec(camera[:, :3]).apply(world) + camera[:, 3:6]
    flat = p[:, :2] / np.maximum(p[:, 2:], 1e-6)
    squared = (flat**2).sum(axis=1)
    radial = 1 + camera[:, 9] * squared + camera[:, 10] * squared**2
    return np.exp(camera[:, 6:7]) * flat * radial[:, None] + camera[:, 7:9] * sides[:, None]


def _prior(
    cameras: Sequence[Camera],
) -> tuple[Int[np.ndarray, " p"], Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Columns, expected values and their standard deviations."""
    columns = (11 * np.arange(len(cameras))[:, None] + np.arange(7, 11)).ravel()
    middles = [[0.5 * c.width / max(c.width, c.height), 0.5 * c.height / max(c.width, c.height), 0, 0] for c in cameras]
    deviations = np.array([CENTRE_DEVIATION, CENTRE_DEVIATION, DISTORTION_DEVIATION, DISTORTION_DEVIATION])
    return columns, np.ravel(middles), np.tile(deviations / np.sqrt(BELIEF), len(cameras))


def _minimise(
    values: np.ndarray,
    blocks: Sequence[_Block],
    prior: tuple[np.ndarray, np.ndarray, np.ndarray],
    fixed: np.ndarray,
) -> np.ndarray:
    """Damped least squares with Huber's weights; derivatives by differences of the few numbers each residual depends on.

    Not scipy.optimize.least_squares: its solver for sparse problems is an inexact one (LSMR) and hardly moves where focal
    lengths and distances trade against each other; the exact one is dense. Here the normal equations are factorised.
    """
    columns, expected, deviation = prior
    free = np.cumsum(~fixed) - 1
    count = int((~fixed).sum())

    def residuals(at: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        return [block.predict(at[block.columns]) - block.pixels for block in blocks], (
            at[columns] - expected
        ) / deviation

    def cost(at: np.ndarray) -> float:
        image, believed = residuals(at)
        lengths = np.concatenate([np.linalg.norm(r, axis=1) for r in image])
        huber = np.where(lengths < HUBER_PIXELS, 0.5 * lengths**2, HUBER_PIXELS * (lengths - 0.5 * HUBER_PIXELS))
        return float(huber.sum() + 0.5 * (believed**2).sum())

    damping, best = 1e-3, cost(values)
    for _ in range(ITERATIONS):
        image, believed = residuals(values)
        normal = coo_array((count, count)).tocsc()
        gradient = np.zeros(count)
        for block, residual in zip(blocks, image):
            jacobian = _jacobian(block, values, free, fixed, count)
            weight = np.minimum(1.0, HUBER_PIXELS / np.maximum(np.linalg.norm(residual, axis=1), 1e-12)).repeat(2)
            weighted = diags_array(weight) @ jacobian
            normal = normal + jacobian.T @ weighted
            gradient += weighted.T @ residual.ravel()
        own = ~fixed[columns]
        at = free[columns][own]
        normal = normal + coo_array((1 / deviation[own] ** 2, (at, at)), shape=(count, count))
        np.add.at(gradient, at, (believed / deviation)[own])
        diagonal = normal.diagonal()
        improved = False
        while damping < 1e6:
            system = (normal + diags_array(damping * np.maximum(diagonal, 1e-9))).tocsc()
            candidate = values.copy()
            candidate[~fixed] -= splu(system).solve(gradient)
            reached = cost(candidate)
            if reached < best:
                improved = best - reached > 1e-5 * best
                values, best, damping = candidate, reached, max(damping / 5, 1e-9)
                break
            damping *= 5
        if not improved:
            break
    return values


def _jacobian(block: _Block, values: np.ndarray, free: np.ndarray, fixed: np.ndarray, count: int) -> csr_array:
    own = values[block.columns]
    n, k = own.shape
    derivatives = np.empty((n, 2, k))
    for column in range(k):
        ahead, behind = own.copy(), own.copy()
        ahead[:, column] += STEP
        behind[:, column] -= STEP
        derivatives[:, :, column] = (block.predict(ahead) - block.predict(behind)) / (2 * STEP)
    rows = np.broadcast_to(np.arange(2 * n).reshape(n, 2, 1), (n, 2, k))
    columns = np.broadcast_to(block.columns[:, None], (n, 2, k))
    keep = ~fixed[columns]
    return coo_array((derivatives[keep], (rows[keep], free[columns[keep]])), shape=(2 * n, count)).tocsr()


def _middle_and_turn(square: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "3"]:
    side = square[1] - square[0]
    return np.array([*square.mean(axis=0), np.arctan2(side[1], side[0])])


def _matrix(numbers: Float[np.ndarray, "6"]) -> Float[np.ndarray, "4 4"]:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(numbers[:3]).as_matrix()
    pose[:3, 3] = numbers[3:]
    return pose


def _numbers(pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "6"]:
    return np.concatenate([Rotation.from_matrix(pose[:3, :3]).as_rotvec(), pose[:3, 3]])
