"""Pixel rays of pinhole cameras."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.rasterization.types import PinholeCameras


def pixel_rays(cameras: PinholeCameras) -> Float[Tensor, "c h w 6"]:
    """World coordinates of each camera's centre and the unit direction through each pixel's centre."""
    device = cameras.intrinsics.device
    x = torch.arange(cameras.width, device=device) + 0.5
    y = torch.arange(cameras.height, device=device) + 0.5
    k = cameras.intrinsics[:, None, None]
    across = (x[None, None, :] - k[..., 0, 2]) / k[..., 0, 0]
    down = (y[None, :, None] - k[..., 1, 2]) / k[..., 1, 1]
    across, down = torch.broadcast_tensors(across, down)
    in_camera = torch.stack([across, down, torch.ones_like(across)], dim=-1)
    rotation = cameras.camera_from_world[:, :3, :3]
    directions = torch.einsum("chwi,cij->chwj", in_camera, rotation)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    return torch.cat([cameras.centers()[:, None, None].expand_as(directions), directions], dim=-1)
