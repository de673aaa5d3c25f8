"""Radii of gsplat 1.4 from the projections of gsplat 1.5, whose own end 3.33 standard deviations along each axis."""

from __future__ import annotations

import torch

from fourdgs_ns.rasterization.gsplat_backend import square_radii

from .dense_twin import project, world_covariances
from .random_scenes import make_cameras, make_parameters


def test_as_gsplat_1_4_has_them():
    cameras, parameters = make_cameras(2, 60, 45), make_parameters(2000, 3, seed=0, pixels=5.0, width=60)
    world = world_covariances(parameters["quats"], parameters["scales"]).double()
    expected, ours, missed = [], [], 0
    for pose, intrinsics in zip(cameras.camera_from_world.double(), cameras.intrinsics.double()):
        depths = (parameters["means"].double() @ pose[:3, :3].T + pose[:3, 3])[:, 2]
        centers, conics, _, radii = project(parameters["means"].double(), world, pose, intrinsics, cameras)
        per_axis = torch.ceil(3.33 * torch.linalg.inv(conics).diagonal(dim1=1, dim2=2).sqrt())
        touches = ((centers + per_axis > 0) & (centers - per_axis < torch.tensor([60, 45]))).all(1)
        seen = touches & (depths >= cameras.near)
        per_axis = torch.where(seen[:, None], per_axis, 0).int()
        conics = torch.stack([conics[:, 0, 0], conics[:, 0, 1], conics[:, 1, 1]], -1)
        ours.append(square_radii(per_axis[None], centers[None].float(), conics[None].float(), 60, 45)[0])
        expected.append(torch.where(seen, radii, 0))
        missed += int(((radii > 0) & ~seen).sum())
    ours, expected = torch.stack(ours), torch.stack(expected)
    assert int((expected > 0).sum()) > 1000 and int((expected == 0).sum()) > 500 and missed > 0
    assert int((ours - expected).abs().max()) <= 1  # rounded up on either side of a whole number
    assert float((ours != expected).float().mean()) < 0.005
