"""Camera rigs of the generator: a frontal arc, a dome around, and one camera that moves.

Poses are world_from_camera with OpenCV axes (x right, y down, z forward), metres; intrinsics in pixels, square, with
the principal point at the image's centre (pixel i covers [i, i + 1)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fourdgs_ns.synth.scene import Scene

_FOCAL = 0.85  # focal length over image width: 61 degrees across


@dataclass(frozen=True)
class RigCamera:
    """One pinhole camera at one place."""

    name: str
    width: int
    height: int
    intrinsics: Float[np.ndarray, "3 3"]
    """Pinhole matrix in pixels."""
    world_from_camera: Float[np.ndarray, "4 4"]
    """OpenCV axes, metres."""
    late: float = 0.0
    """Frames by which this camera's clock is late: its frame k shows the scene at instant k + late."""

    def view(self) -> Float[np.ndarray, "16"]:
        """The kernels' description: origin, rotation by rows, fx, fy, cx, cy."""
        k = self.intrinsics
        pose = self.world_from_camera
        return np.concatenate([pose[:3, 3], pose[:3, :3].ravel(), [k[0, 0], k[1, 1], k[0, 2], k[1, 2]]])

    def project(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Pixel positions and depths in metres of world points."""
        local = (points - self.world_from_camera[:3, 3]) @ self.world_from_camera[:3, :3]
        pixels = local @ self.intrinsics.T
        return pixels[:, :2] / pixels[:, 2:], local[:, 2]


def look_at(eye: np.ndarray, target: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """world_from_camera of a level camera at ``eye`` that looks at ``target``."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def _camera(name: str, eye: np.ndarray, target: np.ndarray, width: int, height: int) -> RigCamera:
    focal = _FOCAL * width
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return RigCamera(name, width, height, intrinsics, look_at(eye, target))


def _shaken(camera: RigCamera, rng: np.random.Generator) -> RigCamera:
    """The camera moved by centimetres and turned by half a degree or so: no real rig is regular."""
    pose = camera.world_from_camera.copy()
    pose[:3, 3] += rng.uniform(-0.03, 0.03, 3)
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(rng.uniform(-0.012, 0.012, 3)).as_matrix()
    return RigCamera(camera.name, camera.width, camera.height, camera.intrinsics, pose)


def stage_rig(scene: Scene, count: int, width: int, height: int) -> list[RigCamera]:
    """Two rows of cameras on a frontal arc of up to 64 degrees, 4.7 m away; cam00 in the middle of the others."""
    others = count - 1
    span = 32.0 * min(1.0, others / 4)
    angles = np.radians(np.linspace(-span, span, others) if others > 1 else [span])
    places = [(0.0, 1.55)] + [(angle, 2.0 if i % 2 else 1.15) for i, angle in enumerate(angles)]
    eyes = [np.array([4.7 * np.sin(a), scene.focus[1] - 4.7 * np.cos(a), h]) for a, h in places]
    return _rig(scene, eyes, width, height)


def studio_rig(scene: Scene, count: int, width: int, height: int) -> list[RigCamera]:
    """Cameras all around at two heights, 3.5 m from the middle, looking inwards."""
    angles = 2 * np.pi * (np.arange(count) + 0.25) / count
    eyes = [np.array([3.5 * np.cos(a), 3.5 * np.sin(a), 2.2 if i % 2 else 1.0]) for i, a in enumerate(angles)]
    return _rig(scene, eyes, width, height)


def _rig(scene: Scene, eyes: list[np.ndarray], width: int, height: int) -> list[RigCamera]:
    rng = np.random.default_rng([scene.seed, 2])
    return [_shaken(_camera(f"cam{i:02d}", eye, scene.focus, width, height), rng) for i, eye in enumerate(eyes)]


def rig(scene: Scene, count: int, width: int, height: int) -> list[RigCamera]:
    """The rig that belongs to a scene, of two cameras or more."""
    return (stage_rig if scene.name == "stage" else studio_rig)(scene, count, width, height)


def moving_camera(scene: Scene, count: int, turn: float, prefix: str, width: int, height: int) -> list[RigCamera]:
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
