"""The clock of playback, by arithmetic."""

from __future__ import annotations

import pytest

from fourdgs_ns.representation.types import Clip
from fourdgs_ns.viewer.playback import Playhead, time_at


def shown(head: Playhead, seconds: float, count: int) -> list[int]:
    """Frames that are shown every ``seconds``."""
    frames = []
    for _ in range(count):
        frames.append(head.frame)
        head.advance(seconds)
    return frames


def test_a_loop_shows_every_frame_equally_long():
    head = Playhead(4, fps=10, playing=True)
    assert shown(head, 0.05, 10) == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]


def test_ping_pong_turns_without_repeating_the_ends():
    head = Playhead(4, fps=10, repeat="ping-pong", playing=True)
    head.phase = 0.5  # between two frames, where rounding decides nothing
    # Frame 3 is there from phase 3 to just after 3, then the way back starts: 2.5, 1.5, 0.5.
    assert [round(head.position, 6) for _ in range(8) if head.advance(0.1) is None] == [
        1.5,
        2.5,
        2.5,
        1.5,
        0.5,
        0.5,
        1.5,
        2.5,
    ]
    head.phase = 0.0
    assert shown(head, 0.1000001, 8) == [0, 1, 2, 3, 2, 1, 0, 1]
    head.phase = 0.0
    head.advance(0.45)
    assert head.position == pytest.approx(6 - 4.5)


def test_once_stops_at_the_last_frame_and_starts_again():
    head = Playhead(3, fps=10, repeat="once", playing=True)
    assert shown(head, 0.1, 5) == [0, 1, 2, 2, 2]
    assert not head.playing
    head.play()
    assert head.playing and head.frame == 0


@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0])
def test_speed_scales_time(speed):
    head = Playhead(1000, fps=25, speed=speed, playing=True)
    head.advance(2.0)
    assert head.position == pytest.approx(50 * speed)


def test_steps_pause_and_go_round_in_a_loop_only():
    head = Playhead(5, playing=True)
    head.step(-1)
    assert head.frame == 4 and not head.playing
    head.step(1)
    assert head.frame == 0
    head.set_repeat("once")
    head.step(-1)
    assert head.frame == 0
    head.step(10)
    assert head.frame == 4


def test_a_pause_in_the_way_back_stays_at_the_frame():
    head = Playhead(4, fps=10, repeat="ping-pong", playing=True, phase=4.5)
    assert head.frame == 2
    head.step(0)
    assert head.frame == 2
    head.set_repeat("loop")
    assert head.frame == 2


def test_nothing_moves_while_paused():
    head = Playhead(4)
    head.advance(10.0)
    assert head.phase == 0.0


def test_frame_rate_of_a_clip():
    assert Playhead.of(Clip(31, 1.0)).fps == pytest.approx(30)
    assert Playhead.of(Clip(1, 0.0)).num_frames == 1


def test_a_clip_of_one_frame_can_be_played():
    for repeat in ("loop", "ping-pong", "once"):
        head = Playhead(1, repeat=repeat, playing=True)
        head.advance(1.0)
        assert head.frame == 0 and head.position == 0


def test_time_between_uneven_frames():
    times = [0.0, 0.2, 1.0]
    assert [time_at(p, times) for p in (0, 0.5, 1, 1.25, 2)] == pytest.approx([0.0, 0.1, 0.2, 0.4, 1.0])
