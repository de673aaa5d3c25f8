"""Offsets between recordings from their sound: generalised cross-correlation of every pair of cameras."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import av
import numpy as np
from jaxtyping import Complex, Float
from scipy import fft
from scipy.signal import butter, sosfiltfilt

from fourdgs_ns.capture.video_header import opened
from fourdgs_ns.process.offsets import PairOffset

RATE = 16_000
"""Samples per second: 0.06 ms each, far finer than a frame."""
LIMIT_SECONDS = 600.0
"""Of sound that is compared; more adds time, not accuracy."""
SILENCE = 1e-4
"""Root mean square (full scale 1) below which a track is silent: -80 dB."""
BAND_HZ = (150.0, 6000.0)
"""Hum and wind lie below, the noise of codecs above."""
WHITENING = 0.8
"""0: plain correlation, whose peak is wide; 1: phase only, which is sharp but loud in noise (Knapp and Carter 1976)."""
EXCLUDED_SECONDS = 0.02
"""Around the best lag, when the second best one is sought."""
CONFIDENT = 1.4
"""Best peak over second best from which a pair is trusted; unrelated sounds reach 1.2."""
FARTHEST_SHARE = 0.9
"""Lags at which less than a tenth of the shorter track overlaps say nothing."""


def sound(path: Path) -> tuple[Float[np.ndarray, " n"], float] | None:
    """Mono samples at ``RATE`` and the time of the first one on the clock of the file; None without an audio track."""
    with opened(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        pieces, start, total = [], None, 0
        for frame in container.decode(stream):
            if start is None:
                start = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
            for part in resampler.resample(frame):
                pieces.append(part.to_ndarray().ravel())
                total += pieces[-1].size
            if total > LIMIT_SECONDS * RATE:
                break
        if not pieces:
            return None
        return np.concatenate(pieces).astype(np.float64), float(start or 0.0)


def is_silent(samples: Float[np.ndarray, " n"]) -> bool:
    """Whether a track holds nothing that could be compared."""
    return len(samples) < RATE // 10 or float(np.sqrt(np.mean(samples**2))) < SILENCE


def pair_offsets(sounds: Mapping[int, tuple[Float[np.ndarray, " n"], float]]) -> list[PairOffset]:
    """Offsets of all pairs; ``sounds``: samples at ``RATE`` and the time of the first one on the camera's own clock.

    The weight of a pair is how far its peak stands out, 0 when it is not trusted. Sound needs 2.9 ms per metre, so a
    source that is a metre nearer to one camera shifts the pair by that much.
    """
    longest = max(len(samples) for samples, _ in sounds.values())
    size = fft.next_fast_len(2 * longest, real=True)
    spectra = {camera: fft.rfft(_band(samples), size) for camera, (samples, _) in sounds.items()}
    pairs = []
    for a, b in combinations(sounds, 2):
        lag, confidence = correlate(spectra[a], spectra[b], size, len(sounds[a][0]), len(sounds[b][0]))
        # Sample i of b sounds like sample i + lag of a: local time in a minus local time in b is b's later start.
        seconds = lag / RATE + sounds[a][1] - sounds[b][1]
        pairs.append(PairOffset(a, b, seconds, confidence - 1 if confidence >= CONFIDENT else 0.0))
    return pairs


def correlate(
    a: Complex[np.ndarray, " f"], b: Complex[np.ndarray, " f"], size: int, length_a: int, length_b: int
) -> tuple[float, float]:
    """The lag in samples (sub-sample) at which a(i + lag) looks like b(i), and its peak over the second best."""
    cross = a * np.conj(b)
    magnitude = np.abs(cross)
    floor = 1e-3 * float(magnitude.mean()) + 1e-30
    score = fft.irfft(cross / np.maximum(magnitude, floor) ** WHITENING, size)
    shortest = min(length_a, length_b)
    last, first = (
        length_a - 1 - int(shortest * (1 - FARTHEST_SHARE)),
        -(length_b - 1) + int(shortest * (1 - FARTHEST_SHARE)),
    )
    lags = np.arange(first, last + 1)
    values = score[lags % size]
    best = int(values.argmax())
    away = np.abs(lags - lags[best]) > EXCLUDED_SECONDS * RATE
    second = float(np.abs(values[away]).max()) if away.any() else 0.0
    confidence = float(values[best]) / max(second, 1e-30)
    return float(lags[best]) + _vertex(values, best), confidence


def _band(samples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    sos = butter(4, BAND_HZ, btype="bandpass", fs=RATE, output="sos")
    filtered = sosfiltfilt(sos, samples)
    # A single loud clap must not be all that counts: loudness is evened out, phase stays.
    level = float(np.sqrt(np.mean(filtered**2))) + 1e-12
    return np.tanh(filtered / (3 * level))


def _vertex(values: np.ndarray, i: int) -> float:
    """Where between samples a parabola through the peak and its neighbours is highest."""
    if not 0 < i < len(values) - 1:
        return 0.0
    left, middle, right = (float(values[j]) for j in (i - 1, i, i + 1))
    curvature = left - 2 * middle + right
    return float(np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
