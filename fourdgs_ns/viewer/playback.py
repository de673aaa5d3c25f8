"""Where playback stands: arithmetic without threads, widgets or waiting, so that it can be tested exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from fourdgs_ns.representation.types import Clip

Repeat = Literal["loop", "ping-pong", "once"]
REPEATS: tuple[Repeat, ...] = get_args(Repeat)
FALLBACK_FPS = 30.0
"""Frame rate of clips that do not know their own."""


@dataclass
class Playhead:
    """A position in a clip of ``num_frames`` frames that are shown ``fps`` times ``speed`` per second."""

    num_frames: int
    fps: float = FALLBACK_FPS
    speed: float = 1.0
    repeat: Repeat = "loop"
    playing: bool = False
    phase: float = 0.0
    """Frames since the start of the current round; a round of ping-pong is there and back."""

    @staticmethod
    def of(clip: Clip) -> Playhead:
        """A playhead at the first frame of ``clip``."""
        known = clip.duration_seconds > 0 and clip.num_frames > 1
        return Playhead(clip.num_frames, (clip.num_frames - 1) / clip.duration_seconds if known else FALLBACK_FPS)

    @property
    def round_length(self) -> int:
        """Frames after which playback is where it was."""
        return max(2 * (self.num_frames - 1), 1) if self.repeat == "ping-pong" else self.num_frames

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return self._fold(math.floor(self.phase))

    @property
    def position(self) -> float:
        """The same between frames: in [0, num_frames - 1]; the last frame of a loop waits until the first is due."""
        return self._fold(self.phase)

    def _fold(self, place):
        last = self.num_frames - 1
        if self.repeat == "ping-pong" and place > last:
            return 2 * last - place
        return min(place, last)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of real time pass."""
        if not self.playing:
            return
        phase = self.phase + seconds * self.fps * self.speed
        if self.repeat == "once":
            self.playing = phase < self.num_frames
            self.phase = min(phase, float(self.num_frames - 1)) if not self.playing else phase
        else:
            self.phase = phase % self.round_length

    def play(self) -> None:
        """Start; from the first frame when a clip that plays once has ended."""
        if self.repeat == "once" and self.frame == self.num_frames - 1:
            self.phase = 0.0
        self.playing = True

    def seek(self, frame: int) -> None:
        """Go to ``frame`` (clamped)."""
        self.phase = float(min(max(frame, 0), self.num_frames - 1))

    def step(self, frames: int) -> None:
        """Go ``frames`` on from the one that is shown and stop there; round the ends in a loop."""
        self.playing = False
        target = self.frame + frames
        self.seek(target % self.num_frames if self.repeat == "loop" else target)

    def set_repeat(self, repeat: Repeat) -> None:
        """Change what happens at the ends without a jump."""
        frame = self.frame
        self.repeat = repeat
        self.seek(frame)


def time_at(position: float, times: Sequence[float]) -> float:
    """t at a ``position`` between frames whose own t are ``times``, linear between neighbours."""
    below = min(int(position), len(times) - 1)
    above = min(below + 1, len(times) - 1)
    return times[below] + (position - below) * (times[above] - times[below])
