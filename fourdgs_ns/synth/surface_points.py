"""Points on the true surfaces: where they are at every frame, how fast, in which colour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from fourdgs_ns.common.compiled import spread
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.synth import shading, trace
from fourdgs_ns.synth.renderer import Renderer
from fourdgs_ns.synth.scene import Part, Scene

_STEP_SECONDS = 1e-4


@dataclass(frozen=True)
class SurfacePoints:
    """Points that stick to the surfaces of primitives and of the room."""

    code: Int[np.ndarray, " n"]
    """As in :mod:`trace`: row of the primitive, or -1 - face of the room."""
    local: Float[np.ndarray, "n 3"]
    """Object-space position, or (u, v, 0) on the face."""
    normal: Float[np.ndarray, "n 3"]
    """Object-space outward normal before the scale is undone, or the world normal of the face."""

    def take(self, keep: np.ndarray) -> SurfacePoints:
        """The points selected by an index array or a mask."""
        return SurfacePoints(self.code[keep], self.local[keep], self.normal[keep])


def joined(*groups: SurfacePoints) -> SurfacePoints:
    """The points of all groups."""
    return SurfacePoints(
        np.concatenate([g.code for g in groups]),
        np.concatenate([g.local for g in groups]),
        np.concatenate([g.normal for g in groups]),
    )


def _on_part(part: Part, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Object-space positions and normals of ``count`` points, uniform over the area of the part at rest."""
    size = np.array(part.extent)
    if part.kind == trace.BOX:
        faces = np.array([size[1] * size[2], size[0] * size[2], size[0] * size[1]])
        axis = rng.choice(3, count, p=faces / faces.sum())
        local = rng.uniform(-1, 1, (count, 3))
        side = rng.choice([-1.0, 1.0], count)
        normal = np.zeros((count, 3))
        normal[np.arange(count), axis] = side
        local[np.arange(count), axis] = side
        return local, normal
    angle = rng.uniform(0, 2 * np.pi, count)
    circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=1)
    z_axis = np.array([0.0, 0.0, 1.0])
    if part.kind == trace.CYLINDER:
        wall = 2 * size[2]
        on_wall = rng.random(count) < wall / (wall + size[0])
        side = rng.choice([-1.0, 1.0], count)[:, None] * z_axis
        local = np.where(on_wall[:, None], circle + rng.uniform(-1, 1, (count, 1)) * z_axis, side)
        local += np.where(on_wall, 0.0, np.sqrt(rng.random(count)))[:, None] * circle
        return local, np.where(on_wall[:, None], circle, side)
    if part.kind == trace.TORUS:
        tube = _accepted(count, rng, lambda a: (1 + part.shape * np.cos(a)) / (1 + part.shape))
        normal = np.cos(tube)[:, None] * circle + np.sin(tube)[:, None] * z_axis
        return circle + part.shape * normal, normal
    sphere = rng.normal(size=(4 * count + 16, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    if part.kind == trace.CAPSULE:
        sphere = sphere[:count]
        on_wall = rng.random(count) < part.shape / (1 + part.shape)
        normal = np.where(on_wall[:, None], circle, sphere)
        offset = np.where(on_wall, rng.uniform(-1, 1, count), np.sign(sphere[:, 2])) * part.shape
        return normal + offset[:, None] * z_axis, normal
    # An area element of the unit sphere grows in proportion to |n / size|.
    growth = np.linalg.norm(sphere / size, axis=1) * size.min()
    sphere = np.concatenate([sphere[rng.random(len(sphere)) < growth], sphere])[:count]
    return sphere, sphere


def _accepted(count: int, rng: np.random.Generator, density: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Angles in [0, 2 pi) with a density that is at most 1."""
    angle = rng.uniform(0, 2 * np.pi, 8 * count + 64)
    return angle[rng.random(len(angle)) < density(angle)][:count]


def _area(part: Part) -> float:
    """Surface at rest in square metres (ellipsoids: Thomsen's formula)."""
    a, b, c = part.extent
    if part.kind == trace.BOX:
        return 8 * (a * b + b * c + a * c)
    if part.kind == trace.CYLINDER:
        return 2 * np.pi * a * (2 * c + a)
    if part.kind == trace.CAPSULE:
        return 4 * np.pi * a * a * (1 + part.shape)
    if part.kind == trace.TORUS:
        return 4 * np.pi**2 * part.shape * a * a
    p = 1.6075
    return 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)


def on_things(scene: Scene, per_thing: int, rng: np.random.Generator, moving: bool) -> SurfacePoints:
    """``per_thing`` points on each actor (``moving``) or each piece of furniture."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    row = 0
    for thing in scene.things:
        rows = np.arange(row, row + len(thing.parts))
        row += len(thing.parts)
        if thing.moves != moving:
            continue
        areas = np.array([_area(part) for part in thing.parts])
        counts = np.diff(np.round(per_thing * np.concatenate([[0], np.cumsum(areas)]) / areas.sum()).astype(int))
        for code, part, count in zip(rows, thing.parts, counts, strict=True):
            found.append((np.full(count, code), *_on_part(part, int(count), rng)))
    return SurfacePoints(*(np.concatenate(column) for column in zip(*found, strict=True)))


def on_room(scene: Scene, count: int, rng: np.random.Generator) -> SurfacePoints:
    """Points uniform over the faces of the room."""
    low, high = scene.room
    size = high - low
    axes = [(1, 2), (0, 2), (0, 1)]
    areas = np.repeat([size[a] * size[b] for a, b in axes], 2)
    face = rng.choice(6, count, p=areas / areas.sum())
    local, normal = np.zeros((count, 3)), np.zeros((count, 3))
    share = rng.random((count, 2))
    for k in range(2):
        axis = np.array([pair[k] for pair in axes])[face // 2]
        local[:, k] = low[axis] + share[:, k] * size[axis]
    normal[np.arange(count), face // 2] = np.where(face % 2 == 0, 1.0, -1.0)
    return SurfacePoints(-1 - face, local, normal)


def positions(scene: Scene, points: SurfacePoints, seconds: float) -> Float[np.ndarray, "n 3"]:
    """World positions in metres, also while the thing does not exist."""
    result = np.empty((len(points.code), 3))
    for row, part in enumerate(scene.parts):
        mine = points.code == row
        if mine.any():
            place = part.motion(seconds)
            stretched = points.local[mine] * np.multiply(part.extent, place.stretch)
            result[mine] = place.center + stretched @ place.rotation.T
    for face in range(6):
        mine = points.code == -1 - face
        axis = face // 2
        others = [a for a in range(3) if a != axis]
        result[np.ix_(mine, others)] = points.local[mine, :2]
        result[mine, axis] = scene.room[face % 2, axis]
    return result


def velocities(scene: Scene, points: SurfacePoints, seconds: float) -> Float[np.ndarray, "n 3"]:
    """Metres per second: central difference of the exact motion over 0.2 ms."""
    ahead = positions(scene, points, seconds + _STEP_SECONDS)
    return (ahead - positions(scene, points, seconds - _STEP_SECONDS)) / (2 * _STEP_SECONDS)


def normals(scene: Scene, points: SurfacePoints, seconds: float) -> Float[np.ndarray, "n 3"]:
    """World unit normals, outward."""
    result = points.normal.copy()
    for row, part in enumerate(scene.parts):
        mine = points.code == row
        if mine.any():
            place = part.motion(seconds)
            unscaled = points.normal[mine] / np.multiply(part.extent, place.stretch)
            result[mine] = unscaled @ place.rotation.T
    return result / np.linalg.norm(result, axis=1, keepdims=True)


def exists(scene: Scene, points: SurfacePoints, frame: int) -> Bool[np.ndarray, " n"]:
    """Whether each point's thing exists at a frame."""
    present = np.repeat([thing.exists(frame) for thing in scene.things], [len(t.parts) for t in scene.things])
    return (points.code < 0) | present[np.maximum(points.code, 0)]


def colors(renderer: Renderer, points: SurfacePoints, frame: int, actors: bool = True) -> UInt8[np.ndarray, "n 3"]:
    """sRGB colours as lit at a frame, without highlights; ``actors``: with the shadows of what moves."""
    scene = renderer.scene
    table = renderer.table(frame)
    if not actors:
        table = table[: scene.num_still]
    seconds = scene.clip.seconds(frame)
    samples = trace.allocate_samples(len(points.code))
    samples.code[:] = points.code
    samples.local[:] = points.local
    samples.position[:] = positions(scene, points, seconds)
    samples.normal[:] = normals(scene, points, seconds)
    present = np.flatnonzero(table[:, trace.KIND] >= 0)
    everything = np.concatenate([[len(present)], present]).astype(np.int16)[None]
    count, chunk = len(points.code), 512
    spread(
        available_cores(),
        trace.light_points,
        count,
        chunk,
        table,
        everything,
        renderer.world,
        renderer.indoors,
        samples,
    )
    result = np.zeros((count, 3), np.uint8)
    surfaces, palette = renderer.surfaces, renderer.palette
    spread(
        available_cores(),
        shading.shade_points,
        count,
        chunk,
        surfaces,
        palette,
        scene.lights,
        scene.window,
        samples,
        result,
    )
    return result


@dataclass(frozen=True)
class PointsOverClip:
    """A cloud with a time per point, noise-free: what structure from motion would find at best."""

    positions: Float32[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    times: Float32[np.ndarray, " n"]
    """In [0, 1]."""


def over_clip(renderer: Renderer, cameras: Sequence[Camera], budget: int, seed: int) -> PointsOverClip:
    """About ``budget`` points spread evenly over the frames, of room, furniture and actors alike.

    Points outside the image of every camera are left out; those that another surface hides are not.
    """
    scene = renderer.scene
    rng = np.random.default_rng([seed, 4])
    frames = scene.clip.frames
    num_actors = sum(thing.moves for thing in scene.things)
    num_furniture = len(scene.things) - num_actors
    still = on_things(scene, budget // 8 // num_furniture + 1, rng, moving=False)
    if renderer.indoors:
        still = joined(still, on_room(scene, budget * 3 // 8, rng))
    moving = on_things(scene, max(40, budget // 2 // frames // num_actors), rng, moving=True)
    at_frame = rng.integers(0, frames, len(still.code))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for frame in range(frames):
        now = joined(still.take(at_frame == frame), moving.take(exists(scene, moving, frame)))
        places = positions(scene, now, scene.clip.seconds(frame))
        keep = np.any([_inside(camera, places) for camera in cameras], axis=0)
        time = np.full(np.count_nonzero(keep), scene.clip.time(frame))
        parts.append((places[keep], colors(renderer, now.take(keep), frame), time))
    xyz, rgb, times = (np.concatenate(column) for column in zip(*parts, strict=True))
    return PointsOverClip(xyz.astype(np.float32), rgb, times.astype(np.float32))


def _inside(camera: Camera, places: np.ndarray) -> Bool[np.ndarray, " n"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels, depth = camera.project(places)
        return (depth > 0.1) & np.all((pixels >= 0) & (pixels <= (camera.width, camera.height)), axis=1)
