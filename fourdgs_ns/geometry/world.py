"""The similarity between a capture's world and the training's world, and its inverse for exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.rotations import multiply_quats, quaternion_from_matrix, rotation_between

SAME_WORLD = 3e-3
"""Distance of the same place in two worlds, in their unit, that still makes them one."""


@dataclass(frozen=True)
class WorldFromCapture:
    """x_scene = scale * (rotation @ x_capture + translation)."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    scale: float

    def points_from_capture(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Coordinates in the capture's world -> in the training's."""
        far = np.asarray(points, np.float64)  # as exact as the capture: its world's origin may be far away
        return (self.scale * (far @ self.rotation.T + self.translation)).astype(np.float32)

    def vectors_from_capture(self, vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Displacements in the capture's world -> in the training's."""
        return (self.scale * (vectors @ self.rotation.T)).astype(np.float32)

    def poses_from_capture(self, world_from_camera: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
        """Poses in the capture's world -> in the training's (camera axes unchanged)."""
        poses = world_from_camera.copy()
        poses[:, :3, :3] = self.rotation @ world_from_camera[:, :3, :3]
        poses[:, :3, 3] = self.points_from_capture(world_from_camera[:, :3, 3])
        return poses

    def poses_to_capture(self, world_from_camera: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "n 4 4"]:
        """Inverse of :meth:`poses_from_capture`."""
        poses = np.array(world_from_camera, np.float64)
        poses[:, :3, 3] = (poses[:, :3, 3] / self.scale - self.translation) @ self.rotation
        poses[:, :3, :3] = self.rotation.T @ poses[:, :3, :3]
        return poses

    def vectors_to_capture(self, vectors: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Displacements in the training's world -> in the capture's."""
        return (vectors / self.scale) @ torch.from_numpy(self.rotation).to(vectors)

    def quats_to_capture(self, quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """Rotations of Gaussians, or their rates, in the training's world -> in the capture's."""
        inverse = torch.from_numpy(quaternion_from_matrix(self.rotation.T)).to(quats)
        return multiply_quats(inverse[None], quats)

    def gaussians_to_capture(
        self, means: Float[Tensor, "n 3"], quats: Float[Tensor, "n 4"], log_scales: Float[Tensor, "n 3"]
    ) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
        """Gaussians in the training's world -> the same Gaussians in the capture's."""
        rotation, translation = (
            torch.from_numpy(a).to(means.device, torch.float64) for a in (self.rotation, self.translation)
        )
        turned = ((means.double() / self.scale - translation) @ rotation).to(means)
        return turned, self.quats_to_capture(quats), log_scales - float(np.log(self.scale))

    def single_precision(self) -> float:
        """Distance in the training's world that single precision can tell apart in the capture's, at the training's origin."""
        return float(self.scale * np.spacing(np.float32(np.abs(self.translation).max())))

    def inverse(self) -> WorldFromCapture:
        """The similarity that takes the training's world for a capture's: from the capture's back into the training's."""
        return WorldFromCapture(self.rotation.T, -self.scale * (self.rotation.T @ self.translation), 1.0 / self.scale)

    def as_plain(self) -> dict[str, Any]:
        """Lists and numbers, for checkpoints and headers of files."""
        return {
            "rotation": np.asarray(self.rotation, np.float64).tolist(),
            "translation": np.asarray(self.translation, np.float64).tolist(),
            "scale": float(self.scale),
        }

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> WorldFromCapture:
        """Inverse of :meth:`as_plain`.

        Raises ValueError, KeyError, TypeError or OverflowError for what is no similarity.
        """
        rotation = np.array(values["rotation"], np.float64)
        translation = np.array(values["translation"], np.float64)
        scale = float(values["scale"])
        if rotation.shape != (3, 3) or translation.shape != (3,) or not np.isfinite(translation).all():
            raise ValueError("world_from_capture has the wrong shape")
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or not 0 < scale < np.inf:
            raise ValueError("world_from_capture is no similarity")
        return cls(rotation, translation, scale)

    def as_matrix(self) -> Float[np.ndarray, "3 4"]:
        """[rotation | translation], what Nerfstudio calls the dataparser transform (its scale is kept apart)."""
        return np.concatenate([self.rotation, self.translation[:, None]], axis=1).astype(np.float32)


def check_same_world(stored: WorldFromCapture | None, mine: WorldFromCapture) -> None:
    """Refuse to go on with Gaussians of one world in another.

    Args:
        stored: the world that a checkpoint names; None: the capture's own world.
        mine: what the capture gives as it is read now.

    Raises:
        UserError: they differ by more than a few thousandths of the rig.
    """
    theirs = WorldFromCapture(np.eye(3), np.zeros(3), 1.0) if stored is None else stored
    # Where the capture says that the training's origin and unit vectors are, compared in the training's world.
    axes = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    places = (axes / mine.scale @ mine.rotation) - mine.translation @ mine.rotation
    if np.abs(theirs.scale * (places @ theirs.rotation.T + theirs.translation) - axes).max() < SAME_WORLD:
        return
    if stored is None:
        raise UserError(
            "the checkpoint holds a converted model, which is in the capture's own world; go on with it by adding at the end: "
            "multiview-video-data --orientation none --center none --scale-scene False"
        )
    raise UserError(
        "the checkpoint's scene is turned, moved or scaled otherwise than the capture's as it is read now: other training "
        "cameras, or other options of multiview-video-data; give those of the config.yml beside the checkpoint"
    )


def make_world_from_capture(
    world_from_camera: Float[np.ndarray, "n 4 4"],
    *,
    orient: Literal["up", "none"],
    center: Literal["attention", "cameras", "none"],
    attention: Float[np.ndarray, "3"],
    extent: float,
) -> WorldFromCapture:
    """Choose the training's world from the training cameras.

    Args:
        world_from_camera: OpenCV axes.
        orient: ``up`` turns the cameras' mean up direction (-y of the camera) to +z, which viewers expect.
        center: the origin: where the optical axes nearly meet, the mean camera centre, or unchanged.
        attention: the point where the optical axes nearly meet, capture coordinates.
        extent: length in the capture that becomes 1 in the training's world.
    """
    rotation = np.eye(3)
    if orient == "up":
        up = -world_from_camera[:, :3, 1].mean(axis=0)
        if np.linalg.norm(up) > 1e-3:
            rotation = rotation_between(up / np.linalg.norm(up), np.array([0.0, 0.0, 1.0]))
    origin = {"attention": attention, "cameras": world_from_camera[:, :3, 3].mean(axis=0), "none": np.zeros(3)}[center]
    return WorldFromCapture(rotation, -rotation @ origin, 1.0 / extent)
