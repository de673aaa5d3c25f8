"""The rasterizer once more, as plainly as torch allows: every Gaussian at every pixel, gradients by autograd.

It works in the dtype of its inputs, so that float64 can be checked against finite differences.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.kernels.blending import ALPHA_MAX, ALPHA_MIN, EPS_2D, FAR, TILE_SIZE, TRANSMITTANCE_MIN
from fourdgs_ns.representation.parts.spherical_harmonics import rgb_from_sh


class Images(NamedTuple):
    features: Tensor
    alphas: Tensor
    depths: Tensor
    radii: Tensor
    means2d: Tensor


def rotation_matrices(quats: Tensor) -> Tensor:
    """R v = v + 2 w (u x v) + 2 u x (u x v) for the unit quaternion (w, u), applied to the three axes."""
    w, u = torch.nn.functional.normalize(quats, dim=-1).split([1, 3], dim=-1)
    axes = torch.eye(3, dtype=quats.dtype).expand(len(quats), 3, 3)
    u = u[:, None, :].expand_as(axes)
    turned = torch.linalg.cross(u, axes)
    return (axes + 2 * w[:, None] * turned + 2 * torch.linalg.cross(u, turned)).transpose(1, 2)


def world_covariances(quats: Tensor, scales: Tensor) -> Tensor:
    factors = rotation_matrices(quats) * scales[:, None, :]
    return factors @ factors.transpose(1, 2)


def project(means: Tensor, world: Tensor, pose: Tensor, intrinsics: Tensor, cameras: PinholeCameras):
    """Centres [m, 2], inverse covariances [m, 2, 2], depths [m], radii [m] in one camera."""
    points = means @ pose[:3, :3].T + pose[:3, 3]
    visible = (points[:, 2] >= cameras.near) & (points[:, 2] <= FAR)
    points = torch.where(visible[:, None], points, points.new_tensor([0.0, 0.0, 1.0]))
    focal, center = intrinsics.diagonal()[:2], intrinsics[:2, 2]
    size = points.new_tensor([cameras.width, cameras.height])
    slopes = points[:, :2] / points[:, 2:]
    centers = slopes * focal + center
    # Field of view, widened by 15 % of the image on each side.
    low, high = (-center - 0.15 * size) / focal, (size - center + 0.15 * size) / focal
    slopes = torch.minimum(torch.maximum(slopes, low), high)
    eye = torch.eye(2, dtype=points.dtype)
    jacobians = (
        focal[:, None] / points[:, 2, None, None] * torch.cat([eye.expand(len(points), 2, 2), -slopes[..., None]], -1)
    )
    to_screen = jacobians @ pose[:3, :3]
    covariances = to_screen @ world @ to_screen.transpose(1, 2) + EPS_2D * eye
    largest = covariances.diagonal(dim1=1, dim2=2).mean(1)
    largest = largest + (largest**2 - torch.linalg.det(covariances)).clamp(min=0.01).sqrt()
    radii = (3 * largest.sqrt()).ceil()
    inside = ((centers + radii[:, None] > 0) & (centers - radii[:, None] < size)).all(1)
    radii = torch.where(visible & inside, radii, 0).int()
    return centers, torch.linalg.inv(covariances), points[:, 2], radii


def tile_mask(centers: Tensor, radii: Tensor, pixels: Tensor) -> Tensor:
    """[m, h, w]: whether a pixel lies in a tile that the square of the radius touches."""
    first = ((centers - radii[:, None]) / TILE_SIZE).floor()
    end = ((centers + radii[:, None]) / TILE_SIZE).ceil()
    tiles = (pixels / TILE_SIZE).floor()
    inside = (tiles >= first[:, None, None]) & (tiles < end[:, None, None])
    return inside.all(-1) & (radii > 0)[:, None, None]


def dense_rasterize(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, features: Tensor, background: Tensor,
    cameras: PinholeCameras,
) -> Images:  # fmt: skip
    """What ``rasterize(..., depth=True)`` must return."""
    return dense_rasterize_covariances(
        means, world_covariances(quats, scales), opacities, features, background, cameras
    )


def dense_rasterize_covariances(
    means: Tensor, world: Tensor, opacities: Tensor, features: Tensor, background: Tensor, cameras: PinholeCameras
) -> Images:
    """The same for world covariances [m, 3, 3]."""
    c, dtype = len(cameras), means.dtype
    ys, xs = torch.meshgrid(torch.arange(cameras.height), torch.arange(cameras.width), indexing="ij")
    pixels = torch.stack([xs, ys], -1).to(dtype) + 0.5
    projected = [
        project(means, world, cameras.camera_from_world[i].to(dtype), cameras.intrinsics[i].to(dtype), cameras)
        for i in range(c)
    ]
    means2d = torch.stack([p[0] for p in projected])
    if means2d.requires_grad:
        means2d.retain_grad()
    images, alphas, depth_images = [], [], []
    for i, (_, conics, depths, radii) in enumerate(projected):
        colors = features
        if features.dim() == 3:
            pose = cameras.camera_from_world[i].to(dtype)
            colors = rgb_from_sh(features, means + pose[:3, :3].T @ pose[:3, 3])
        offsets = means2d[i][:, None, None, :] - pixels
        sigmas = 0.5 * torch.einsum("mhwi,mij,mhwj->mhw", offsets, conics, offsets)
        alpha = (opacities[:, None, None] * torch.exp(-sigmas)).clamp(max=ALPHA_MAX)
        visible = tile_mask(means2d[i].detach(), radii, pixels) & (alpha >= ALPHA_MIN) & (sigmas >= 0)
        transmittance = torch.ones_like(alpha[0])
        finished = torch.zeros_like(transmittance, dtype=torch.bool)
        image = torch.zeros(*transmittance.shape, features.shape[-1] + 1, dtype=dtype)
        for m in torch.argsort(depths, stable=True).tolist():
            left = transmittance * (1 - alpha[m])
            finished = finished | (visible[m] & (left <= TRANSMITTANCE_MIN))
            now = visible[m] & ~finished
            weight = torch.where(now, transmittance * alpha[m], 0)
            image = image + weight[..., None] * torch.cat([colors[m], depths[m, None]])
            transmittance = torch.where(now, left, transmittance)
        images.append(image[..., :-1] + transmittance[..., None] * background.expand(c, -1)[i])
        alphas.append(1 - transmittance[..., None])
        depth_images.append(image[..., -1:] / alphas[-1].clamp(min=1e-10))
    radii = torch.stack([p[3] for p in projected])
    return Images(torch.stack(images), torch.stack(alphas), torch.stack(depth_images), radii, means2d)
