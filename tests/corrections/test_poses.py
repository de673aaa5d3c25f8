"""Pose corrections: equal to moving the camera, and a wrong calibration is found through the renderer."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fourdgs_ns.corrections.poses import CameraPoses
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.freetime import FreeTimeConfig
from tests.densification.test_relocation import scene
from tests.rasterization.random_scenes import make_cameras


def the_slice():
    representation, params = FreeTimeConfig(sh_degree=0).setup(), dict(scene(120).items())
    with torch.no_grad():
        return representation.at(params, 0.5, representation.active(params, 0.5))


def as_covariances(gaussians):
    """The same slice, its shapes stated by covariances."""
    factors = rotation_matrices(gaussians.quats) * gaussians.scales[:, None, :]
    return dataclasses.replace(gaussians, quats=None, scales=None, covariances=factors @ factors.transpose(1, 2))


@pytest.mark.parametrize("state", [lambda g: g, as_covariances], ids=["axes", "covariances"])
def test_moving_the_scene_equals_moving_the_camera(state):
    poses, cameras, gaussians = CameraPoses(2), make_cameras(2, 64, 48), state(the_slice())
    poses.rotations.data[1], poses.shifts.data[1] = torch.tensor([0.02, -0.03, 0.01]), torch.tensor([0.05, 0.0, -0.04])
    single = dataclasses.replace(
        cameras, camera_from_world=cameras.camera_from_world[1:], intrinsics=cameras.intrinsics[1:]
    )
    with torch.no_grad():
        moved_scene = rasterize(poses.transform(gaussians, 1, single.centers()[0]), single).features
        refined = poses.refined(cameras.camera_from_world)
        torch.testing.assert_close(refined[0], cameras.camera_from_world[0])
        moved_camera = rasterize(gaussians, dataclasses.replace(single, camera_from_world=refined[1:])).features
    assert float((moved_scene - moved_camera).abs().mean()) < 1e-5
    assert float((moved_scene - rasterize(gaussians, single).features).abs().mean()) > 1e-3


def test_a_wrong_calibration_is_found():
    """Images of a camera that really stands 0.4 degrees and 0.02 units from where its calibration says."""
    gaussians, cameras, truth = the_slice(), make_cameras(1, 64, 64), CameraPoses(1)
    truth.rotations.data[0] = torch.tensor([0.0, 0.007, 0.0])
    truth.shifts.data[0] = torch.tensor([0.02, -0.01, 0.0])
    right = dataclasses.replace(cameras, camera_from_world=truth.refined(cameras.camera_from_world))
    with torch.no_grad():
        image = rasterize(gaussians, right).features
    poses = CameraPoses(1)
    optimizer = torch.optim.Adam(poses.parameters(), lr=2e-3)
    for _ in range(120):
        optimizer.zero_grad()
        (
            rasterize(poses.transform(gaussians, 0, cameras.centers()[0]), cameras).features - image
        ).abs().mean().backward()
        optimizer.step()
    found, wanted = poses.refined(cameras.camera_from_world)[0], right.camera_from_world[0]

    def misses(view: torch.Tensor) -> float:
        """Largest distance in pixels between where the two calibrations see the Gaussians."""
        one, other = (
            rasterize(gaussians, PinholeCameras(v[None], cameras.intrinsics, 64, 64)).means2d[0] for v in (view, wanted)
        )
        return float((one - other).norm(dim=-1).median())

    assert misses(cameras.camera_from_world[0]) > 0.2
    assert misses(found) < 0.05


def test_the_rig_as_a_whole_stays():
    poses = CameraPoses(3)
    poses.rotations.data = torch.randn(3, 3)
    poses.shifts.data = torch.randn(3, 3)
    poses.center()
    assert float(poses.rotations.mean(0).abs().max()) < 1e-6 and float(poses.shifts.mean(0).abs().max()) < 1e-6
