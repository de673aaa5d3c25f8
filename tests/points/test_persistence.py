from __future__ import annotations

import numpy as np

from fourdgs_ns.points.persistence import find_static, keep_once

TIMES = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)


def pixels_of(positions):
    """A pixel is a fifth of a unit everywhere."""
    return np.full(len(positions), 0.2)


def scene(noise=0.02):
    """A static wall, a patch that moves on by 3 units, and one that waits at first: (cloud, which is which)."""
    rng = np.random.default_rng(1)
    plane = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), [0.0]), axis=-1).reshape(-1, 3)
    patch = plane[:16] * 0.9 + np.array([0, 0, 5.0])
    positions, times, kind = [], [], []
    for k, t in enumerate(TIMES):
        waiting = patch + np.array([0, 0, 5.0]) + np.array([0, 4.0 * max(k - 1, 0), 0])
        parts = [plane + noise * rng.normal(size=plane.shape), patch + np.array([0, 3.3 * k, 0]), waiting]
        positions += parts
        for i, part in enumerate(parts):
            kind.append(np.full(len(part), i))
            times.append(np.full(len(part), t, np.float32))
    positions = np.concatenate(positions)
    return positions, np.full(positions.shape, 90, np.uint8), np.concatenate(times), np.concatenate(kind)


def test_what_is_found_again_at_most_instants_rests_and_a_pause_does_not():
    positions, colors, times, kind = scene()
    static, means = find_static(positions, colors, times, np.zeros(positions.shape), pixels_of(positions), 0.25)
    assert static[kind == 0].all() and not static[kind != 0].any()
    # The mean of five sightings is less noisy than each.
    true = np.round(positions[kind == 0])
    before, after = (np.linalg.norm(p[kind == 0] - true, axis=1).mean() for p in (positions, means))
    assert after < 0.6 * before
    np.testing.assert_array_equal(means[kind == 1], positions[kind == 1])


def test_velocity_and_colour_can_contradict_rest():
    positions, colors, times, kind = scene()
    fast = np.tile([0.0, 8.0, 0.0], (len(positions), 1))
    assert not find_static(positions, colors, times, fast, pixels_of(positions), 0.25)[0].any()
    slow = 0.1 * fast
    assert find_static(positions, colors, times, slow, pixels_of(positions), 0.25)[0][kind == 0].all()
    flicker = colors.copy()
    flicker[np.isin(times, TIMES[[0, 2, 4]])] = 200
    # Three instants agree: each has two twins among four others. The two that differ have one.
    static, _ = find_static(positions, flicker, times, np.zeros(positions.shape), pixels_of(positions), 0.25)
    assert static[(kind == 0) & np.isin(times, TIMES[[0, 2, 4]])].all()
    assert not static[(kind == 0) & np.isin(times, TIMES[[1, 3]])].any()


def test_reach_is_two_pixels_or_one_spacing():
    positions, colors, times, kind = scene(noise=0.0)
    moved = positions.copy()
    moved[(kind == 0) & (times == 0)] += [0, 0, 0.3]
    for pixel, found in ((0.1, False), (0.2, True)):
        still = np.zeros(positions.shape)
        static, _ = find_static(moved, colors, times, still, np.full(len(times), pixel), 0.25)
        assert (static[(kind == 0) & (times == 0)] == found).all()
    moved[(kind == 0) & (times == 0)] += [0, 0, 1.2]
    static, _ = find_static(moved, colors, times, np.zeros(positions.shape), np.full(len(times), 9.0), 0.25)
    assert not static[(kind == 0) & (times == 0)].any()


def test_with_a_single_key_frame_only_velocity_counts():
    positions = np.arange(30.0).reshape(10, 3)
    velocity = np.zeros((10, 3))
    velocity[4] = [0, 0, 50.0]
    static, means = find_static(
        positions, np.zeros((10, 3), np.uint8), np.zeros(10), velocity, pixels_of(positions), 1.0
    )
    assert static.tolist() == [i != 4 for i in range(10)]
    np.testing.assert_array_equal(means, positions)


def test_empty_key_frames_and_clouds_are_no_trouble():
    empty = np.zeros((0, 3))
    static, means = find_static(empty, empty.astype(np.uint8), np.zeros(0), empty, np.zeros(0), 1.0)
    assert static.shape == (0,) and means.shape == (0, 3)
    assert keep_once(empty, empty.astype(np.uint8), np.zeros(0), static, np.zeros(0)).shape == (0,)


def test_static_points_stay_once_and_moving_ones_always():
    positions, colors, times, kind = scene()
    static, means = find_static(positions, colors, times, np.zeros(positions.shape), pixels_of(positions), 0.25)
    keep = keep_once(means, colors, times, static, pixels_of(positions))
    assert keep[kind != 0].all()
    assert keep[kind == 0].sum() == 100
    places = np.round(means[keep & (kind == 0)])
    assert len(np.unique(places, axis=0)) == 100
