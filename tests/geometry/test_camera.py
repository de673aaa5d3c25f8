"""The one camera, against closed forms and OpenCV."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, fundamental, look_at, pinhole

MATRIX = np.array([[260.0, 1.5, 148.3], [0.0, 255.0, 131.7], [0.0, 0.0, 1.0]])
BARREL = (-0.28, 0.09, 0.001, -0.002, 0.0)


def camera(eye=(3.0, -1.0, 2.0), **fields) -> Camera:
    return Camera("cam0", 321, 240, MATRIX, look_at(np.array(eye), np.array([0.2, 0.1, -0.3])), **fields)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))


def test_look_at_has_opencv_axes():
    pose = look_at(np.array([0.0, -4.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(pose[:3, :3] @ [1, 0, 0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ [0, 1, 0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1], [0, 1, 0], atol=1e-12)


def test_a_camera_looks_at_its_target_with_its_upper_edge_up():
    for up in ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0)):
        pose = look_at(np.array([3.0, -1.0, 2.0]), np.array([0.5, 0.5, 0.5]), up)
        seen = Camera("", 100, 80, pinhole(90.0, 90.0, 50.0, 40.0), pose)
        pixels, depths = seen.project(np.array([[0.5, 0.5, 0.5], np.array([0.5, 0.5, 0.5]) + 0.1 * np.array(up)]))
        np.testing.assert_allclose(pixels[0], [50.0, 40.0], atol=1e-9)
        assert depths[0] == pytest.approx(np.linalg.norm([2.5, 1.5, 1.5]))
        assert pixels[1, 0] == pytest.approx(50.0) and pixels[1, 1] < 40.0
        np.testing.assert_allclose(np.linalg.det(pose[:3, :3]), 1.0)


def test_projection_agrees_with_opencv_and_rays_lead_back(points):
    seen = camera(eye=(1.0, 2.0, 1.5))
    straight = Camera("", 321, 240, MATRIX - [[0, 1.5, 0], [0, 0, 0], [0, 0, 0]], seen.world_from_camera)
    pixels, depths = straight.project(points)
    view = np.linalg.inv(straight.world_from_camera)
    expected = cv2.projectPoints(points, cv2.Rodrigues(view[:3, :3])[0], view[:3, 3], straight.intrinsics, None)[0]
    np.testing.assert_allclose(pixels, expected[:, 0], atol=1e-9)
    pixels, depths = seen.project(points)
    homogeneous = np.concatenate([points, np.ones((50, 1))], axis=1) @ seen.projection.T
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], pixels, atol=1e-9)
    np.testing.assert_allclose(homogeneous[:, 2], depths, atol=1e-12)
    rays = seen.rays(pixels)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0)
    distance = np.linalg.norm(points - seen.center, axis=1)
    np.testing.assert_allclose(seen.center + distance[:, None] * rays, points, atol=1e-9)


def test_a_resized_camera_sees_the_same_place_of_the_image(points):
    seen = camera()
    small = seen.resized(107, 160)
    before, after = seen.project(points)[0], small.project(points)[0]
    np.testing.assert_allclose(after, before * [107 / 321, 160 / 240], atol=1e-9)
    assert (small.width, small.height, small.name) == (107, 160, "cam0")


@pytest.mark.parametrize(("distortion", "fisheye"), [(BARREL, False), ((0.05, -0.02, 0.003, 0.0), True)])
def test_an_undistorted_camera_maps_as_opencv_undistorts(points, distortion, fisheye):
    straight = MATRIX * [[1, 0, 1], [0, 1, 1], [0, 0, 1]]  # OpenCV knows no skew
    lens = camera(distortion=distortion, fisheye=fisheye, time_offset_seconds=0.01)
    flat = replace(lens, intrinsics=straight).undistorted(2.0)
    assert (flat.width, flat.height, flat.distortion, flat.fisheye) == (160, 120, (), False)
    assert flat.time_offset_seconds == 0.01
    np.testing.assert_array_equal(flat.world_from_camera, lens.world_from_camera)
    view = np.linalg.inv(lens.world_from_camera)
    turn, shift = cv2.Rodrigues(view[:3, :3])[0], view[:3, 3]
    if fisheye:
        source = cv2.fisheye.projectPoints(points[:, None], turn, shift, straight, np.array(distortion))[0][:, 0]
        undo = cv2.fisheye.undistortPoints(source[:, None], straight, np.array(distortion), None, flat.intrinsics)
    else:
        source = cv2.projectPoints(points, turn, shift, straight, np.array(distortion))[0][:, 0]
        undo = cv2.undistortPoints(source[:, None], straight, np.array(distortion), None, flat.intrinsics)
    np.testing.assert_allclose(undo[:, 0], flat.project(points)[0], atol=0.05)


def test_points_of_two_cameras_lie_on_each_others_epipolar_lines(points):
    a, b = camera(), camera(eye=(-1.0, 3.0, 1.0)).resized(640, 400)
    f = fundamental(a, b)
    assert np.abs(f).max() == pytest.approx(1.0) and np.linalg.matrix_rank(f) == 2
    in_a, in_b = (np.concatenate([c.project(points)[0], np.ones((50, 1))], axis=1) for c in (a, b))
    lines = in_a @ f.T
    np.testing.assert_allclose((in_b * lines).sum(axis=1) / np.linalg.norm(lines[:, :2], axis=1), 0.0, atol=1e-8)


def test_json_keeps_every_field():
    for seen in (camera(), camera(distortion=BARREL, time_offset_seconds=-0.02), camera(fisheye=True)):
        read = Camera.from_json(json.loads(json.dumps(seen.to_json())))
        assert read.to_json() == seen.to_json()
        np.testing.assert_array_equal(read.projection, seen.projection)


def test_frames_are_never_enlarged():
    with pytest.raises(UserError, match=r"--downscale-factor 0\.5 would enlarge"):
        camera().undistorted(0.5)
