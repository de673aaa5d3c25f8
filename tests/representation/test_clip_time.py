"""Times as users type them: every form, both ends, and what is refused."""

from __future__ import annotations

import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.representation.clip_time import read_time
from fourdgs_ns.representation.types import Clip

CLIP = Clip(num_frames=31, duration_seconds=2.0)
STILL = Clip(num_frames=1, duration_seconds=0.0)


@pytest.mark.parametrize(
    "text, t",
    [
        *(
            ("0.5", 0.25),
            ("0.5s", 0.25),
            (".5", 0.25),
            ("2", 1.0),
            ("2.0004", 1.0),
            ("0", 0.0),
            ("-0", 0.0),
            ("5e-1", 0.25),
        ),
        *(("12f", 0.4), ("0f", 0.0), ("30f", 1.0), ("1.5f", 0.05), ("50%", 0.5), ("100%", 1.0), (" 25 % ", 0.25)),
    ],
)
def test_seconds_frames_and_shares(text, t):
    assert read_time(text, CLIP, "--at") == pytest.approx(t)


@pytest.mark.parametrize("text", ["-0.1", "2.1", "31f", "-1f", "101%", "-1%", "1e400"])
def test_what_lies_outside_is_refused_with_the_length_of_the_clip(text):
    with pytest.raises(UserError, match=r"--at .* outside the clip, which runs from 0 to 2\.000 s \(frame 30f\)"):
        read_time(text, CLIP, "--at")


@pytest.mark.parametrize("text", ["", "noon", "nan", "inf", "12 frames", "0:01", "5f%", "1,5"])
def test_what_is_no_time_is_refused_with_the_forms(text):
    with pytest.raises(UserError, match=r"--at is .* seconds such as 0.5, a frame .* 12f, or a share such as 50%"):
        read_time(text, CLIP, "--at")


def test_frames_that_do_not_follow_each_other_evenly_have_their_own_times():
    clip = Clip(num_frames=4, duration_seconds=1.0)
    uneven = [0.0, 0.1, 0.9, 1.0]
    assert [read_time(f"{k}f", clip, "--at", uneven) for k in range(4)] == pytest.approx(uneven)
    assert read_time("1f", clip, "--at") == pytest.approx(1 / 3)


def test_a_clip_of_one_frame_has_one_time():
    assert read_time("0", STILL, "--at") == read_time("0f", STILL, "--at") == 0.0
    for wrong in ("0.1", "1f"):
        with pytest.raises(UserError, match="outside the clip"):
            read_time(wrong, STILL, "--at")
