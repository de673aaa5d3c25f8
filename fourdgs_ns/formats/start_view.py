"""Where a player or a comparison should look from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.geometry.camera import Camera, look_at, pinhole
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.geometry.world import WorldFromCapture

FIELD_OF_VIEW = 50.0
"""Vertical, degrees."""


@dataclass(frozen=True)
class StartView:
    """A camera in the capture's world that looks at ``target``."""

    eye: Float[np.ndarray, "3"]
    target: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    near: float
    """Gaussians nearer than this are not rendered, capture units."""

    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """Axes of the camera as rows: right, down, forward (camera from world)."""
        return self._pose()[:3, :3].T

    def camera(self, width: int, height: int) -> Camera:
        """In the capture's world."""
        focal = 0.5 * height / np.tan(np.radians(FIELD_OF_VIEW) / 2)
        return Camera("view", width, height, pinhole(focal, focal, width / 2, height / 2), self._pose())

    def cameras(self, width: int, height: int) -> PinholeCameras:
        """The same for the rasterizers."""
        return PinholeCameras.of([self.camera(width, height)], self.near)

    def orbited(self, degrees: float) -> StartView:
        """The view after a turn about its target and its up direction."""
        turn = Rotation.from_rotvec(np.radians(degrees) * self.up / np.linalg.norm(self.up)).as_matrix()
        return replace(self, eye=self.target + turn @ (self.eye - self.target))

    def _pose(self) -> Float[np.ndarray, "4 4"]:
        return look_at(self.eye, self.target, self.up)


def start_view(scene: TrainedScene) -> StartView:
    """From the training camera nearest to the middle of the rig to the middle of what is visible halfway through the clip."""
    seen = scene.at(0.5).means
    world = scene.world_from_capture or WorldFromCapture(np.eye(3), np.zeros(3), 1.0)
    means = (seen if len(seen) else scene.parameters["means"]).double().numpy()
    means = (means / world.scale - world.translation) @ world.rotation
    target = np.median(means, axis=0)
    radius = float(np.quantile(np.linalg.norm(means - target, axis=1), 0.75)) or 1.0 / world.scale
    # The dataparser turns scenes so that up is z. Files of other programs have COLMAP's axes, in which y points down.
    up = (
        world.rotation.T @ np.array([0.0, 0.0, 1.0])
        if scene.world_from_capture is not None
        else np.array([0.0, -1.0, 0.0])
    )
    if scene.camera_centers is not None:
        centers = (scene.camera_centers.double().numpy() / world.scale - world.translation) @ world.rotation
        eye = centers[np.argmin(np.linalg.norm(centers - centers.mean(axis=0), axis=1))]
    else:
        side = np.array([0.0, -1.0, 0.0]) if scene.world_from_capture is not None else np.array([0.0, 0.0, -1.0])
        eye = target + 2.5 * radius * (world.rotation.T @ side)
    if np.linalg.norm(np.cross(target - eye, up)) < 1e-6 * radius:
        eye = eye + 1e-2 * radius * (world.rotation.T @ np.array([1.0, 0.7, 0.3]))
    return StartView(eye, target, up, scene.near / world.scale)
