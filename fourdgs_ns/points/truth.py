"""How right initial points are, where the capture comes from the project's generator and the truth is known."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.reading import MALFORMED_HEADER
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.view_volume import attention_point
from fourdgs_ns.points.finding import FoundPoints
from fourdgs_ns.synth.generate import Recipe, build_renderer, build_rig
from fourdgs_ns.synth.media import RECORD

TRUTH = Path("ground_truth") / "points.npz"
SAME_PLACE, RIGHT_VELOCITY = 0.01, 0.20
"""Relative to the scene's size, and to the true velocity."""
MOVES = 0.05
"""Metres per second from which on a point counts as moving."""
NEAR = 3.0
"""Pixels beside the projection of a point at which its surface is looked for."""


@dataclass(frozen=True)
class TruthReport:
    """Errors of the points of all key frames, each with the velocity that it is handed on with."""

    points: int
    scene_size: float
    """Median distance of the cameras from what they look at, world units."""
    position_error: float
    """Median distance to the true surface, relative to the scene's size."""
    within_1_percent: float
    """Share of points nearer than 1 % of the scene's size to the true surface."""
    moving: int
    """Points on what moves at that instant."""
    velocity_known: float
    """Share of these with a velocity."""
    angle_degrees: float
    """Median angle between found and true velocity, where one was found."""
    relative_error: float
    """Median length of their difference, relative to the true one."""
    within_20_percent: float
    """Share of all moving points whose velocity is within 20 % of the true one."""
    moving_called_static: float
    """Share of moving points that were taken for static."""
    static_recognised: float
    """Share of the points on what never moves that were recognised as such."""
    static_speed: float
    """95th percentile of the speed of points on what never moves, scene sizes per clip."""


def has_truth(capture: Capture) -> bool:
    """Whether the capture was generated with ground truth."""
    return (capture.root / TRUTH).is_file() and (capture.root / RECORD).is_file()


def check_against_truth(capture: Capture, found: FoundPoints) -> TruthReport:
    """Compare the points with the exact scene that the capture was rendered from.

    Distances are to the depth maps of the training cameras at the point's instant, rendered again for this. Velocities
    are those of the nearest of the surface points that the generator tracked.

    Raises UserError when the capture has no ground truth.
    """
    if not has_truth(capture):
        raise UserError(
            f"{capture.root} has no {TRUTH}; --check needs a capture of fourdgs-ns synth, written without --no-ground-truth"
        )
    recipe = Recipe.of(capture.root)
    if recipe.layout == "dnerf":
        raise UserError(f"{capture.root} has a single camera that moves; check a capture of another --layout")
    renderer = build_renderer(recipe)
    rig = [camera for camera in build_rig(recipe, renderer) if camera.name in set(found.cameras)]
    cloud, numbers = found.merged.sightings, capture.numbers()
    try:
        with np.load(capture.root / TRUTH) as stored:
            tracked = {name: stored[name] for name in ("positions", "velocities", "objects")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, *MALFORMED_HEADER) as error:
        raise UserError(f"{capture.root / TRUTH} is damaged ({error}); write the capture again") from None
    frames = [int(numbers[f]) for f in found.key_frames.frames]
    times = found.key_frames.times.astype(np.float32)
    nearest = np.abs(cloud.times[:, None] - times[None]).argmin(axis=1)
    n = len(cloud.positions)
    distance, objects, velocity = np.full(n, np.inf), np.zeros(n, int), np.zeros((n, 3))
    moves = np.array([False, *(thing.moves for thing in renderer.scene.things)])
    for k, frame in enumerate(frames):
        ids = np.flatnonzero(nearest == k)
        if len(ids) == 0:
            continue
        views = [(camera, *_surface(renderer, camera, frame)) for camera in rig]
        distance[ids], objects[ids] = surface_distance(cloud.positions[ids].astype(np.float64), views)
        velocity[ids] = _true_velocities(cloud.positions[ids], objects[ids], tracked, frame)
    velocity *= capture.duration_seconds
    return _report(capture, found, distance, moves[objects], velocity)


