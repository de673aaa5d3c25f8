"""The exact answers that a synthetic capture comes with, in its folder ``ground_truth``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.common.files import write_json
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.synth import surface_points as surface
from fourdgs_ns.synth.media import write_image
from fourdgs_ns.synth.renderer import Renderer
from fourdgs_ns.synth.rigs import late_frames

DEPTH_UNIT_METRES = 0.00025
"""Step of the 16-bit depth images; they reach to 16.38 m, and 0 means nothing there."""


def write_cameras(path: Path, cameras: dict[str, Camera], fps: float) -> None:
    """cameras.json: {name: {width, height, intrinsics [3][3], world_from_camera [4][4], late (frames)}}, OpenCV axes, metres."""
    content = {
        name: {
            "width": camera.width,
            "height": camera.height,
            "intrinsics": camera.intrinsics.tolist(),
            "world_from_camera": camera.world_from_camera.tolist(),
            "late": late_frames(camera, fps),
        }
        for name, camera in cameras.items()
    }
    write_json(path, content)


def describe(renderer: Renderer, views: dict[str, list[int]]) -> dict[str, Any]:
    """scene.json: what the things are and do. ``views``: frames of the depth and object images by camera."""
    scene = renderer.scene
    things = [
        {
            "id": number,
            "name": thing.name,
            "does": thing.does,
            "moves": thing.moves,
            "first_frame": thing.first_frame,
            "last_frame": scene.clip.frames - 1 if thing.last_frame is None else thing.last_frame,
        }
        for number, thing in enumerate(scene.things, start=1)
    ]
    return {
        "scene": scene.name,
        "seed": scene.seed,
        "frames": scene.clip.frames,
        "fps": scene.clip.fps,
        "world": "metres, right-handed, z up, floor at z = 0",
        "depth_unit_metres": DEPTH_UNIT_METRES,
        "views": views,
        "objects": [{"id": 0, "name": "room" if renderer.indoors else "nothing", "moves": False}, *things],
    }


def tracked_points(renderer: Renderer, per_thing: int) -> dict[str, Any]:
    """points.npz: points that stick to the surfaces.

    Of actors, over all F frames: ``positions`` float32 [F, P, 3] in metres and ``velocities`` in metres per second
    (NaN while the actor does not exist), ``colors`` uint8 [F, P, 3] (sRGB as lit, without highlights), ``objects``
    uint8 [P], ``first_frame`` and ``last_frame`` int32 [P]. Of room and furniture: ``still_positions`` [S, 3],
    ``still_colors`` [S, 3] (without the shadows of actors) and ``still_objects`` [S]. ``times`` float64 [F] in [0, 1].
    """
    scene = renderer.scene
    rng = np.random.default_rng([scene.seed, 3])
    frames = range(scene.clip.frames)
    moving = surface.on_things(scene, per_thing, rng, moving=True)
    still = surface.on_things(scene, per_thing, rng, moving=False)
    if renderer.indoors:
        still = surface.joined(still, surface.on_room(scene, 5 * per_thing, rng))
    places, speeds, tints = [], [], []
    for frame in frames:
        seconds = scene.clip.seconds(frame)
        there = surface.exists(scene, moving, frame)
        places.append(np.where(there[:, None], surface.positions(scene, moving, seconds), np.nan))
        speeds.append(np.where(there[:, None], surface.velocities(scene, moving, seconds), np.nan))
        tints.append(np.where(there[:, None], surface.colors(renderer, moving, frame), 0))
    objects = np.concatenate([scene.object_ids, [0]]).astype(np.uint8)
    ids = objects[moving.code]
    ends = [scene.clip.frames - 1 if t.last_frame is None else t.last_frame for t in scene.things]
    return {
        "positions": np.stack(places).astype(np.float32),
        "velocities": np.stack(speeds).astype(np.float32),
        "colors": np.stack(tints).astype(np.uint8),
        "objects": ids,
        "first_frame": np.array([t.first_frame for t in scene.things], np.int32)[ids - 1],
        "last_frame": np.array(ends, np.int32)[ids - 1],
        "still_positions": surface.positions(scene, still, 0.0).astype(np.float32),
        "still_colors": surface.colors(renderer, still, 0, actors=False),
        "still_objects": objects[np.where(still.code < 0, -1, still.code)],
        "times": np.array([scene.clip.time(frame) for frame in frames]),
    }


def write_points(path: Path, renderer: Renderer, per_thing: int) -> None:
    """Write :func:`tracked_points`, compressed."""
    np.savez_compressed(path, **tracked_points(renderer, per_thing))


def write_view(root: Path, renderer: Renderer, camera: Camera, frame: int, name: str) -> None:
    """depth/<name>.png (16 bit, steps of DEPTH_UNIT_METRES) and objects/<name>.png (ids) of one view."""
    truth = renderer.ground_truth(camera, frame)
    depth = np.where(np.isfinite(truth.depth), truth.depth / DEPTH_UNIT_METRES, 0.0)
    write_image(root / "depth" / f"{name}.png", np.clip(np.round(depth), 0, 65535).astype(np.uint16))
    write_image(root / "objects" / f"{name}.png", truth.objects)
