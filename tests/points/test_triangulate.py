from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.points.epipolar_matching import PosedFeatures, match_pair
from fourdgs_ns.points.triangulate import DEFAULT_OPTIONS, camera_pairs, triangulate

MATRIX = np.array([[500.0, 0.0, 320.0], [0.0, 480.0, 240.0], [0.0, 0.0, 1.0]])


def pose_at(angle: float, radius: float = 4.0) -> np.ndarray:
    """On a circle around the world's origin in the xz plane, looking at it."""
    forward = np.array([-np.sin(angle), 0.0, np.cos(angle)])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross([0.0, 1.0, 0.0], forward), [0.0, 1.0, 0.0], forward], axis=1)
    pose[:3, 3] = -radius * forward
    return pose


def observe(points, descriptors, angle, rng, noise=0.0, distractors=0) -> PosedFeatures:
    pose = pose_at(angle)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = (local @ MATRIX.T)[:, :2] / local[:, 2:] + noise * rng.normal(size=(len(points), 2))
    pixels = np.concatenate([pixels, rng.random((distractors, 2)) * [640, 480]])
    descriptors = np.concatenate([descriptors, random_descriptors(rng, distractors)])
    order = rng.permutation(len(pixels))
    colors = np.zeros((len(pixels), 3), np.uint8)
    colors[: len(points), 0] = np.arange(len(points)) % 256
    return PosedFeatures(pixels[order], descriptors[order], colors[order], Camera("", 640, 480, MATRIX, pose))


def random_descriptors(rng, n):
    vectors = np.sqrt(rng.gamma(0.3, size=(n, 128)))
    return np.minimum(np.rint(512 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)), 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("num_cameras", [2, 5, 8])
def test_exact_observations_give_exact_points_in_spite_of_distractors(num_cameras):
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (150, 3))
    descriptors = random_descriptors(rng, 150)
    angles = np.linspace(-0.5, 0.5, num_cameras)
    found = triangulate([observe(points, descriptors, a, rng, distractors=150) for a in angles])
    ids = found.colors[:, 0]
    error = np.linalg.norm(found.positions - points[ids], axis=1)
    right = error < 1e-6
    assert len(np.unique(ids[right])) >= 140
    assert right.mean() > 0.9
    assert np.median(found.seen_by[right].sum(axis=1)) == num_cameras
    assert found.errors[right].max() < 1e-5


def test_refined_points_minimise_the_reprojection_error():
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (60, 3))
    descriptors = random_descriptors(rng, 60)
    images = [observe(points, descriptors, a, rng, noise=0.4) for a in np.linspace(-0.6, 0.6, 6)]
    found = triangulate(images)
    full = found.seen_by.sum(axis=1) == 6
    assert full.sum() > 40

    def squared_error(position, row):
        total = 0.0
        for image in images:
            (i,) = np.flatnonzero(image.colors[:, 0] == row)
            h = image.camera.projection @ [*position, 1.0]
            total += ((h[:2] / h[2] - image.pixels[i]) ** 2).sum()
        return total

    for position, color, error in zip(found.positions[full], found.colors[full], found.errors[full], strict=True):
        least = squared_error(position, color[0])
        np.testing.assert_allclose(np.sqrt(least / 6), error, rtol=1e-9)
        for axis in 1e-4 * np.eye(3):
            assert squared_error(position + axis, color[0]) >= least
            assert squared_error(position - axis, color[0]) >= least


def test_unrelated_features_give_next_to_no_points():
    rng = np.random.default_rng(2)
    nothing = np.zeros((0, 3))
    for num_cameras in (4, 9):
        images = [
            observe(nothing, random_descriptors(rng, 0), a, rng, distractors=400)
            for a in np.linspace(-0.5, 0.5, num_cameras)
        ]
        assert len(triangulate(images).positions) < 20


def test_two_orientations_of_a_blob_are_one_point():
    rng = np.random.default_rng(3)
    points = rng.uniform(-1, 1, (40, 3))
    once = random_descriptors(rng, 40)
    twice = random_descriptors(rng, 40)
    images = []
    for angle in (-0.4, 0.0, 0.4):
        a = observe(points, once, angle, rng)
        b = observe(points, twice, angle, np.random.default_rng(0))
        # Sorted by colour, so that both lists name the same points in the same order.
        i, j = np.argsort(a.colors[:, 0]), np.argsort(b.colors[:, 0])
        images.append(
            PosedFeatures(
                np.concatenate([a.pixels[i], a.pixels[i]]),
                np.concatenate([a.descriptors[i], b.descriptors[j]]),
                np.concatenate([a.colors[i], a.colors[i]]),
                a.camera,
            )
        )
    found = triangulate(images)
    assert 35 <= len(found.positions) <= 40
    assert len(np.unique(found.colors[:, 0])) == len(found.positions)


