"""Offsets from sound: known delays come back, and what cannot be known is not claimed."""

import numpy as np
import pytest

from fourdgs_ns.process import audio
from fourdgs_ns.process.offsets import PairOffset, solve_offsets


def _scene(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (
        0.2 * rng.standard_normal(int(seconds * audio.RATE)) * (1 + np.sin(np.arange(int(seconds * audio.RATE)) / 3000))
    )


def _recordings(delays, seconds=6.0, noise=0.05, seed=1):
    """What cameras hear that start ``delays`` seconds later than the scene's clock (sub-sample by interpolation)."""
    scene, rng = _scene(seconds + 4), np.random.default_rng(seed)
    sounds = {}
    for i, delay in enumerate(delays):
        at = (1.0 + delay + np.arange(int(seconds * audio.RATE)) / audio.RATE) * audio.RATE
        heard = np.interp(at, np.arange(len(scene)), scene)
        sounds[i] = (heard + noise * rng.standard_normal(len(heard)), 0.0)
    return sounds


def test_known_delays_within_a_tenth_of_a_millisecond():
    delays = [0.0, 0.7312345, -0.4567891, 0.0333]
    pairs = audio.pair_offsets(_recordings(delays))
    assert all(pair.weight > 0 for pair in pairs)
    offsets, spread = solve_offsets(pairs, 4, 0.03)
    np.testing.assert_allclose(offsets, np.array(delays), atol=1e-4)
    assert spread.max() < 1e-4


def test_a_track_that_begins_after_its_video_is_placed_on_the_clock_of_the_video():
    sounds = _recordings([0.0, 0.5])
    samples, _ = sounds[1]
    sounds[1] = (samples[audio.RATE :], 1.0)  # the first second was not recorded
    (pair,) = audio.pair_offsets(sounds)
    assert pair.seconds == pytest.approx(0.5, abs=1e-4)


def test_unrelated_sounds_are_not_trusted():
    sounds = {i: (_scene(5, seed=10 + i), 0.0) for i in range(4)}
    assert all(pair.weight == 0 for pair in audio.pair_offsets(sounds))


def test_silence():
    assert audio.is_silent(np.zeros(audio.RATE))
    assert audio.is_silent(np.full(audio.RATE, 1e-6))
    assert not audio.is_silent(_scene(1))


def test_one_wrong_pair_does_no_harm():
    true = np.array([0.0, 1.5, -0.25, 3.0])
    pairs = [PairOffset(a, b, true[b] - true[a], 1.0) for a in range(4) for b in range(a + 1, 4)]
    pairs[0] = PairOffset(0, 1, 7.0, 0.5)
    offsets, spread = solve_offsets(pairs, 4, 0.03)
    np.testing.assert_allclose(offsets, true, atol=1e-12)
    np.testing.assert_allclose(spread, 0, atol=1e-12)


def test_a_wrong_pair_that_joins_two_groups_is_outvoted():
    """It weighs most of what joins them, so that a tree of the most trusted pairs alone would follow it."""
    inside = [PairOffset(a, b, 0.0, 9.0) for a, b in ((0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5))]
    between = [PairOffset(2, 3, 1.1, 5.0), *(PairOffset(a, b, 0.0, 4.0) for a, b in ((0, 4), (1, 5), (2, 5)))]
    offsets, _ = solve_offsets([*inside, *between], 6, 0.5)
    np.testing.assert_allclose(offsets, 0, atol=1e-9)


def test_a_camera_that_no_pair_connects_has_no_offset():
    pairs = [PairOffset(0, 1, 0.5, 1.0), PairOffset(1, 2, 0.5, 0.0)]
    offsets, _ = solve_offsets(pairs, 3, 0.03)
    np.testing.assert_allclose(offsets, [0.0, 0.5, np.nan])
