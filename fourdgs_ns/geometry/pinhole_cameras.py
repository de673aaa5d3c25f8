"""A batch of cameras as the rasterizers want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.geometry.camera import Camera


@dataclass(frozen=True)
class PinholeCameras:
    """Undistorted cameras of one size that look at the same instant, as tensors for the rasterizers."""

    camera_from_world: Float[Tensor, "c 4 4"]
    """Rigid, OpenCV axes: x right, y down, z forward."""
    intrinsics: Float[Tensor, "c 3 3"]
    """Pixels; pixel i covers [i, i + 1), so its centre is at i + 0.5."""
    width: int
    height: int
    near: float = 0.01
    """Gaussians whose centre is nearer than this along z are not rendered (world units)."""

    known_centers: Float[Tensor, "c 3"] | None = None
    """Where the cameras are, for who has computed it already; see :meth:`centers`."""
    _centers: Float[Tensor, "c 3"] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        c = self.camera_from_world.shape[0]
        assert self.camera_from_world.shape == (c, 4, 4), self.camera_from_world.shape
        assert self.intrinsics.shape == (c, 3, 3), self.intrinsics.shape

    @classmethod
    def of(cls, cameras: Sequence[Camera], near: float = 0.01) -> PinholeCameras:
        """Float32 tensors on the CPU of at least one camera; all have the size of the first and no distortion."""
        first = cameras[0]
        assert all((c.width, c.height, c.distortion) == (first.width, first.height, ()) for c in cameras), cameras
        poses = torch.from_numpy(np.stack([c.world_from_camera for c in cameras]))
        views = torch.eye(4, dtype=poses.dtype).repeat(len(cameras), 1, 1)
        views[:, :3, :3] = poses[:, :3, :3].transpose(1, 2)
        views[:, :3, 3:] = -views[:, :3, :3] @ poses[:, :3, 3:]
        intrinsics = torch.from_numpy(np.stack([c.intrinsics for c in cameras]))
        return cls(views.float(), intrinsics.float(), first.width, first.height, near)

    def __len__(self) -> int:
        return self.camera_from_world.shape[0]

    def centers(self) -> Float[Tensor, "c 3"]:
        """Where the cameras are, world coordinates."""
        if self.known_centers is not None:
            return self.known_centers
        if self._centers is None:
            rotation, translation = self.camera_from_world[:, :3, :3], self.camera_from_world[:, :3, 3:]
            object.__setattr__(self, "_centers", -(rotation.transpose(1, 2) @ translation).squeeze(-1))
            assert self._centers is not None
        return self._centers

    def rays(self) -> Float[Tensor, "c h w 6"]:
        """World coordinates of each camera's centre and the unit direction through each pixel's centre."""
        device = self.intrinsics.device
        x = torch.arange(self.width, device=device) + 0.5
        y = torch.arange(self.height, device=device) + 0.5
        k = self.intrinsics[:, None, None]
        across = (x[None, None, :] - k[..., 0, 2]) / k[..., 0, 0]
        down = (y[None, :, None] - k[..., 1, 2]) / k[..., 1, 1]
        across, down = torch.broadcast_tensors(across, down)
        in_camera = torch.stack([across, down, torch.ones_like(across)], dim=-1)
        rotation = self.camera_from_world[:, :3, :3]
        directions = torch.einsum("chwi,cij->chwj", in_camera, rotation)
        directions = torch.nn.functional.normalize(directions, dim=-1)
        return torch.cat([self.centers()[:, None, None].expand_as(directions), directions], dim=-1)
