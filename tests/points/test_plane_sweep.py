"""The dense matcher, against the planes that the rig looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourdgs_ns.points import depth_maps
from fourdgs_ns.points.depth_maps import GrayView, smooth_planes, sweep_planes
from fourdgs_ns.points.instants import read_instants
from fourdgs_ns.points.plane_sweep import DEFAULT_OPTIONS, DenseMatcher, nearest_cameras

from .conftest import FOCAL, HEIGHT, WIDTH, rig_cameras

MATRIX = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])


@pytest.fixture
def images(rig):
    capture = rig.capture.only_cameras(rig.train)
    ((_, found),) = read_instants(capture, capture.cameras, [1], dict.fromkeys(rig.train, 1.0))
    return list(found.values())


@pytest.mark.slow
def test_dense_points_lie_on_the_planes(rig, images):
    points = DenseMatcher(20_000).points(images)
    distance = rig.distance_to_surface(points.positions)
    assert len(distance) > 5000
    assert np.median(distance) < 0.005 and np.mean(distance < 0.04) > 0.97
    assert points.seen_by.sum(axis=1).min() >= 3 and points.seen_by.shape == (len(distance), 5)
    assert points.errors.max() <= DEFAULT_OPTIONS.max_error
    front = np.abs(points.positions[:, 2] + 1.0) < 0.04
    assert 0.05 < front.mean() < 0.6
    # The seams of the rendered front plane: nothing floats far beyond its edge.
    assert np.mean(np.abs(points.positions[front, :2]).max(axis=1) < 0.85) > 0.97


def test_budget_keeps_the_same_points_at_every_call(images, monkeypatch):
    for name, side in (("SMALL_SIDE", 60), ("SWEEP_SIDE", 80), ("FULL_SIDE", 160)):
        monkeypatch.setattr(depth_maps, name, side)
    images = images[1:4]
    few, again = DenseMatcher(500).points(images), DenseMatcher(500).points(images)
    assert len(few.positions) == 500
    np.testing.assert_array_equal(few.positions, again.positions)


def test_one_camera_and_black_images_give_no_points(images):
    assert len(DenseMatcher().points(images[:1]).positions) == 0
    black = [replace(image, image=np.zeros_like(image.image)) for image in images[:2]]
    assert len(DenseMatcher().points(black).positions) == 0


def test_planes_are_a_pixel_apart_in_the_neighbour():
    a, b = (GrayView(np.zeros((HEIGHT, WIDTH), np.float32), rig_cameras()[n]) for n in ("cam3", "cam4"))
    planes = sweep_planes(a, [b], 1 / 8, 1 / 2)
    assert planes[0] == 1 / 8 and planes[-1] == 1 / 2
    middle = np.linalg.inv(MATRIX) @ [WIDTH / 2, HEIGHT / 2, 1.0]
    points = (middle / planes[:, None]) @ a.camera.world_from_camera[:3, :3].T + a.camera.center
    local = (points - b.camera.center) @ b.camera.world_from_camera[:3, :3] @ MATRIX.T
    steps = np.linalg.norm(np.diff(local[:, :2] / local[:, 2:], axis=0), axis=1)
    assert 0.5 < steps.max() < 1.5


def test_smooth_planes_follow_the_surface_across_a_hole_and_jump_at_an_edge():
    scores = np.full((12, 20, 30), 0.1, np.float32)
    scores[3, :, :15] = 0.9
    scores[9, :, 15:] = 0.9
    scores[:, 8:12, 5:9] = 0.5  # no texture: all planes are as good
    scores[11, 10, 20] = 0.95  # a single better plane in the middle of a surface
    plane = smooth_planes(scores)
    assert (plane[:, :15] == 3).all() and (plane[:, 15:] == 9).all()


def test_neighbours_are_near_but_not_in_the_same_place():
    poses = np.stack([camera.world_from_camera for camera in rig_cameras().values()])
    groups = nearest_cameras(np.concatenate([poses, poses[:1]]), DEFAULT_OPTIONS)
    assert len(groups[2]) == 4 and {1, 3} <= set(groups[2])
    assert 6 not in groups[0] and 0 not in groups[6]
    backwards = poses[:2].copy()
    backwards[1, :3, :3] = poses[0, :3, :3] @ np.diag([-1.0, 1.0, -1.0])
    assert nearest_cameras(backwards, DEFAULT_OPTIONS) == [[], []]
