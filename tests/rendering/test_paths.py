"""Camera paths in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.rendering import paths
from fourdgs_ns.representation.types import Clip

CLIP = Clip(num_frames=31, duration_seconds=1.0)
UP = np.array([0.0, 0.0, 1.0])


def pose_at(place, focus=(0.0, 0.0, 0.0)) -> np.ndarray:
    return paths.looking_at(np.array(place, float), np.array(focus, float), UP)


def assert_rigid(poses: np.ndarray) -> None:
    rotations = poses[:, :, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (len(poses), 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def faces(poses: np.ndarray, point) -> np.ndarray:
    """Cosine between the optical axis (-z) and the direction to ``point``."""
    towards = np.array(point) - poses[:, :, 3]
    return -(poses[:, :, 2] * towards).sum(axis=1) / np.linalg.norm(towards, axis=1)


def test_looking_at_has_opengl_axes():
    pose = pose_at([0.0, -2.0, 0.0])
    np.testing.assert_allclose(pose[:, 0], [1, 0, 0])  # right
    np.testing.assert_allclose(pose[:, 1], [0, 0, 1], atol=1e-12)  # up
    np.testing.assert_allclose(pose[:, 2], [0, -1, 0])  # back


def test_orbit_keeps_distance_tilt_and_what_is_looked_at():
    target = np.array([0.5, 0.2, -0.1])
    start = pose_at([3.0, 0.0, 1.0], target)
    poses = paths.orbit(start, target, 2.0 * UP, np.array([0.0, 90.0, 180.0, 360.0]))
    np.testing.assert_allclose(poses[0], start)
    np.testing.assert_allclose(poses[3], start, atol=1e-12)
    assert_rigid(poses)
    np.testing.assert_allclose(faces(poses, target), 1.0)
    np.testing.assert_allclose(poses[:, 2, 3], 1.0)
    # A quarter turn about z: x -> y.
    offset = start[:, 3] - target
    np.testing.assert_allclose(poses[1][:, 3] - target, [-offset[1], offset[0], offset[2]], atol=1e-12)


def test_sway_swings_both_ways_and_a_full_turn_goes_round():
    np.testing.assert_allclose(paths.sway(40.0, 4), [0.0, 20.0, 0.0, -20.0], atol=1e-12)
    np.testing.assert_allclose(paths.sway(360.0, 4), [0.0, 90.0, 180.0, 270.0])


def test_spiral_faces_one_point_at_a_bounded_distance():
    start = pose_at([0.0, -4.0, 0.0])
    poses = paths.spiral(start, 4.0, 0.5, 2.0, 41)
    assert_rigid(poses)
    np.testing.assert_allclose(faces(poses, [0.0, 0.0, 0.0]), 1.0)
    moved = poses[:, :, 3] - start[:, 3]
    np.testing.assert_allclose(moved @ start[:, 0], 0.5 * np.cos(np.linspace(0, 4 * np.pi, 41)), atol=1e-12)
    np.testing.assert_allclose(moved @ start[:, 1], 0.5 * np.sin(np.linspace(0, 4 * np.pi, 41)), atol=1e-12)
    assert np.abs(moved @ start[:, 2]).max() <= 0.25 + 1e-12


def test_between_passes_through_its_stations_half_way_turned_half():
    stations = np.stack([pose_at([2.0, 0.0, 0.0]), pose_at([0.0, 2.0, 0.0]), pose_at([-2.0, 0.0, 0.0])])
    poses = paths.between(stations, 5)
    np.testing.assert_allclose(poses[::2], stations, atol=1e-12)
    assert_rigid(poses)
    np.testing.assert_allclose(poses[1, :, 3], [1.0, 1.0, 0.0])
    np.testing.assert_allclose(poses[1, :, 2], [np.sqrt(0.5), np.sqrt(0.5), 0.0], atol=1e-12)
    np.testing.assert_allclose(paths.between(stations[:1], 3), np.tile(stations[:1], (3, 1, 1)))


def test_proximity_orders_an_arc():
    angles = [0.3, -0.5, 0.0, 0.7, -0.2]
    stations = np.stack([pose_at([np.sin(a), -np.cos(a), 0.0]) for a in angles])
    order = paths.by_proximity(stations)
    along = [angles[i] for i in order]
    assert along in (sorted(angles), sorted(angles, reverse=True))


def test_running_time_at_full_speed_shows_every_frame():
    np.testing.assert_allclose(paths.running_times(CLIP, 0.0, 1.0, 1.0, 30.0), np.arange(31) / 30)


def test_slow_motion_renders_instants_between_frames():
    times = paths.running_times(CLIP, 0.2, 0.4, 0.25, 30.0)
    np.testing.assert_allclose(np.diff(times), 0.25 / 30)
    assert times[0] == pytest.approx(0.2) and times[-1] == pytest.approx(0.4)
    np.testing.assert_allclose(paths.running_times(CLIP, 0.4, 0.2, 0.25, 30.0), times[::-1])


def test_assembled_cameras_keep_the_field_of_view_at_even_sizes():
    lens = Cameras(
        camera_to_worlds=torch.eye(4)[None, :3], fx=torch.tensor([[50.0]]), fy=torch.tensor([[51.0]]), cx=torch.tensor([[20.0]]),
        cy=torch.tensor([[16.0]]), width=torch.tensor([[45]]), height=torch.tensor([[33]]),
    )  # fmt: skip
    cameras = paths.assemble(lens, np.tile(np.eye(4)[:3], (3, 1, 1)), np.array([0.0, 0.3, 1.0]), 2.0)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (90, 66)
    torch.testing.assert_close(cameras.times[:, 0], torch.tensor([0.0, 0.3, 1.0]))
    torch.testing.assert_close(cameras.fx / cameras.width, torch.full((3, 1), 50 / 45))
    torch.testing.assert_close(cameras.cy / cameras.height, torch.full((3, 1), 16 / 33))
    odd = paths.assemble(lens, np.tile(np.eye(4)[:3], (1, 1, 1)), np.zeros(1))
    assert (int(odd.width[0]) % 2, int(odd.height[0]) % 2) == (0, 0)


def test_times_of_a_saved_path():
    assert paths.json_times([{}, {}], CLIP) is None
    np.testing.assert_allclose(paths.json_times([{"render_time": -0.1}, {"render_time": 0.5}], CLIP), [0.0, 0.5])
    with pytest.raises(UserError, match="step 1 of the camera path"):
        paths.json_times([{"render_time": 0.1}, {}], CLIP)
