"""The instants of the clip, and which frame of each recording shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.probe import RawVideo
from fourdgs_ns.process.synchronise import common_interval
from fourdgs_ns.representation.clip_time import read_time
from fourdgs_ns.representation.types import Clip

SAME_RATE = 0.01
END_TOLERANCE = 0.1
"""Frames by which the last instant may lie after the end: measured offsets must not cost a frame by their rounding."""
TIE = 1e-2
"""Frames: at half a frame of offset rounding must not make the picks jump back and forth."""


@dataclass(frozen=True)
class Timeline:
    """What is taken from the recordings."""

    fps: float
    instants: Float[np.ndarray, " f"]
    """Seconds on the common clock."""
    picks: Mapping[str, Int[np.ndarray, " f"]]
    """For each camera the frame of its recording that is nearest to each instant."""
    late_seconds: Mapping[str, float]
    """How much later than the instants a camera's frames were exposed, on average."""
    jitter_seconds: Mapping[str, float]
    """Largest deviation of single frames from that."""
    repeated: Mapping[str, int]
    """Instants at which a camera shows the same frame as before: dropped frames, or a rate above its own."""


def plan(
    videos: Sequence[RawVideo],
    offsets: Mapping[str, float],
    *,
    fps: float | None = None,
    start: str | None = None,
    end: str | None = None,
    every: int = 1,
) -> Timeline:
    """Instants at a constant rate inside the interval that all cameras share.

    ``fps``: None for the lowest rate of the cameras. ``start`` and ``end`` as users type times, in the shared
    interval; ``every`` keeps each n-th instant. The grid runs through the frames of the camera that started last.

    Raises:
        UserError: no common interval, or options that leave less than two instants.
    """
    begin, finish = common_interval(videos, offsets)
    rates = [v.fps for v in videos]
    if fps is None:
        fps = float(np.median(rates)) if max(rates) / min(rates) <= 1 + SAME_RATE else min(rates)
    if not 0 < fps <= 1000:
        raise UserError(f"--fps {fps:g} is out of range; give frames per second such as 30")
    if every < 1:
        raise UserError(f"--every {every} is out of range; give 1 or more")
    length = finish - begin
    whole = Clip(int(np.floor(length * fps + END_TOLERANCE)) + 1, length)
    grid = np.arange(whole.num_frames) / fps / length
    first = 0.0 if start is None else length * read_time(start, whole, "--start", grid.tolist())
    last = length if end is None else length * read_time(end, whole, "--end", grid.tolist())
    if first >= last:
        raise UserError(
            f"--start {first:g} --end {last:g} leave nothing of the {length:.2f} s that all cameras together recorded; give "
            "an end after the start"
        )
    count = int(np.floor((last - first) * fps + END_TOLERANCE)) + 1
    instants = begin + first + np.arange(0, count, every) / fps
    if len(instants) < 2:
        raise UserError(
            f"only {len(instants)} instant is left of the {length:.2f} s that all cameras recorded; "
            "give a longer interval or a higher --fps"
        )
    picks, late, jitter, repeated = {}, {}, {}, {}
    for video in videos:
        times = video.local_times() + offsets[video.camera]
        after = np.clip(np.searchsorted(times, instants), 1, len(times) - 1)
        nearer_before = instants - times[after - 1] <= times[after] - instants + TIE / fps
        index = np.where(nearer_before, after - 1, after)
        difference = times[index] - instants
        picks[video.camera] = index
        late[video.camera] = float(np.median(difference))
        jitter[video.camera] = float(np.abs(difference - np.median(difference)).max())
        repeated[video.camera] = int((np.diff(index) == 0).sum())
    return Timeline(fps / every, instants, picks, late, jitter, repeated)
