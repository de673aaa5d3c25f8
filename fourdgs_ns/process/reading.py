"""Videos through PyAV: packets for their time stamps, decoded frames as 8-bit BGR, sound as mono samples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fourdgs_ns.common.errors import UserError

PQ, HLG = 16, 18
"""Transfer functions of HDR video: SMPTE ST 2084 and ARIB STD-B67 (ITU-T H.273, table 3)."""
WHITE_NITS = 203.0
"""Luminance of diffuse white in HDR programmes (ITU-R BT.2408)."""
REC709_FROM_REC2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
"""Linear RGB (ITU-R BT.2087)."""


@dataclass(frozen=True)
class DecodedFrame:
    """One picture and when it is shown."""

    seconds: float
    """Presentation time on the clock of the file."""
    frame: Any
    """PyAV's frame, not yet converted."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An open container; what FFmpeg objects to becomes one line.

    Raises:
        UserError: no video, or damaged.
    """
    import av

    logging.getLogger("libav").setLevel(logging.CRITICAL)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no video stream; remove it from the list")
            yield container
    except av.error.FFmpegError as error:
        reason = str(error.strerror or error).lower()
        raise UserError(f"{path} cannot be read as a video ({reason}); copy it again or re-encode it") from None


def frame_times(container: Any) -> Float[np.ndarray, " n"]:
    """Presentation times of all frames in seconds, increasing, without decoding."""
    stream = container.streams.video[0]
    base = float(stream.time_base)
    times = [packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None]
    return np.sort(np.array(times, dtype=np.float64)) * base


def decode(container: Any) -> Iterator[DecodedFrame]:
    """Frames of the first video stream in the order of presentation, on several threads."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    base = float(stream.time_base)
    for frame in container.decode(stream):
        if frame.pts is not None:
            yield DecodedFrame(frame.pts * base, frame)


def as_bgr(frame: Any, rotation: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as it should be seen: upright, 8 bit; HDR is brought to standard range.

    ``rotation``: degrees counter-clockwise by which players turn the picture, as PyAV states it.
    """
    hdr = getattr(frame, "color_trc", 0) in (PQ, HLG)
    image = _standard_range(frame) if hdr else frame.to_ndarray(format="bgr24")
    turns = round(rotation / 90) % 4
    return image if turns == 0 else np.ascontiguousarray(np.rot90(image, turns))


def mean_luminance(frame: Any) -> float:
    """Mean of the luma plane, from every fourth row and column."""
    plane = frame.planes[0] if frame.format.name.startswith(("yuv", "nv", "gray")) else None
    if plane is None or frame.format.components[0].bits != 8:
        return float(frame.to_ndarray(format="gray")[::4, ::4].mean())
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return float(rows[: frame.height : 4, : frame.width : 4].mean())


def sound(path: Path, rate: int, limit_seconds: float) -> tuple[Float[np.ndarray, " n"], float] | None:
    """Mono samples at ``rate`` Hz and the time of the first one on the clock of the file; None without an audio track."""
    import av

    with opened(path) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        pieces, start, total = [], None, 0
        for frame in container.decode(stream):
            if start is None:
                start = float(frame.pts * frame.time_base) if frame.pts is not None else 0.0
            for part in resampler.resample(frame):
                pieces.append(part.to_ndarray().ravel())
                total += pieces[-1].size
            if total > limit_seconds * rate:
                break
        if not pieces:
            return None
        return np.concatenate(pieces).astype(np.float64), float(start or 0.0)


def _standard_range(frame: Any) -> UInt8[np.ndarray, "h w 3"]:
    """BT.2020 PQ or HLG to sRGB: diffuse white becomes white, what is brighter is compressed."""
    signal = frame.to_ndarray(format="rgb48le").astype(np.float32) / 65535.0
    if frame.color_trc == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = np.power(signal, 1 / m2)
        linear = 10_000 / WHITE_NITS * np.power(np.maximum(power - c1, 0) / (c2 - c3 * power), 1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        linear = scene / 0.265  # HLG's diffuse white is at 75 % of the signal
    linear = np.maximum(linear @ REC709_FROM_REC2020.T, 0)
    linear = np.where(linear > 0.8, 0.8 + 0.2 * np.tanh((linear - 0.8) / 0.8), linear)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
    rgb = np.clip(np.rint(255 * srgb), 0, 255).astype(np.uint8)
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
