from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pytest

from fourdgs_ns.points import velocities
from fourdgs_ns.points.instants import PosedImage
from fourdgs_ns.points.matcher import TriangulatedPoints
from fourdgs_ns.points.velocities import flow_frames, flow_velocities, neighbor_velocities


def grid(step=1.0, n=8):
    return step * np.stack(np.meshgrid(*[np.arange(float(n))] * 2, [0.0]), axis=-1).reshape(-1, 3)


def same(n, value=100):
    return np.full((n, 3), value, np.uint8)


def test_velocity_of_a_small_common_motion_is_exact_inside():
    points, step = grid(), np.array([0.2, -0.1, 0.05])
    found, known = neighbor_velocities(points, same(64), points + step, same(64), 0.25)
    # The median over three neighbours of a regular grid is the motion itself where two of them lie to both sides.
    inside = np.all((points[:, :2] > 0) & (points[:, :2] < 7), axis=1) & known
    assert inside.sum() > 20 and found.dtype == np.float32
    assert np.median(np.linalg.norm(found[inside] - step / 0.25, axis=1)) < 0.5 / 0.25


def test_velocity_is_exact_where_every_point_has_three_sightings():
    rng = np.random.default_rng(0)
    points, step = 10 * grid(), np.array([1.5, -1.0, 2.0])
    found, known = neighbor_velocities(points, same(64), np.repeat(points + step, 3, axis=0), same(192), 0.5)
    assert known.all()
    np.testing.assert_allclose(found, np.tile(step / 0.5, (64, 1)), rtol=1e-6)
    back, known = neighbor_velocities(points, same(64), np.repeat(points + step, 3, axis=0), same(192), -0.5)
    assert known.all()
    np.testing.assert_allclose(back, -found, rtol=1e-6)
    # Other points of other colours in between change nothing.
    clutter = points[rng.integers(64, size=300)] + rng.normal(scale=2.0, size=(300, 3))
    others = np.concatenate([np.repeat(points + step, 3, axis=0), clutter])
    found, known = neighbor_velocities(points, same(64), others, np.concatenate([same(192), same(300, 200)]), 0.5)
    assert known.mean() > 0.9
    np.testing.assert_allclose(found[known], np.tile(step / 0.5, (known.sum(), 1)), rtol=1e-6)


@pytest.mark.parametrize("case", ["too far", "other colour", "apart", "one way"])
def test_what_is_inconsistent_has_no_velocity(case):
    points = 10 * grid()
    others, colors = np.repeat(points + 1.0, 3, axis=0), same(192)
    if case == "too far":
        others = np.repeat(points + np.array([0.0, 0.0, 36.0]), 3, axis=0)
    elif case == "other colour":
        colors = same(192, 200)
    elif case == "apart":
        others = points * 2.3
        colors = colors[:64]
    else:
        # All ways lead to a single place, from which one way leads back.
        others = np.zeros((3, 3))
        colors = colors[:3]
    found, known = neighbor_velocities(points, same(64), others, colors, 0.5)
    assert known.sum() <= (8 if case in ("apart", "one way") else 0)
    assert (found[~known] == 0).all()


@pytest.mark.parametrize("counts", [(0, 5), (1, 5), (5, 0), (5, 2)])
def test_too_few_points_have_no_velocity(counts):
    n, m = counts
    found, known = neighbor_velocities(np.zeros((n, 3)), same(n), np.zeros((m, 3)), same(m), 0.1)
    assert found.shape == (n, 3) and not known.any()


def test_flow_spans_a_fifteenth_of_a_second_and_stays_in_the_clip():
    thirty = np.arange(60) / 30
    assert flow_frames(10, thirty) == (8, 12)
    assert flow_frames(0, thirty) == (0, 2) and flow_frames(59, thirty) == (57, 59) and flow_frames(1, thirty) == (0, 3)
    assert flow_frames(10, np.arange(60) / 60) == (6, 14)
    assert flow_frames(10, np.arange(60) / 5) == (9, 11)
    assert flow_frames(0, np.zeros(1)) == (0, 0)
    assert flow_frames(0, np.array([0.0, 0.5])) == (0, 1)


def test_slope_over_both_sides_cancels_acceleration(monkeypatch):
    speed, acceleration = np.array([3.0, 0.0, -1.0]), np.array([40.0, 10.0, 0.0])
    known = {"before": np.array([True, True, False, False]), "after": np.array([True, False, True, False])}
    interval = {"before": -0.1, "after": 0.1}

    def moved(positions, seen_by, start, end):
        (side,) = end
        dt = interval[side]
        step = np.tile(speed * dt + 0.5 * acceleration * dt**2, (4, 1))
        return np.where(known[side][:, None], step, 0.0), known[side]

    monkeypatch.setattr(velocities, "displacements", moved)
    points = TriangulatedPoints(np.zeros((4, 3)), same(4), np.ones((4, 2), bool), np.zeros(4))
    image = Mock(spec=PosedImage)
    found, sure = flow_velocities(points, [], ({"before": image}, 0.1), ({"after": image}, 0.1))
    assert sure.tolist() == [True, True, True, False]
    one_sided = 0.5 * acceleration * 0.1
    np.testing.assert_allclose(found, [speed, speed - one_sided, speed + one_sided, np.zeros(3)], rtol=1e-6)
    # At the first frame there is only the way forward.
    found, sure = flow_velocities(points, [], ({"before": image}, 0.0), ({"after": image}, 0.1))
    np.testing.assert_allclose(found[0], speed + one_sided, rtol=1e-6)
    assert sure.tolist() == [True, False, True, False]
