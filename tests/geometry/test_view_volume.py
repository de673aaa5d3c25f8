from __future__ import annotations

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.view_volume import ViewVolume, attention_point, camera_extent, view_volume

MATRIX = np.array([[300.0, 0.0, 160.0], [0.0, 300.0, 120.0], [0.0, 0.0, 1.0]])


def pose(centre, forward):
    forward = np.asarray(forward, float) / np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    matrix[:3, 3] = centre
    return matrix


def ring(n=8, radius=3.0, target=(1.0, -2.0, 0.5)):
    angles = np.arange(n) * 2 * np.pi / n
    offsets = radius * np.stack([np.sin(angles), np.zeros(n), np.cos(angles)], axis=1)
    return np.stack([pose(np.array(target) + o, -o) for o in offsets])


def line(n=5, spacing=0.2):
    return np.stack([pose((spacing * i, 0.0, 0.0), (0.0, 0.0, 1.0)) for i in range(n)])


def cameras(poses):
    return [Camera(str(i), 320, 240, MATRIX, p) for i, p in enumerate(poses)]


def test_attention_point_of_a_ring_is_its_centre():
    np.testing.assert_allclose(attention_point(ring()), [1.0, -2.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(attention_point(ring(2)[:1].repeat(3, 0)), ring(2)[0, :3, 3] + ring(2)[0, :3, 2])


def test_attention_point_of_two_cameras_that_face_each_other_is_between_them():
    np.testing.assert_allclose(attention_point(ring(2)), [1.0, -2.0, 0.5], atol=1e-12)


def test_attention_point_of_parallel_and_diverging_cameras_lies_in_front():
    np.testing.assert_allclose(attention_point(line()), [0.4, 0.0, 5 * 0.4])
    outward = ring()[:3].copy()
    outward[:, :3, [0, 2]] *= -1
    point = attention_point(outward)
    assert ((point - outward[:, :3, 3]) * outward[:, :3, 2]).sum(axis=1).mean() > 0


def test_extent():
    assert camera_extent(ring(radius=3.0)) == pytest.approx(3.3)
    assert camera_extent(line(5, 0.2)) == pytest.approx(1.1 * 0.4)
    assert camera_extent(ring()[:1]) == pytest.approx(1.0)
    turning = np.stack([pose((5.0, 0, 0), (np.sin(a), 0, np.cos(a))) for a in (0.0, 0.2, 0.4)])
    assert camera_extent(turning) == pytest.approx(1.0)


def volume_of(poses):
    return view_volume(cameras(poses), list(poses[:, None]))


@pytest.mark.parametrize("poses", [ring(), line(), ring(2), ring(1)], ids=["ring", "line", "two", "one"])
def test_random_points_are_seen_by_enough_cameras(poses):
    points, k = volume_of(poses).sample(2000, np.random.default_rng(0))
    assert points.shape == (2000, 3) and k == min(len(poses), 3)
    seen = np.zeros(len(points), int)
    for camera in cameras(poses):
        pixels, depth = camera.project(points)
        seen += (depth > 0) & (pixels >= 0).all(axis=1) & (pixels <= [320, 240]).all(axis=1)
    assert seen.min() >= k


def test_parallel_rigs_look_further_than_rings():
    inward, parallel = volume_of(ring()), volume_of(line())
    np.testing.assert_allclose(inward.far, 2 * 3.0)
    assert (parallel.far / np.linalg.norm(line()[:, :3, 3] - attention_point(line()), axis=1)).min() > 5


def test_points_are_uniform_in_the_common_volume():
    # Two cameras with unlike, partly overlapping frusta: equal boxes inside the volume must hold equally many points.
    volume = ViewVolume(
        np.stack([pose((0, 0, 0), (0, 0, 1)), pose((0, 0, -4), (0, 0, 1))]),
        np.stack([MATRIX, MATRIX]),
        np.array([[320, 240], [320, 240]]),
        np.array([1.0, 6.0]),
        np.array([5.0, 8.0]),
    )
    rng = np.random.default_rng(0)
    points, k = volume.sample(40_000, rng)
    assert k == 2
    assert points[:, 2].min() >= 2.0 and points[:, 2].max() <= 4.0

    def box(z):
        return (np.abs(points[:, :2]).max(axis=1) < 0.3) & (np.abs(points[:, 2] - z) < 0.2)

    counts = np.array([box(2.3).sum(), box(3.0).sum(), box(3.7).sum()])
    assert counts.min() > 300
    assert np.ptp(counts) < 5 * np.sqrt(counts.mean())
    alone = ViewVolume(*(getattr(volume, n)[:1] for n in ("world_from_camera", "intrinsics", "sizes", "near", "far")))
    points, _ = alone.sample(40_000, rng)
    # In one pyramid the volume up to depth z grows with z³.
    np.testing.assert_allclose(np.mean(points[:, 2] < 3.0), (27 - 1) / (125 - 1), atol=0.01)


def test_fewer_views_are_enough_where_frusta_do_not_meet():
    apart = np.stack([pose((100.0 * i, 0, 0), (0, 0, 1)) for i in range(3)])
    volume = ViewVolume(apart, np.stack([MATRIX] * 3), np.full((3, 2), 240), np.ones(3), np.full(3, 2.0))
    _, k = volume.sample(100, np.random.default_rng(0))
    assert k == 1


def test_frusta_that_are_broken_are_reported():
    volume = ViewVolume(
        np.eye(4)[None] * np.nan, MATRIX[None], np.array([[320, 240]]), np.array([1.0]), np.array([2.0])
    )
    with pytest.raises(UserError, match="check the poses"):
        volume.sample(10, np.random.default_rng(0))


def test_moving_camera_counts_with_its_poses():
    poses = ring(500)
    volume = view_volume(cameras(poses[:1]), [poses])
    assert len(volume.near) == 200
    points, k = volume.sample(100, np.random.default_rng(0))
    assert k == 3 and len(points) == 100
