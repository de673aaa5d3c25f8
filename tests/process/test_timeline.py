"""Which frames show which instants."""

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.timeline import plan
from tests.process.clips import raw_video


def test_offsets_pick_frames_and_leave_the_fraction():
    videos = [raw_video("a", np.arange(60) / 30), raw_video("b", np.arange(60) / 30)]
    made = plan(videos, {"a": 0.0, "b": 3.4 / 30})
    # The grid runs through b, which started last: a's frame nearest to b's first one is 3, 0.4 frames before it.
    assert made.picks["b"][:3].tolist() == [0, 1, 2] and made.picks["a"][:3].tolist() == [3, 4, 5]
    assert made.late_seconds["b"] == pytest.approx(0.0, abs=1e-12)
    assert made.late_seconds["a"] == pytest.approx(-0.4 / 30, abs=1e-12)
    assert len(made.instants) == 56 and made.fps == 30


def test_variable_rate_takes_the_nearest_frames():
    times = np.concatenate([np.arange(10) / 30, 0.5 + np.arange(15) / 30])  # frames are missing from 0.3 to 0.5 s
    made = plan([raw_video("a", np.arange(30) / 30), raw_video("b", times, variable_rate=True)], {"a": 0.0, "b": 0.0})
    distance = np.abs(times[made.picks["b"]] - made.instants)
    nearest = np.abs(times[None] - made.instants[:, None]).min(axis=1)
    np.testing.assert_allclose(distance, nearest, atol=0.02 / 30)
    assert made.repeated["b"] > 0 and made.repeated["a"] == 0
    assert made.jitter_seconds["b"] > 1.5 / 30


def test_lowest_rate_is_used_for_all():
    made = plan([raw_video("a", np.arange(61) / 60, fps=60), raw_video("b", np.arange(31) / 30)], {"a": 0.0, "b": 0.0})
    assert made.fps == 30
    np.testing.assert_array_equal(made.picks["a"], 2 * made.picks["b"])


def test_start_end_every():
    made = plan([raw_video(n, np.arange(90) / 30) for n in "ab"], {"a": 0.0, "b": 0.0}, start="1", end="2", every=3)
    np.testing.assert_allclose(made.instants, 1.0 + np.arange(11) / 10)
    assert made.fps == 10 and made.picks["a"][1] == 33


@pytest.mark.parametrize(
    "start, end", [("1", "2"), ("30f", "60f"), ("1s", "60f"), ("33.7078651685%", "67.4157303371%")]
)
def test_start_and_end_in_seconds_frames_and_shares(start, end):
    made = plan([raw_video(n, np.arange(90) / 30) for n in "ab"], {"a": 0.0, "b": 0.0}, start=start, end=end)
    np.testing.assert_allclose(made.instants, 1.0 + np.arange(31) / 30, atol=1e-9)


@pytest.mark.parametrize(
    ("offsets", "options", "says"),
    [
        ({"a": 0.0, "b": 5.0}, {}, "no instant was recorded by all cameras"),
        ({"a": 0.0, "b": 0.0}, {"start": "9"}, r"--start 9 lies outside the clip, which runs from 0 to 1\.967 s"),
        ({"a": 0.0, "b": 0.0}, {"end": "2.5"}, r"--end 2\.5 lies outside the clip"),
        ({"a": 0.0, "b": 0.0}, {"start": "1", "end": "0.5"}, "--start 1 --end 0.5 leave nothing"),
        ({"a": 0.0, "b": 0.0}, {"fps": -1.0}, "--fps -1"),
        ({"a": 0.0, "b": 0.0}, {"every": 0}, "--every 0"),
        ({"a": 0.0, "b": 0.0}, {"every": 500}, "only 1 instant"),
    ],
)
def test_refused(offsets, options, says):
    with pytest.raises(UserError, match=says):
        plan([raw_video(n, np.arange(60) / 30) for n in "ab"], offsets, **options)
