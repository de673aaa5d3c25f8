"""Random slices and cameras for the tests of the rasterizers (the CPU's and the GPU's)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.representation.types import GaussiansAtTime

NAMES = ("means", "quats", "scales", "opacities", "features")


def make_cameras(count: int, width: int, height: int, off_center: bool = True) -> PinholeCameras:
    """Cameras beside each other near the origin, slightly turned, looking along +z."""
    poses = torch.eye(4).repeat(count, 1, 1)
    for i in range(count):
        angle = torch.tensor(0.1 * i)
        poses[i, 0, 0] = poses[i, 2, 2] = angle.cos()
        poses[i, 0, 2], poses[i, 2, 0] = angle.sin(), -angle.sin()
        poses[i, :3, 3] = torch.tensor([-0.2 * i, 0.1 * i, 0.05 * i])
    shift = (0.17, -0.11) if off_center else (0.0, 0.0)
    intrinsics = torch.tensor(
        [[0.8 * width, 0.0, (0.5 + shift[0]) * width], [0.0, 0.85 * width, (0.5 + shift[1]) * height], [0.0, 0.0, 1.0]]
    )
    return PinholeCameras(poses, intrinsics.repeat(count, 1, 1), width, height, near=0.2)


def make_parameters(
    count: int, channels: int | tuple[int, int], seed: int, pixels: float = 4.0, width: int = 48
) -> dict[str, Tensor]:
    """Gaussians of about ``pixels`` standard deviation: most in view, some beside it, behind or at the near plane;
    opacities from below 1/255 to 1. ``channels``: features per Gaussian, or (k, 3) for spherical harmonics."""
    shape = channels if isinstance(channels, tuple) else (channels,)
    g = torch.Generator().manual_seed(seed)
    depth = 3.0 + 3.0 * torch.rand(count, generator=g)
    slopes = 1.6 * (torch.rand(count, 2, generator=g) - 0.5)
    means = torch.cat([slopes * depth[:, None], depth[:, None]], 1)
    means[4::11, 2] -= 7.0
    means[5::13, 2] = 0.3
    scales = torch.exp(0.6 * torch.randn(count, 3, generator=g)) * pixels * 4.5 / (0.8 * width)
    opacities = torch.rand(count, generator=g)
    opacities[::7] = 1.0
    opacities[3::7] = 0.003
    return {
        "means": means,
        "quats": normalize(torch.randn(count, 4, generator=g), dim=-1),
        "scales": scales,
        "opacities": opacities,
        "features": torch.randn(count, *shape, generator=g),
    }


def make_slice(parameters: dict[str, Tensor]) -> GaussiansAtTime:
    means = parameters["means"]
    ids = torch.arange(len(means), device=means.device)
    return GaussiansAtTime(
        ids=ids, **parameters, velocities=torch.zeros_like(means), weights=torch.ones_like(means[:, 0])
    )
