from __future__ import annotations

import numpy as np
import pytest

from fourdgs_ns.geometry.neighbors import mean_neighbor_distance
from fourdgs_ns.points.thinning import thin_over_time


def test_neighbor_distance_equals_brute_force():
    points = np.random.default_rng(0).normal(size=(200, 3))
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    expected = np.sqrt(np.sort(squared, axis=1)[:, :3].mean(axis=1))
    np.testing.assert_allclose(mean_neighbor_distance(points), expected)


def test_neighbor_distance_of_a_grid_is_its_step():
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(mean_neighbor_distance(0.5 * grid.astype(np.float32)), 0.5)


def test_coinciding_and_few_points_have_a_finite_positive_distance():
    floor = np.sqrt(1e-7)
    np.testing.assert_allclose(mean_neighbor_distance(np.zeros((6, 3)), least_squared=floor**2), floor)
    np.testing.assert_allclose(mean_neighbor_distance(np.zeros((1, 3)), least_squared=floor**2), floor)
    assert mean_neighbor_distance(np.zeros((0, 3))).shape == (0,)
    np.testing.assert_allclose(mean_neighbor_distance(np.array([[0.0, 0, 0], [2.0, 0, 0]])), 2.0)


def scene():
    """A static grid, seen again with noise at each of four instants, and one patch that moves on."""
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
    grid = np.concatenate([grid, np.zeros((144, 1))], axis=1)
    patch = 0.5 * np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), axis=-1).reshape(-1, 2)
    patch = np.concatenate([patch, np.full((16, 1), 5.0)], axis=1)
    positions, colors, times, moving = [], [], [], []
    for k, t in enumerate((0.0, 0.3, 0.6, 1.0)):
        positions += [grid + 0.02 * rng.normal(size=grid.shape), patch + np.array([3.0 * k, 0, 0])]
        colors += [np.full((144, 3), 90) + rng.integers(-5, 6, (144, 3)), np.full((16, 3), 200)]
        times.append(np.full(160, t))
        moving.append(np.arange(160) >= 144)
    return np.concatenate(positions), np.concatenate(colors).astype(np.uint8), *map(np.concatenate, (times, moving))


def test_static_points_stay_once_and_moving_ones_stay():
    positions, colors, times, moving = scene()
    keep = thin_over_time(positions, colors, times)
    assert keep[times == 0].all()
    assert keep[moving].all()
    assert not keep[~moving & (times > 0)].any()


def test_static_point_that_changes_its_colour_stays():
    positions, colors, times, moving = scene()
    changed = ~moving & (times == 0.6)
    colors[changed] = 170
    keep = thin_over_time(positions, colors, times)
    assert keep[changed].all()
    assert not keep[~moving & (times == 0.3)].any()


def test_sparse_rule_keeps_the_loneliest_quarter_of_later_frames():
    positions, colors, times, _ = scene()
    keep = thin_over_time(positions, colors, times, "sparse")
    assert keep[times == 0].all()
    for t in (0.3, 0.6, 1.0):
        frame = times == t
        assert keep[frame].sum() == 40
        nearest = mean_neighbor_distance(positions[frame], k=1)
        assert nearest[keep[frame]].min() >= nearest[~keep[frame]].max()


@pytest.mark.parametrize("rule", ["static", "sparse"])
def test_tiny_clouds(rule):
    for n in (0, 1, 2):
        keep = thin_over_time(np.zeros((n, 3)), np.zeros((n, 3), np.uint8), np.arange(n) / 2, rule)
        assert keep.shape == (n,)