def test_too_little_parallax_gives_no_point():
    rng = np.random.default_rng(4)
    points = rng.uniform(-0.2, 0.2, (50, 3))
    descriptors = random_descriptors(rng, 50)
    near = [observe(points, descriptors, a, rng) for a in (0.0, 0.005, 0.01)]
    assert len(triangulate(near).positions) == 0
    far = [observe(points, descriptors, a, rng) for a in (0.0, 0.1, 0.2)]
    assert len(triangulate(far).positions) > 40


def test_matching_equals_brute_force():
    rng = np.random.default_rng(5)
    points = rng.uniform(-1, 1, (60, 3))
    descriptors = random_descriptors(rng, 60)
    a = observe(points, descriptors, -0.3, rng, noise=0.8, distractors=60)
    b = observe(points, descriptors, 0.3, rng, noise=0.8, distractors=60)
    band, ratio, most = 3.0, 0.95, 0.8
    matches, ambiguity = match_pair(a, b, band=band, ratio=ratio, max_distance=most)

    relative = np.linalg.inv(b.camera.world_from_camera) @ a.camera.world_from_camera
    x, y, z = relative[:3, 3]
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ relative[:3, :3]
    fundamental = np.linalg.inv(MATRIX).T @ essential @ np.linalg.inv(MATRIX)
    h_a, h_b = (np.concatenate([i.pixels, np.ones((len(i.pixels), 1))], axis=1) for i in (a, b))
    algebraic = np.abs(h_b @ fundamental @ h_a.T).T
    in_b = algebraic / np.linalg.norm((h_a @ fundamental.T)[:, :2], axis=1)[:, None]
    in_a = algebraic / np.linalg.norm((h_b @ fundamental)[:, :2], axis=1)[None]
    distance = np.linalg.norm(a.directions[:, None].astype(float) - b.directions[None].astype(float), axis=2)
    candidate = (in_a <= band) & (in_b <= band)
    for i, j in np.argwhere(candidate):
        rays = np.stack([a.rays[i], -b.rays[j]], axis=1)
        depths = np.linalg.lstsq(rays, b.camera.center - a.camera.center, rcond=None)[0]
        candidate[i, j] = (depths > 0).all()
    distance[~candidate] = 2.0
    expected = {}
    for i in range(len(distance)):
        j = int(distance[i].argmin())
        rivals = [2.0]
        rivals += [distance[i, k] for k in range(len(b.pixels)) if np.abs(b.pixels[k] - b.pixels[j]).max() > 2]
        rivals += [distance[k, j] for k in range(len(a.pixels)) if np.abs(a.pixels[k] - a.pixels[i]).max() > 2]
        if distance[:, j].argmin() == i and distance[i, j] <= min(most, ratio * min(rivals)):
            expected[i] = (j, distance[i, j] / min(rivals))
    assert len(expected) > 30
    assert {int(i): int(j) for i, j in matches} == {i: j for i, (j, _) in expected.items()}
    np.testing.assert_allclose(ambiguity, [expected[int(i)][1] for i, _ in matches], atol=1e-3)


def test_pairs_of_a_large_ring_are_near_each_other_and_look_the_same_way():
    poses = np.stack([pose_at(a) for a in np.linspace(0, 2 * np.pi, 80, endpoint=False)])
    pairs = np.array(camera_pairs(poses, DEFAULT_OPTIONS))
    steps = np.minimum((pairs[:, 1] - pairs[:, 0]) % 80, (pairs[:, 0] - pairs[:, 1]) % 80)
    assert steps.max() <= DEFAULT_OPTIONS.neighbors // 2 + 1
    assert (np.bincount(pairs.ravel(), minlength=80) >= DEFAULT_OPTIONS.neighbors).all()
    few = np.array(camera_pairs(poses[::4], DEFAULT_OPTIONS))
    apart = np.minimum((few[:, 1] - few[:, 0]) % 20, (few[:, 0] - few[:, 1]) % 20) * 18
    assert apart.max() == 90  # of 18, 36, ... 180 degrees those up to 105
    assert len(few) == 20 * 5


def test_cameras_in_one_place_and_empty_images_match_nothing():
    rng = np.random.default_rng(6)
    points = rng.uniform(-1, 1, (20, 3))
    a = observe(points, random_descriptors(rng, 20), 0.0, rng)
    empty = replace(
        a, pixels=np.zeros((0, 2)), descriptors=np.zeros((0, 128), np.uint8), colors=np.zeros((0, 3), np.uint8)
    )
    assert len(triangulate([a, a, empty]).positions) == 0
    assert len(triangulate([empty, empty]).positions) == 0
