"""One small pose correction per physical camera: calibrations are good to a pixel or two, images to a tenth of one."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fourdgs_ns.geometry.rotations import multiply_quats, quats_from_vectors, rotation_matrices
from fourdgs_ns.representation.types import GaussiansAtTime


class CameraPoses(nn.Module):
    """Moves the scene a little before each training camera, x -> center + R (x - center) + shift in the training's world.

    That equals moving the camera, and works with rasterizers for which cameras are constants. Rotations and shifts are zero on
    average over the rig: a common motion would only move the scene away from the held-out cameras.
    """

    def __init__(self, num_cameras: int) -> None:
        super().__init__()
        self.rotations = nn.Parameter(torch.zeros(num_cameras, 3))
        """Rotation vectors, radians."""
        self.shifts = nn.Parameter(torch.zeros(num_cameras, 3))
        """Scene units."""

    def transform(
        self, gaussians: GaussiansAtTime, camera: Tensor | int, center: Float[Tensor, "3"]
    ) -> GaussiansAtTime:
        """The slice as it stands before ``camera``, whose centre is given."""
        quat = quats_from_vectors(self.rotations[camera].reshape(1, 3))
        matrix = rotation_matrices(quat)[0]
        means = (gaussians.means - center) @ matrix.T + center + self.shifts[camera].reshape(3)
        if gaussians.covariances is not None:
            return replace(gaussians, means=means, covariances=matrix @ gaussians.covariances @ matrix.T)
        assert gaussians.quats is not None
        return replace(gaussians, means=means, quats=multiply_quats(quat, gaussians.quats))

    @torch.no_grad()
    def center(self) -> None:
        """Bring the mean correction over all cameras back to nothing."""
        self.rotations.sub_(self.rotations.mean(dim=0))
        self.shifts.sub_(self.shifts.mean(dim=0))

    @torch.no_grad()
    def refined(self, camera_from_world: Float[Tensor, "c 4 4"]) -> Float[Tensor, "c 4 4"]:
        """The corrected calibration, camera by camera: W' = W T with T the motion of the scene. Training's world, OpenCV axes."""
        views = camera_from_world.to(self.rotations)
        rotation = views[:, :3, :3]
        centers = -(rotation.transpose(1, 2) @ views[:, :3, 3:])
        moved = torch.eye(4, device=views.device).repeat(len(views), 1, 1)
        moved[:, :3, :3] = rotation_matrices(quats_from_vectors(self.rotations))
        moved[:, :3, 3:] = centers - moved[:, :3, :3] @ centers + self.shifts[:, :, None]
        return views @ moved
