"""Time stamps of frames: in which unit they are, and on which frame each of them lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
SLOWEST_FPS, FASTEST_FPS = 5.0, 1000.0
"""Frame rates among which the unit of a stamp is looked for; one unit at most fits each period."""
LEAST_STAMP_STEP = 4
"""Uneven whole numbers this far apart are stamps; numbers of frames with holes among them are nearer to each other."""
LONGEST_STRIDE = 1000
"""Even whole numbers this far apart are stamps: nobody keeps each thousandth frame."""
LARGEST_NUMBER = 1e9
"""Larger ones count no frames."""
MOST_JITTER = 0.35
"""Frames by which a stamp may be off the grid of its camera."""


@dataclass(frozen=True)
class Grid:
    """Frames of cameras that run at one rate, each with a phase of its own."""

    numbers: Mapping[str, Int[np.ndarray, " _n"]]
    """Frame of each stamp, increasing, from 0 for the earliest one."""
    late: Mapping[str, float]
    """How much later than the middle of the rig a camera exposes its frames, in frames, -0.5 to 0.5."""
    period: float
    """Of a frame, in the unit of the stamps."""


def period_of(stamps: Float[np.ndarray, " n"]) -> float:
    """Usual distance of at least two increasing stamps, of which some may be missing."""
    steps = np.diff(stamps)
    usual = float(np.median(steps))
    return float(steps.sum() / np.maximum(np.round(steps / usual), 1).sum())


def unit_of(period: float) -> str | None:
    """The name in ``UNITS`` under which ``period`` is that of a camera's frames; None where none fits."""
    fitting = (name for name, unit in UNITS.items() if 1 / FASTEST_FPS <= period * unit <= 1 / SLOWEST_FPS)
    return next(fitting, None)


def are_stamps(numbers: Float[np.ndarray, " n"]) -> bool:
    """Whether increasing whole numbers are stamps of a clock and not numbers of frames: 33 67 100, which no step divides."""
    steps = np.diff(numbers)
    if len(steps) == 0 or steps.min() < LEAST_STAMP_STEP or unit_of(period_of(numbers)) is None:
        return False
    period = period_of(numbers)
    off = np.abs(steps / period - np.round(steps / period))
    uncountable = steps.min() >= LONGEST_STRIDE or numbers[-1] > LARGEST_NUMBER or (steps % steps.min()).any()
    return bool(off.max() <= MOST_JITTER and uncountable)


def on_grid(stamps: Mapping[str, Float[np.ndarray, " _n"]]) -> Grid | None:
    """Frames of increasing stamps by camera, each from its own clock's phase; None where they do not lie on such a grid.

    At least one camera has two stamps.
    """
    period = float(np.median([period_of(own) for own in stamps.values() if len(own) > 1]))
    origin = min(float(own[0]) for own in stamps.values())
    places = {name: (own - origin) / period for name, own in stamps.items()}
    turns = {name: np.exp(2j * np.pi * own).mean() for name, own in places.items()}
    middle = np.angle(np.sum(list(turns.values())))
    late = {name: float(np.angle(turn * np.exp(-1j * middle)) / (2 * np.pi)) for name, turn in turns.items()}
    numbers = {}
    for name, own in places.items():
        frames = own - middle / (2 * np.pi) - late[name]
        numbers[name] = np.round(frames).astype(np.int64)
        if np.abs(frames - numbers[name]).max() > MOST_JITTER or (np.diff(numbers[name]) < 1).any():
            return None
    first = min(int(own[0]) for own in numbers.values())
    return Grid({name: own - first for name, own in numbers.items()}, late, period)
