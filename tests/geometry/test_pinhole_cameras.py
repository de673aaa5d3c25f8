"""Batches of cameras: their rays hit what pinhole projection says, and they project like each camera."""

from __future__ import annotations

import numpy as np
import torch

from fourdgs_ns.geometry.camera import Camera, look_at, pinhole
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.geometry.rotations import rotation_matrices


def test_points_on_a_ray_project_to_its_pixel():
    torch.manual_seed(0)
    views = torch.eye(4).repeat(2, 1, 1)
    views[:, :3, :3] = rotation_matrices(torch.randn(2, 4))
    views[:, :3, 3] = torch.randn(2, 3)
    matrix = torch.tensor([[50.0, 0, 13.0], [0, 60.0, 7.5], [0, 0, 1]]).repeat(2, 1, 1)
    rays = PinholeCameras(views, matrix, width=20, height=16).rays()
    torch.testing.assert_close(rays[..., 3:].norm(dim=-1), torch.ones(2, 16, 20))
    for c in range(2):
        points = rays[c, ..., :3] + 3.7 * rays[c, ..., 3:]
        local = points @ views[c, :3, :3].T + views[c, :3, 3]
        u = local[..., 0] / local[..., 2] * 50 + 13
        v = local[..., 1] / local[..., 2] * 60 + 7.5
        torch.testing.assert_close(u, (torch.arange(20) + 0.5).expand(16, 20), atol=1e-3, rtol=0)
        torch.testing.assert_close(v, (torch.arange(16) + 0.5)[:, None].expand(16, 20), atol=1e-3, rtol=0)


def test_a_batch_of_cameras_projects_like_each_of_them():
    matrix = pinhole(50.0, 60.0, 13.0, 7.5)
    eyes = (np.array([3.0, 1.0, 2.0]), np.array([-1.0, 4.0, 0.5]))
    cameras = [Camera(f"cam{i}", 20, 16, matrix, look_at(eye, np.zeros(3))) for i, eye in enumerate(eyes)]
    batch = PinholeCameras.of(cameras, near=0.3)
    assert (len(batch), batch.width, batch.height, batch.near) == (2, 20, 16, 0.3)
    points = np.random.default_rng(0).normal(size=(50, 3)) * 0.3
    for camera, view, k, center in zip(
        cameras, batch.camera_from_world, batch.intrinsics, batch.centers(), strict=True
    ):
        local = torch.from_numpy(points).float() @ view[:3, :3].T + view[:3, 3]
        pixels, depths = camera.project(points)
        found = local @ k.T
        np.testing.assert_allclose((found[:, :2] / found[:, 2:]).numpy(), pixels, atol=1e-3)
        np.testing.assert_allclose(local[:, 2].numpy(), depths, atol=1e-5)
        np.testing.assert_allclose(center.numpy(), camera.center, atol=1e-5)
