"""The scene's similarity and its inverse."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.geometry.world import WorldFromCapture, make_world_from_capture


def random_frame() -> WorldFromCapture:
    return WorldFromCapture(Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix(), np.array([0.1, 2.0, -3.0]), 0.4)


def test_export_undoes_import_for_gaussians():
    frame = random_frame()
    rng = np.random.default_rng(0)
    means, log_scales = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    axes = Rotation.random(5, random_state=1).as_matrix()
    scene_means = torch.from_numpy(frame.points_from_capture(means)).double()
    xyzw = Rotation.from_matrix(frame.rotation @ axes).as_quat()
    scene_quats = torch.from_numpy(np.roll(xyzw, 1, axis=1))
    scene_scales = torch.from_numpy(log_scales + np.log(frame.scale))
    back_means, back_quats, back_scales = frame.gaussians_to_capture(scene_means, scene_quats, scene_scales)
    np.testing.assert_allclose(back_means, means, atol=1e-5)
    np.testing.assert_allclose(rotation_matrices(back_quats), axes, atol=1e-6)
    np.testing.assert_allclose(back_scales, log_scales, atol=1e-6)


def test_a_pixel_sees_the_same_point_in_both_frames():
    frame = random_frame()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix(), [1.0, 2.0, 3.0]
    local = np.array([0.2, -0.1, 2.0])
    world = pose[:3, :3] @ local + pose[:3, 3]
    scene_pose = frame.poses_from_capture(pose[None])[0]
    scene_point = frame.points_from_capture(world[None])[0]
    np.testing.assert_allclose(scene_pose[:3, :3].T @ (scene_point - scene_pose[:3, 3]), frame.scale * local, atol=1e-6)


def test_up_becomes_z_and_the_rig_has_extent_one():
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, 3] = [[0, 0, -2], [2, 0, 0], [-2, 0, 0]]  # OpenCV: y points down, so up is -y
    frame = make_world_from_capture(poses, orient="up", center="attention", attention=np.zeros(3), extent=2.0)
    np.testing.assert_allclose(frame.rotation @ [0, -1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(np.abs(frame.points_from_capture(np.array([[2.0, 0, 0]]))), [[1, 0, 0]], atol=1e-6)