def _report(
    capture: Capture, found: FoundPoints, distance: np.ndarray, on_actor: np.ndarray, velocity: np.ndarray
) -> TruthReport:
    cloud = found.merged.sightings
    poses = np.concatenate([capture.camera(name).poses for name in found.cameras])
    size = float(np.median(np.linalg.norm(poses[:, :3, 3] - attention_point(poses), axis=1)))
    placed = distance < 2 * SAME_PLACE * size
    speed = np.linalg.norm(velocity, axis=1)
    moving = placed & on_actor & (speed > MOVES * capture.duration_seconds)
    still = placed & ~on_actor
    velocities = cloud.velocities.astype(np.float64)
    known = moving & (np.linalg.norm(velocities, axis=1) > 0)
    error = np.linalg.norm(velocities - velocity, axis=1) / np.maximum(speed, 1e-12)
    length = np.maximum(np.linalg.norm(velocities, axis=1) * speed, 1e-12)
    angle = np.degrees(np.arccos(np.clip((velocities * velocity).sum(axis=1) / length, -1.0, 1.0)))
    return TruthReport(
        len(distance),
        size,
        _over(np.median, distance) / size,
        _over(np.mean, distance < SAME_PLACE * size),
        int(moving.sum()),
        _over(np.mean, known[moving]),
        _over(np.median, angle[known]),
        _over(np.median, error[known]),
        _over(np.mean, (error < RIGHT_VELOCITY)[moving]),
        _over(np.mean, cloud.static[moving]),
        _over(np.mean, cloud.static[still]),
        _over(lambda v: np.percentile(v, 95), np.linalg.norm(velocities[still], axis=1)) / size,
    )


def _over(statistic, values: np.ndarray) -> float:  # type: ignore[no-untyped-def]
    return float(statistic(values)) if len(values) else float("nan")


def _surface(renderer, camera: Camera, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """World points, unit normals and object ids of the pixels of a view: [h, w, 3], [h, w, 3], [h, w]."""
    truth = renderer.ground_truth(camera, frame)
    h, w = truth.depth.shape
    x, y = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(camera.intrinsics).T
    depth = np.where(np.isfinite(truth.depth), truth.depth, 1e6)
    points = (rays * depth[:, :, None]) @ camera.world_from_camera[:3, :3].T + camera.world_from_camera[:3, 3]
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normals = np.cross(across, down)
    return points, normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12), truth.objects


def surface_distance(
    positions: Float[np.ndarray, "n 3"], views: Sequence[tuple[Camera, np.ndarray, np.ndarray, np.ndarray]]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Least distance to what the views show around each point's projection, and the id of that object.

    A pixel stands for the piece of plane it sees, a few pixels wide. Infinite for points outside all views.
    """
    best, objects = np.full(len(positions), np.inf), np.zeros(len(positions), int)
    for camera, surface, normals, labels in views:
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels, depth = camera.project(positions)
        inside = (depth > 0.1) & np.all((pixels >= 1) & (pixels < (camera.width - 1, camera.height - 1)), axis=1)
        ids = np.flatnonzero(inside)
        column, row = pixels[ids].astype(int).T
        reach = NEAR * depth[ids] / camera.intrinsics[0, 0]
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at = row + dy, column + dx
                gap = positions[ids] - surface[at]
                along = np.abs((gap * normals[at]).sum(axis=1))
                beside = np.sqrt(np.maximum((gap**2).sum(axis=1) - along**2, 0.0))
                distance = np.hypot(along, np.maximum(beside - reach, 0.0))
                nearer = distance < best[ids]
                best[ids[nearer]] = distance[nearer]
                objects[ids[nearer]] = labels[at][nearer]
    return best, objects


def _true_velocities(
    positions: np.ndarray, objects: np.ndarray, tracked: dict[str, np.ndarray], frame: int
) -> np.ndarray:
    """Metres per second of the nearest tracked point of the same object; zero for what has none."""
    result = np.zeros((len(positions), 3))
    for thing in np.unique(objects):
        rows = tracked["objects"] == thing
        places, speeds = tracked["positions"][frame][rows], tracked["velocities"][frame][rows]
        there = np.isfinite(places).all(axis=1)
        if there.any():
            mine = objects == thing
            _, at = cKDTree(places[there]).query(positions[mine])
            result[mine] = speeds[there][at]
    return result
