"""Times that a file states for each image: which are one instant, in which unit they are, by whose clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.capture.stamps import LEAST_STAMP_STEP, UNITS, Grid, are_stamps, on_grid, period_of, unit_of
from fourdgs_ns.common.errors import UserError

AMBIGUOUS_STEP = 10
"""Even whole numbers this far apart may be milliseconds, or each tenth frame."""
SHARED = 1.1
"""Times in all, per entry of the camera that has most, from which cameras stamp their frames by clocks of their own."""


def instants(
    times: Float[np.ndarray, " n"], by_camera: Mapping[str, Sequence[object]] | None = None
) -> tuple[Float[np.ndarray, " f"], Int[np.ndarray, " n"], Mapping[str, float]]:
    """The distinct times, increasing, the position of each entry among them, and how late each camera is in their unit.

    Times closer than 1e-5 of the clip are one instant, so that files may round them differently. Of a rig whose cameras stamp
    their frames by clocks of their own, given ``by_camera`` in the order of ``times``, frames nearest in time are one instant.
    """
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    new = np.diff(ordered) > 1e-5 * max(float(ordered[-1] - ordered[0]), 1e-12)
    group = np.concatenate([[0], np.cumsum(new)])
    index = np.empty(len(times), dtype=np.int64)
    index[order] = group
    grid = None if by_camera is None else _own_clocks(times, index, by_camera)
    if grid is None:
        return ordered[np.concatenate([[True], new])], index, {}
    places = np.empty(len(times), dtype=np.int64)
    start = 0
    for camera, entries in by_camera.items() if by_camera else ():
        part = slice(start, start + len(entries))
        places[part][np.argsort(times[part], kind="stable")] = grid.numbers[camera]
        start += len(entries)
    used, index = np.unique(places, return_inverse=True)
    return times.min() + grid.period * used, index, {name: late * grid.period for name, late in grid.late.items()}


def _own_clocks(
    times: Float[np.ndarray, " n"], index: Int[np.ndarray, " n"], by_camera: Mapping[str, Sequence[object]]
) -> Grid | None:
    """The frames of cameras that share too few of their times; None where they share them, or run at no common rate."""
    counts = [len(entries) for entries in by_camera.values()]
    ends = np.cumsum(counts)
    if len(counts) < 2 or min(counts) < 3 or index.max() + 1 <= SHARED * max(counts):
        return None
    own = {name: np.sort(times[end - n : end]) for name, n, end in zip(by_camera, counts, ends, strict=True)}
    return on_grid(own) if all((np.diff(stamps) > 0).all() for stamps in own.values()) else None


def to_seconds(times: Float[np.ndarray, " f"], fps: float | None) -> tuple[float, tuple[str, ...]]:
    """Seconds of one unit of increasing ``times``, and a note where that is not simply read.

    Stamps of a clock (33 67 100, or any unit but seconds that makes them a camera's frames) are told from numbers of frames.
    With a stated frame rate, times from exactly 0 to 1 whose smallest step is no frame are normalised, multiples of a frame are
    seconds, and of anything else the smallest step is one frame. Without a rate, other whole numbers are frames at 30 per second
    and everything else is seconds.

    Raises:
        UserError: whole numbers that may be either, or stamps that contradict the rate.
    """
    if len(times) == 1:
        return 1.0, ()
    since, whole = times - times[0], bool(np.all(times == np.round(times)))
    step = float(np.diff(times).min())
    stamps = are_stamps(times) if whole else step > LEAST_STAMP_STEP and unit_of(period_of(times)) is not None
    if stamps:
        return _of_stamps(times, fps)
    if fps is not None:
        if whole and abs(step / 1000 * fps - 1) < 0.05:
            return _of_stamps(times, fps)
        frames = since * fps
        normalised = times[0] == 0 and abs(times[-1] - 1) < 1e-6
        multiples = step * fps > 0.5 and np.abs(frames - np.round(frames)).max() < 0.05
        if abs(step * fps - 1) < 0.05 or (multiples and not normalised and not (whole and len(times) > 2)):
            return 1.0, ()
        if whole and len(times) > 2:
            return 1.0 / fps, (f"times are frame numbers at {fps:g} fps",)
        return 1.0 / (step * fps), (f"times are scaled so that their smallest step is one frame at {fps:g} fps",)
    if whole and step >= AMBIGUOUS_STEP:
        raise UserError(
            f"times {times[0]:g}, {times[1]:g}, ... may be milliseconds or numbers of frames; write them in seconds, or the "
            'frame rate into metadata.json as {"fps": 25}'
        )
    if whole and len(times) > 2:
        return 1 / 30.0, (
            'times are frame numbers, taken at 30 fps; state another rate in metadata.json as {"fps": 60}',
        )
    return 1.0, (f"times are taken as seconds: the clip lasts {since[-1]:g} s",)


def _of_stamps(times: Float[np.ndarray, " f"], fps: float | None) -> tuple[float, tuple[str, ...]]:
    period = period_of(times)
    unit = str(unit_of(period))
    frames = 1.0 if fps is None else period * UNITS[unit] * fps
    if abs(frames - max(round(frames), 1)) > 0.1:
        raise UserError(
            f"times in {unit} ({times[0]:.12g}, {times[1]:.12g}, ...) make {1 / period / UNITS[unit]:.4g} frames per second, but "
            f"{fps:g} are stated; correct one of them"
        )
    return UNITS[unit], (f"times are taken as {unit}: {1 / period / UNITS[unit]:.4g} frames per second",)
