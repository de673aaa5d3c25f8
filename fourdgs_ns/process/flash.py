"""Offsets between recordings from a flash or a lamp that is switched: the jump of brightness that all cameras see."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from fourdgs_ns.process.offsets import PairOffset

CONFIDENT = 6.0
"""Height of the jump over the usual change from frame to frame (robust standard deviations) to be trusted."""
GRID_PER_FRAME = 20


def mean_luminance(frame: Any) -> float:
    """Mean of the luma plane, from every fourth row and column."""
    plane = frame.planes[0] if frame.format.name.startswith(("yuv", "nv", "gray")) else None
    if plane is None or frame.format.components[0].bits != 8:
        return float(frame.to_ndarray(format="gray")[::4, ::4].mean())
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return float(rows[: frame.height : 4, : frame.width : 4].mean())


def jump(luminance: Float[np.ndarray, " n"]) -> float:
    """The largest change from frame to frame, in robust standard deviations of all changes."""
    change = np.abs(np.diff(luminance))
    spread = 1.4826 * float(np.median(np.abs(change - np.median(change)))) + 0.05
    return float((change.max() - np.median(change)) / spread) if len(change) else 0.0


def pair_offsets(
    brightness: Mapping[int, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]],
) -> list[PairOffset]:
    """Offsets of all pairs from (local times, mean luminance) of each camera's frames.

    Brightness is compared as its change per second on a grid finer than the frames. A flash shorter than an exposure
    fixes the offset to about half a frame, a slow change to less.
    """
    intervals = [float(np.median(np.diff(times))) for times, _ in brightness.values()]
    step = min(intervals) / GRID_PER_FRAME
    signals, weights = {}, {}
    for camera, (times, luminance) in brightness.items():
        grid = np.arange(times[0], times[-1], step)
        smooth = np.interp(grid, times, luminance)
        change = np.gradient(smooth)
        signals[camera] = change / (np.abs(change).max() + 1e-12)
        weights[camera] = jump(luminance)
    pairs = []
    for a, b in combinations(brightness, 2):
        size = 1 << int(np.ceil(np.log2(len(signals[a]) + len(signals[b]))))
        score = np.fft.irfft(np.fft.rfft(signals[a], size) * np.conj(np.fft.rfft(signals[b], size)), size)
        lag = int(score.argmax())
        lag = lag - size if lag > size // 2 else lag
        seconds = lag * step + brightness[a][0][0] - brightness[b][0][0]
        weight = min(weights[a], weights[b])
        pairs.append(PairOffset(a, b, seconds, weight if weight >= CONFIDENT else 0.0))
    return pairs
