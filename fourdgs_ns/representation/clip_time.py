"""Times as users type them: seconds of the clip, a frame as ``12f``, or a share of the clip as ``50%``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.representation.types import Clip

TOLERANCE = 5e-4
"""Seconds over the end that are still the end: who copies the length that the viewer shows may type a hair more."""
FORMS = "seconds such as 0.5, a frame counted from 0 such as 12f, or a share such as 50%"

_TIME = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(s|f|%)?\s*")


def read_time(text: str, clip: Clip, option: str, frame_times: Sequence[float] | None = None) -> float:
    """t in [0, 1] of a time that the user typed.

    Args:
        option: Where it was typed, for messages.
        frame_times: t of each frame, where the frames of the clip do not follow each other evenly.

    Raises:
        UserError: it is no time, or lies outside the clip.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise UserError(f"{option} is '{text}'; give {FORMS}")
    number, unit = float(found[1]), found[2] or "s"
    if unit == "f":
        t = _of_frame(number, clip, frame_times)
    elif unit == "%":
        t = number / 100 if 0 <= number <= 100 else None
    else:
        t = _of_seconds(number, clip.duration_seconds)
    if t is None or not math.isfinite(t):
        raise UserError(
            f"{option} {text} lies outside the clip, which runs from 0 to {length_of(clip)}; give a time in it"
        )
    return t


def length_of(clip: Clip) -> str:
    """Where a clip ends, in the units in which times are typed."""
    return f"{clip.duration_seconds:.3f} s (frame {clip.num_frames - 1}f)"


def _of_frame(number: float, clip: Clip, frame_times: Sequence[float] | None) -> float | None:
    last = clip.num_frames - 1
    if not 0 <= number <= last:
        return None
    if frame_times is None:
        return number / max(last, 1)
    return float(np.interp(number, np.arange(len(frame_times)), frame_times))


def _of_seconds(seconds: float, length: float) -> float | None:
    if not -TOLERANCE <= seconds <= length + TOLERANCE:
        return None
    return min(max(seconds / length, 0.0), 1.0) if length > 0 else 0.0
