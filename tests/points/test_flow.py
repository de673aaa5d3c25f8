"""Displacements from optical flow, against closed forms and against the rendered rig."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from fourdgs_ns.points import flow
from fourdgs_ns.points.flow import displacements, image_flow, intersect, project, sample
from fourdgs_ns.points.instants import PosedImage

from .conftest import (
    FOCAL,
    FRONT_DEPTH,
    FRONT_SIZE,
    HEIGHT,
    WIDTH,
    random_texture,
    render_plane,
    rig_cameras,
    rig_poses,
)

MATRIX = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])


def posed(name="cam0", image=None) -> PosedImage:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    return PosedImage(rig_cameras()[name], image)


def texture(seed=0, shape=(HEIGHT, WIDTH)):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=shape).astype(np.float32), (0, 0), 2.5)
    gray = np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def test_sampling_reads_linear_images_exactly_and_stops_at_the_border():
    y, x = np.mgrid[0:20, 0:30] + 0.5
    image = np.stack([2 * x - y, x + 3 * y], axis=-1)
    pixels = np.random.default_rng(0).uniform(0.5, 19.5, (50, 2))
    expected = np.stack([2 * pixels[:, 0] - pixels[:, 1], pixels[:, 0] + 3 * pixels[:, 1]], axis=1)
    np.testing.assert_allclose(sample(image, pixels), expected)
    np.testing.assert_allclose(sample(image, np.array([[-5.0, -5.0], [99.0, 99.0]])), image[[0, -1], [0, -1]])


def test_flow_of_a_shifted_image_is_the_shift():
    image = texture()
    shifted = cv2.warpAffine(image, np.array([[1.0, 0, 2.5], [0, 1, -1.25]]), (WIDTH, HEIGHT))
    pixels = np.random.default_rng(1).uniform(40, 260, (200, 2))
    found, sure = image_flow(posed(image=image), posed(image=shifted), pixels)
    assert sure.mean() > 0.95
    assert np.median(np.abs(found[sure] - [2.5, -1.25])) < 0.05


def test_flow_of_a_frozen_image_is_exactly_zero():
    found, sure = image_flow(posed(image=texture()), posed(image=texture()), np.full((3, 2), 50.0))
    assert (found == 0).all() and sure.all()


def test_unrelated_images_have_hardly_any_sure_flow():
    pixels = np.random.default_rng(1).uniform(40, 260, (500, 2))
    _, sure = image_flow(posed(image=texture(0)), posed(image=texture(1)), pixels)
    assert sure.mean() < 0.3


def test_rays_of_exact_projections_meet_in_the_point():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (40, 3)) * [1, 1, 0.5]
    projections = np.stack([posed(name).camera.projection for name in rig_poses()])
    targets = np.stack([project(p, points)[:, :2] for p in projections], axis=1)
    start = points + rng.normal(scale=0.1, size=points.shape)
    found, residual, solvable = intersect(start, projections, targets, np.ones(targets.shape[:2], bool))
    assert solvable.all()
    np.testing.assert_allclose(found, points, atol=1e-6)
    assert residual.max() < 1e-3


def test_one_camera_does_not_determine_a_point():
    projections = np.stack([posed(name).camera.projection for name in ("cam0", "cam1")])
    valid = np.array([[True, False]])
    _, _, solvable = intersect(np.zeros((1, 3)), projections, np.full((1, 2, 2), 100.0), valid)
    assert not solvable[0]


def exact_flow(monkeypatch, points, moved, wrong=()):
    """Flow that a perfect search would return; of the cameras ``wrong`` 20 pixels off."""

    def fake(start, end, pixels):
        own = project(start.camera.projection, points)[:, :2]
        ids = np.linalg.norm(own[None] - pixels[:, None], axis=2).argmin(axis=1)
        target = project(end.camera.projection, moved)[ids, :2] + (20.0 if start.camera.name in wrong else 0.0)
        return target - pixels, np.ones(len(pixels), bool)

    monkeypatch.setattr(flow, "image_flow", fake)


def test_displacements_are_exact_under_moving_cameras_and_one_wrong_camera(monkeypatch):
    rng = np.random.default_rng(2)
    points = rng.uniform(-0.8, 0.8, (30, 3))
    step = rng.normal(scale=0.05, size=(30, 3))
    start = [posed(name) for name in ("cam0", "cam1", "cam3", "cam4", "cam5")]
    end = {}
    for image in start:
        pose = image.camera.world_from_camera.copy()
        pose[:3, 3] += [0.1, -0.05, 0.02]
        end[image.camera.name] = replace(image, camera=replace(image.camera, world_from_camera=pose))
    exact_flow(monkeypatch, points, points + step, wrong=("cam3",))
    found, known = displacements(points, np.ones((30, 5), bool), start, end)
    assert known.all()
    np.testing.assert_allclose(found, step, atol=1e-6)


def test_displacement_is_unknown_where_two_cameras_contradict_or_one_is_alone(monkeypatch):
    points = np.array([[0.0, 0.0, 0.0], [0.3, 0.2, 0.1]])
    start = [posed("cam0"), posed("cam5")]
    end = {image.camera.name: image for image in start}

    def fake(start, end, pixels):
        sideways = np.array([0.0, 30.0 if start.camera.name == "cam0" else -30.0])
        return np.tile(sideways, (len(pixels), 1)), np.ones(len(pixels), bool)

    monkeypatch.setattr(flow, "image_flow", fake)
    found, known = displacements(points, np.array([[True, True], [True, False]]), start, end)
    assert not known.any() and (found == 0).all()
    assert not displacements(points, np.ones((2, 2), bool), start, {})[1].any()


def test_points_of_a_rendered_plane_move_as_it_does():
    rng = np.random.default_rng(3)
    back, front = random_texture(rng, 900), random_texture(rng, 300)
    names, shift = ("cam0", "cam3", "cam5"), 0.1

    def view(name, x):
        projection = posed(name).camera.projection
        image = render_plane(np.zeros((HEIGHT, WIDTH, 3), np.uint8), back, 0.0, 0.0, 6.0, projection)
        return posed(name, render_plane(image, front, x, FRONT_DEPTH, FRONT_SIZE, projection))

    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 8), np.linspace(-0.6, 0.6, 8))
    points = np.stack([x.ravel(), y.ravel(), np.full(64, FRONT_DEPTH)], axis=1)
    end = {name: view(name, shift) for name in names}
    found, known = displacements(points, np.ones((64, 3), bool), [view(name, 0.0) for name in names], end)
    assert known.mean() > 0.9
    assert np.median(np.linalg.norm(found[known] - [shift, 0, 0], axis=1)) < 0.03 * shift
