"""Epipolar errors and clock errors from geometry that is known exactly."""

import numpy as np
import pytest

from fourdgs_ns.geometry.camera import Camera, fundamental
from fourdgs_ns.geometry.epipolar import consistent, line_distance
from fourdgs_ns.points.instants import PosedImage
from fourdgs_ns.process import check
from fourdgs_ns.process.alignment import compare_rigs
from fourdgs_ns.process.epipolar import (
    WINDOW,
    Followed,
    clock_errors,
    follow,
    summarize_pair,
)
from tests.capture import writers

K = np.array([[400.0, 0, 320], [0, 410.0, 240], [0, 0, 1]])


def _image(camera):
    return PosedImage(
        Camera(camera.name, 640, 480, K, camera.opencv_world_from_camera()), np.zeros((480, 640, 3), np.uint8)
    )


def _pixels(image, points):
    h = np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ image.camera.projection.T
    return h[..., :2] / h[..., 2:]


def test_points_lie_on_their_lines_and_offsets_are_measured_in_pixels():
    a, b, _ = (_image(c) for c in writers.rig())
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    f = fundamental(a.camera, b.camera)
    pa, pb = _pixels(a, points), _pixels(b, points)
    assert line_distance(f, pa, pb).max() < 1e-9
    lines = np.concatenate([pa, np.ones((50, 1))], axis=1) @ f.T
    normal = lines[:, :2] / np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    moved = line_distance(f, pa, pb + 3 * normal)
    in_a = np.concatenate([pb + 3 * normal, np.ones((50, 1))], axis=1) @ f
    expected_a = np.abs((in_a * np.concatenate([pa, np.ones((50, 1))], axis=1)).sum(1)) / np.linalg.norm(
        in_a[:, :2], axis=1
    )
    np.testing.assert_allclose(moved, np.sqrt((9 + expected_a**2) / 2), rtol=1e-6)


@pytest.mark.parametrize("late", [0.0, 1.5, -6.25, 8.5])
def test_a_late_clock_is_found_from_moving_points_and_not_from_static_ones(late):
    images = [_image(c) for c in writers.rig(("a", "b", "c"))]
    rng = np.random.default_rng(1)
    points, velocity = rng.uniform(-0.5, 0.5, (120, 3)), rng.normal(0, 0.015, (120, 3))
    velocity[:60] = 0
    frames = np.arange(-WINDOW, WINDOW + 1)
    clocks = {"a": 0.0, "b": late, "c": 0.0}
    paths = {
        i.camera.name: _pixels(i, points[None] + (frames[:, None, None] + clocks[i.camera.name]) * velocity[None])
        for i in images
    }
    errors = []
    for x, y in ((0, 1), (0, 2), (1, 2)):
        a, b = images[x], images[y]
        followed = Followed(paths[a.camera.name][WINDOW], paths[b.camera.name], paths[a.camera.name])
        errors.append(summarize_pair(a.camera.name, b.camera.name, [(a, b, followed, WINDOW)]))
    assert max(e.static.max() for e in errors) < 1e-6
    found = clock_errors(errors, ["a", "b", "c"])
    assert found["b"] == pytest.approx(late, abs=0.06)
    assert found["a"] == pytest.approx(0, abs=0.06) and found["c"] == pytest.approx(0, abs=0.06)
    if late:
        assert np.median(errors[0].moving) > 10 * errors[0].moving_at_shift


def test_follow_finds_a_texture_that_moves():
    rng = np.random.default_rng(2)
    import cv2

    texture = cv2.GaussianBlur(rng.integers(0, 255, (200, 260), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    shift = [cv2.warpAffine(texture, np.float32([[1, 0, 1.5 * k], [0, 1, -k]]), (260, 200)) for k in range(5)]
    points = np.stack(np.meshgrid([60.0, 100, 150], [60.0, 100, 140]), -1).reshape(-1, 2)
    path = follow(shift, 2, points)
    for k in range(5):
        np.testing.assert_allclose(path[k], points + (k - 2) * np.array([1.5, -1.0]), atol=0.15)


def test_rigs_are_compared_up_to_a_similarity():
    from scipy.spatial.transform import Rotation

    reference = np.stack([c.opencv_world_from_camera() for c in writers.rig()])
    turn, scale, shift = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix(), 2.5, np.array([1.0, 2.0, -3.0])
    other = reference.copy()
    other[:, :3, :3] = turn @ reference[:, :3, :3]
    other[:, :3, 3] = scale * reference[:, :3, 3] @ turn.T + shift
    same = compare_rigs(other, reference)
    assert same.position.max() < 1e-9 and same.rotation_degrees.max() < 1e-5 and same.scale == pytest.approx(1 / scale)
    other[1, :3, 3] += scale * np.array([0.2, 0, 0])
    assert compare_rigs(other, reference).position.argmax() == 1


@pytest.mark.parametrize(
    ("cameras", "decibels"), [(1, "20-25"), (2, "24-28"), (5, "28-32"), (8, "32-36"), (30, "32-36")]
)
def test_expected_quality(cameras, decibels):
    told = check.expected_quality(cameras)
    assert told.startswith(f"{decibels} dB") and ("around a room" in told) == (cameras < 8)


def test_contact_sheet_shows_every_camera(tmp_path):
    import cv2

    images = {}
    for i, c in enumerate(writers.rig()):
        images[c.name] = PosedImage(Camera(c.name, 64, 48, K, np.eye(4)), np.full((48, 64, 3), 60 * (i + 1), np.uint8))
    check.write_contact_sheet(tmp_path / "sheet.png", images)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    half_h, half_w = sheet.shape[0] // 2, sheet.shape[1] // 2
    seen = [int(np.median(sheet[y : y + half_h, x : x + half_w])) for y in (0, half_h) for x in (0, half_w)]
    assert seen == [60, 120, 180, 24]


def test_wrong_matches_are_told_apart_from_wrong_poses():
    rng = np.random.default_rng(4)
    a, b, _ = (_image(c) for c in writers.rig())
    points = rng.uniform(-0.8, 0.8, (150, 3))
    pa, pb = _pixels(a, points), _pixels(b, points)
    wrong = rng.uniform(0, 480, (60, 2)), rng.uniform(0, 480, (60, 2))
    keep = consistent(np.concatenate([pa, wrong[0]]), np.concatenate([pb, wrong[1]]))
    assert keep[:150].mean() > 0.95 and keep[150:].mean() < 0.1
    assert not consistent(*(rng.uniform(0, 480, (60, 2)) for _ in range(2))).any()
