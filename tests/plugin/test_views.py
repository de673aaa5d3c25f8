"""Cameras of training steps: chosen, converted once, and the same as converted on the spot."""

from __future__ import annotations

import dataclasses

import torch
from nerfstudio.cameras.cameras import Cameras

from fourdgs_ns.plugin.compat import select_cameras
from fourdgs_ns.plugin.nerfstudio_cameras import TrainingViews, pinhole_cameras


def some_cameras(v: int = 6) -> Cameras:
    g = torch.Generator().manual_seed(0)
    rotations, _ = torch.linalg.qr(torch.randn(v, 3, 3, generator=g))
    poses = torch.cat([rotations, torch.randn(v, 3, 1, generator=g)], dim=-1)
    focal = 50 + 10 * torch.rand(v, 1, generator=g)
    metadata = {"cam_id": torch.arange(v)[:, None] % 3, "frame_id": torch.arange(v)[:, None] // 3}
    times = torch.linspace(0, 1, v)[:, None]
    return Cameras(poses, focal, focal + 1, 20.0, 15.0, 40, 30, times=times, metadata=metadata)


def test_chosen_as_nerfstudio_chooses():
    cameras, indices = some_cameras(), torch.tensor([4, 1, 4])
    expected, found = cameras[indices], select_cameras(cameras, indices)
    assert isinstance(found, Cameras) and found.shape == expected.shape and len(found) == 3
    for field in dataclasses.fields(expected):
        a, b = getattr(expected, field.name), getattr(found, field.name)
        if isinstance(a, dict):
            assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        else:
            assert (a is None and b is None) or torch.equal(a, b), field.name
    assert torch.equal(found[1:2].camera_to_worlds, expected[1:2].camera_to_worlds), "it is a batch like any other"
    assert cameras.shape == (6,), "the others stay"


def test_learned_views_are_those_converted_on_the_spot():
    cameras, views = some_cameras(), TrainingViews()
    views.learn(cameras[:5], "cpu")
    for indices in ([2], [0, 3], [1, 5]):  # the last one was not learned
        batch = select_cameras(cameras, torch.tensor(indices))
        expected, found = pinhole_cameras(batch, 0.1, "cpu"), views.get(batch, 0.1, "cpu")
        assert torch.equal(found.camera_from_world, expected.camera_from_world)
        assert torch.equal(found.intrinsics, expected.intrinsics)
        assert torch.equal(found.centers(), expected.centers())
        assert (found.width, found.height, found.near) == (40, 30, 0.1)
    batch.metadata = None
    assert torch.equal(views.get(batch, 0.1, "cpu").intrinsics, expected.intrinsics)
