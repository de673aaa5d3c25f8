"""Pixel rays hit what pinhole projection says."""

from __future__ import annotations

import torch

from fourdgs_ns.geometry.rays import pixel_rays
from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.rasterization.types import PinholeCameras


def test_points_on_a_ray_project_to_its_pixel():
    torch.manual_seed(0)
    views = torch.eye(4).repeat(2, 1, 1)
    views[:, :3, :3] = rotation_matrices(torch.randn(2, 4))
    views[:, :3, 3] = torch.randn(2, 3)
    matrix = torch.tensor([[50.0, 0, 13.0], [0, 60.0, 7.5], [0, 0, 1]]).repeat(2, 1, 1)
    rays = pixel_rays(PinholeCameras(views, matrix, width=20, height=16))
    torch.testing.assert_close(rays[..., 3:].norm(dim=-1), torch.ones(2, 16, 20))
    for c in range(2):
        points = rays[c, ..., :3] + 3.7 * rays[c, ..., 3:]
        local = points @ views[c, :3, :3].T + views[c, :3, 3]
        u = local[..., 0] / local[..., 2] * 50 + 13
        v = local[..., 1] / local[..., 2] * 60 + 7.5
        torch.testing.assert_close(u, (torch.arange(20) + 0.5).expand(16, 20), atol=1e-3, rtol=0)
        torch.testing.assert_close(v, (torch.arange(16) + 0.5)[:, None].expand(16, 20), atol=1e-3, rtol=0)
