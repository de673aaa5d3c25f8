"""A board that is carried through the scene: its layout comes out, and with it the lenses and poses of the rig."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.process.alignment import compare_rigs
from fourdgs_ns.process.board import UNIT, board_layout, views_by_instant
from fourdgs_ns.process.board_rig import adjust_with_board

SIZE = (1280, 720)


def _layout(rng):
    """Eight markers in a grid, each turned a little."""
    layout = {}
    for m in range(8):
        turn = Rotation.from_rotvec([0, 0, rng.normal(0, 0.2)]).as_matrix()[:2, :2]
        layout[m] = (UNIT - 0.5) @ turn.T + [1.6 * (m % 4), 1.7 * (m // 4)]
    return layout


def _rig():
    cameras = []
    for i, (angle, focal) in enumerate(((-0.5, 900.0), (0.0, 700.0), (0.6, 640.0))):
        turn = Rotation.from_rotvec([0, -angle, 0]).as_matrix()
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn, turn @ [0.0, 0.2 * i, -18.0]
        matrix = np.array([[focal, 0, 652.0], [0, focal, 351.0], [0, 0, 1]])
        distortion = ((-0.25, 0.05), (0.1, -0.1), (0.15, -0.12))[i]
        cameras.append(Camera(f"cam{i}", *SIZE, matrix, pose, (*distortion, 0.0, 0.0, 0.0)))
    return cameras


def _pixels(camera, points):
    import cv2

    view = np.linalg.inv(camera.world_from_camera)
    distortion = np.array(camera.distortion)
    turn = np.asarray(cv2.Rodrigues(view[:3, :3])[0])
    return cv2.projectPoints(points, turn, view[:3, 3], camera.intrinsics, distortion)[0][:, 0]


def _views(cameras, layout, rng, instants=40, noise=0.2):
    views = [{} for _ in cameras]
    for instant in range(instants):
        turn = Rotation.from_rotvec(rng.normal(0, 0.45, 3)).as_matrix()
        place = rng.uniform([-5, -3, -4], [5, 3, 4])
        for c, camera in enumerate(cameras):
            view = {}
            for m, square in layout.items():
                flat = np.concatenate([square - [2.4, 0.9], np.zeros((4, 1))], axis=1)
                pixels = _pixels(camera, flat @ turn.T + place)
                if (pixels > 0).all() and (pixels < SIZE).all():
                    view[m] = pixels + rng.normal(0, noise, pixels.shape)
            if view:
                views[c][instant] = view
    return views


@pytest.fixture
def recorded():
    rng = np.random.default_rng(3)
    layout, cameras = _layout(rng), _rig()
    return layout, cameras, _views(cameras, layout, rng), rng


def _disturbed(cameras):
    """What features might have said: wrong focal lengths, no distortion, poses off, another scale."""
    found = []
    for camera, factor in zip(cameras, (0.9, 1.1, 0.93), strict=True):
        pose = camera.world_from_camera.copy()
        pose[:3, 3] *= 0.01
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0.0, 0.02, 0.01]).as_matrix()
        matrix = camera.intrinsics * np.array([[factor, 1, 1], [1, factor, 1], [1, 1, 1]])
        matrix[:2, 2] = SIZE[0] / 2, SIZE[1] / 2
        found.append(replace(camera, intrinsics=matrix, distortion=(), world_from_camera=pose))
    return found


def test_the_layout_comes_out_of_straight_images(recorded):
    layout, cameras, _, rng = recorded
    straight = [replace(camera, distortion=()) for camera in cameras]
    views = [view for own in _views(straight, layout, rng) for view in own.values()]
    found = board_layout(views)
    assert found is not None and found.keys() == layout.keys()
    # Up to a motion in the plane.
    for a in layout:
        for b in layout:
            expected = np.linalg.norm(layout[a][0] - layout[b][2])
            assert np.linalg.norm(found[a][0] - found[b][2]) == pytest.approx(expected, abs=0.03)


def test_markers_that_move_against_each_other_are_no_board(recorded):
    layout, cameras, _, rng = recorded
    views = []
    for _ in range(20):
        loose = {m: square + rng.uniform(-2, 2, 2) for m, square in layout.items()}
        views += [view for own in _views(cameras, loose, rng, instants=1) for view in own.values()]
    assert board_layout(views) is None


def test_too_few_images_are_no_board(recorded):
    _, _, views, _ = recorded
    assert board_layout(list(views[0].values())[:5]) is None


def test_lenses_and_poses_are_corrected(recorded):
    _, cameras, views, _ = recorded
    adjusted = adjust_with_board(_disturbed(cameras), views, {})
    assert adjusted is not None
    poses, truth = (np.stack([c.world_from_camera for c in rig]) for rig in (adjusted, cameras))
    difference = compare_rigs(poses, truth)
    size = np.linalg.norm(truth[0, :3, 3] - truth[2, :3, 3])
    assert difference.position.max() < 0.005 * size and difference.rotation_degrees.max() < 0.7
    assert difference.scale == pytest.approx(1.0, abs=0.01)  # units are sides of a marker
    for found, made in zip(adjusted, cameras, strict=True):
        assert found.intrinsics[0, 0] == pytest.approx(made.intrinsics[0, 0], rel=0.01)
        np.testing.assert_allclose(found.intrinsics[:2, 2], made.intrinsics[:2, 2], atol=10)
        assert found.distortion[0] == pytest.approx(made.distortion[0], abs=0.05)


def test_features_help_where_the_board_was_seen_little(recorded):
    _, cameras, views, rng = recorded
    few = [{i: v for i, v in own.items() if i < 14} for own in views]
    points = rng.uniform([-9, -5, -3], [9, 5, 9], (300, 3))
    pixels = [_pixels(c, points) for c in cameras]
    matches = {}
    for i, j in ((0, 1), (1, 2), (0, 2)):
        seen = np.all([(p > 0).all(axis=1) & (p < SIZE).all(axis=1) for p in (pixels[i], pixels[j])], axis=0)
        wrong = rng.permutation(np.flatnonzero(seen))[:20]
        b = pixels[j].copy()
        b[wrong] = rng.uniform(0, SIZE, (len(wrong), 2))
        matches[i, j] = pixels[i][seen], b[seen]
    truth = np.stack([c.world_from_camera for c in cameras])
    errors = []
    for given in ({}, matches):
        adjusted = adjust_with_board(_disturbed(cameras), few, given)
        assert adjusted is not None
        errors.append(compare_rigs(np.stack([c.world_from_camera for c in adjusted]), truth).position.max())
    assert errors[1] < 0.7 * errors[0]


def test_corners_become_views():
    corners = {(3, 7, k): np.array([k, 1.0]) for k in range(4)} | {(4, 7, 0): np.zeros(2)}
    assert list(views_by_instant(corners)) == [3, 4]
    np.testing.assert_array_equal(views_by_instant(corners)[3][7][:, 0], range(4))
    assert views_by_instant(corners)[4] == {}
