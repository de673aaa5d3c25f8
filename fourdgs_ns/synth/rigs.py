"""Camera rigs of the generator: a frontal arc, a dome around, and one camera that moves.

Poses are world_from_camera with OpenCV axes (x right, y down, z forward), metres; intrinsics in pixels, square, with
the principal point at the image's centre (pixel i covers [i, i + 1)).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fourdgs_ns.geometry.camera import Camera, look_at, pinhole
from fourdgs_ns.synth.scene import Scene

_FOCAL = 0.85  # focal length over image width: 61 degrees across


def kernel_view(camera: Camera) -> Float[np.ndarray, "16"]:
    """The kernels' description of a camera: origin, rotation by rows, fx, fy, cx, cy."""
    k, pose = camera.intrinsics, camera.world_from_camera
    return np.concatenate([pose[:3, 3], pose[:3, :3].ravel(), [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]])


def late_frames(camera: Camera, fps: float) -> float:
    """Frames by which a camera's clock is late: its frame k shows the scene at instant k + late."""
    # Rounded, so that what was given in frames comes back exactly.
    return round((camera.time_offset_seconds or 0.0) * fps, 9)


def _camera(name: str, eye: np.ndarray, target: np.ndarray, width: int, height: int) -> Camera:
    focal = _FOCAL * width
    return Camera(name, width, height, pinhole(focal, focal, width / 2, height / 2), look_at(eye, target))


def _shaken(camera: Camera, rng: np.random.Generator) -> Camera:
    """The camera moved by centimetres and turned by half a degree or so: no real rig is regular."""
    pose = camera.world_from_camera.copy()
    pose[:3, 3] += rng.uniform(-0.03, 0.03, 3)
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(rng.uniform(-0.012, 0.012, 3)).as_matrix()
    return replace(camera, world_from_camera=pose)


def stage_rig(scene: Scene, count: int, width: int, height: int) -> list[Camera]:
    """Two rows of cameras on a frontal arc of up to 64 degrees, 4.7 m away; cam00 in the middle of the others."""
    others = count - 1
    span = 32.0 * min(1.0, others / 4)
    angles = np.radians(np.linspace(-span, span, others) if others > 1 else [span])
    places = [(0.0, 1.55)] + [(angle, 2.0 if i % 2 else 1.15) for i, angle in enumerate(angles)]
    eyes = [np.array([4.7 * np.sin(a), scene.focus[1] - 4.7 * np.cos(a), h]) for a, h in places]
    return _rig(scene, eyes, width, height)


def studio_rig(scene: Scene, count: int, width: int, height: int) -> list[Camera]:
    """Cameras all around at two heights, 3.5 m from the middle, looking inwards."""
    angles = 2 * np.pi * (np.arange(count) + 0.25) / count
    eyes = [np.array([3.5 * np.cos(a), 3.5 * np.sin(a), 2.2 if i % 2 else 1.0]) for i, a in enumerate(angles)]
    return _rig(scene, eyes, width, height)


def _rig(scene: Scene, eyes: list[np.ndarray], width: int, height: int) -> list[Camera]:
    rng = np.random.default_rng([scene.seed, 2])
    digits = max(2, len(str(len(eyes) - 1)))  # so that names sort alike by number and by letters
    return [_shaken(_camera(f"cam{i:0{digits}d}", eye, scene.focus, width, height), rng) for i, eye in enumerate(eyes)]


def rig(scene: Scene, count: int, width: int, height: int) -> list[Camera]:
    """The rig that belongs to a scene, of two cameras or more."""
    return (stage_rig if scene.name == "stage" else studio_rig)(scene, count, width, height)


def moving_camera(scene: Scene, count: int, turn: float, prefix: str, width: int, height: int) -> list[Camera]:
    """``count`` poses of a camera that jumps about the upper part of a sphere of 4 m around the scene.

    Successive poses are a golden angle apart, so that neighbours in time see the scene from all sides; ``turn``
    (radians) rotates the whole path, to tell training from test poses.
    """
    golden = np.pi * (3.0 - np.sqrt(5.0))
    cameras = []
    for i in range(count):
        azimuth = turn + golden * i
        elevation = np.radians(12.0 + 38.0 * ((0.5 + 0.7548776662 * i + turn) % 1.0))
        away = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        cameras.append(_camera(f"{prefix}{i:03d}", scene.focus + 4.0 * away, scene.focus, width, height))
    return cameras
