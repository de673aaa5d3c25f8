"""Rigs: poses are rotations, cam00 interpolates, and everything of interest is in view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.synth.generate import build_renderer
from fourdgs_ns.synth.rigs import moving_camera, rig


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_poses_are_proper_and_names_sorted(renderer, count):
    cameras = rig(renderer.scene, count, 64, 48)
    assert [c.name for c in cameras] == [f"cam{i:02d}" for i in range(count)]
    for camera in cameras:
        rotation = camera.world_from_camera[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        pixels, depth = camera.project(renderer.scene.focus[None])
        assert depth[0] > 2
        np.testing.assert_allclose(pixels[0], [32, 24], atol=4)
        low, high = renderer.scene.room
        assert np.all((camera.world_from_camera[:3, 3] > low) & (camera.world_from_camera[:3, 3] < high))
    centres = np.array([c.world_from_camera[:3, 3] for c in cameras])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)[np.triu_indices(count, 1)]
    assert apart.min() > 0.2


def test_first_camera_of_the_stage_stands_among_the_others(recipe):
    renderer = build_renderer(recipe)
    centres = np.array([c.world_from_camera[:3, 3] for c in rig(renderer.scene, 8, 64, 48)])
    bearing = np.degrees(np.arctan2(centres[:, 0], -centres[:, 1] + renderer.scene.focus[1]))
    assert 60 < np.ptp(bearing) < 70
    assert (bearing[1:] < bearing[0]).any() and (bearing[1:] > bearing[0]).any()
    assert centres[1:, 2].min() < centres[0, 2] < centres[1:, 2].max()


def test_every_actor_is_seen_by_most_cameras(renderer, cameras):
    names = [thing.name for thing in renderer.scene.things]
    seen = np.zeros((len(cameras), len(names) + 1), bool)
    for i, camera in enumerate(cameras):
        for frame in range(0, 12, 2):
            seen[i, np.unique(renderer.ground_truth(camera, frame).objects)] = True
    actors = [i for i, thing in enumerate(renderer.scene.things, start=1) if thing.moves]
    assert len(actors) >= 8
    assert np.all(seen[:, actors].mean(axis=0) >= 0.5), [names[i - 1] for i in actors if seen[:, i].mean() < 0.5]


def test_moving_camera_never_repeats_a_pose(renderer):
    train = moving_camera(renderer.scene, 20, 0.0, "r_", 64, 48)
    test = moving_camera(renderer.scene, 5, 2.1, "r_", 64, 48)
    centres = np.array([c.world_from_camera[:3, 3] for c in train + test])
    np.testing.assert_allclose(np.linalg.norm(centres - renderer.scene.focus, axis=1), 4.0)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) + 10 * np.eye(len(centres))
    assert apart.min() > 0.1


def test_one_camera_is_refused(recipe):
    with pytest.raises(UserError, match=r"--cameras 1 .*give 2"):
        replace(recipe, cameras=1).check()
