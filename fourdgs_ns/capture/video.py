"""The one reader of videos: frames that players show, upright, in 8-bit RGB of standard range, in order of presentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from fourdgs_ns.capture.video_header import PQ, check_constant_rate, is_hdr, opened, probe_video, reason_of, rotation_of
from fourdgs_ns.common.errors import UserError

WHITE_NITS = 203.0
"""Luminance of diffuse white in HDR programmes (ITU-R BT.2408)."""
REC709_FROM_REC2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
"""Linear RGB (ITU-R BT.2087)."""


@dataclass(frozen=True)
class DecodedFrame:
    """One frame and when it is shown."""

    seconds: float
    """Presentation time on the clock of the file; NaN where the container has none."""
    frame: Any
    """PyAV's frame, not yet converted."""


def decode(container: Any, path: Path) -> Iterator[DecodedFrame]:
    """Frames of the first video stream of ``path``, on several threads.

    Frames at the end that cannot be decoded are left out, as if the file ended before them.

    Raises:
        UserError: a frame before others cannot be decoded.
    """
    import av

    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    base, count, failed = float(stream.time_base), 0, None
    for packet in container.demux(stream):
        try:
            frames = stream.decode(packet)
        except av.error.FFmpegError as error:
            failed = failed or error
            continue
        for frame in frames:
            if failed is not None:  # this one would take the number of the lost one
                raise _undecodable(path, count, failed)
            yield DecodedFrame(np.nan if frame.pts is None else frame.pts * base, frame)
            count += 1


def read_video(
    path: Path, indices: Sequence[int], notes: list[str] | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The frames ``indices`` (increasing) in RGB.

    Decoded from the beginning without seeking, because seeking is not frame-exact in every container; only wanted frames
    are converted. When the last one is reached, sentences for the user are appended to ``notes``: on uneven time stamps
    (:func:`~fourdgs_ns.capture.video_header.check_constant_rate`), on frames whose damage FFmpeg concealed.

    Raises:
        UserError: the file is missing or damaged, or ends before the last wanted frame.
    """
    if not indices:
        return
    from av.video.reformatter import VideoReformatter

    timestamps_ms: list[float] = []
    damaged: list[int] = []
    wanted = set(indices)
    with opened(path) as container:
        fps = float(container.streams.video[0].guessed_rate or 0)
        reformatter = VideoReformatter()
        for index, decoded in enumerate(decode(container, path)):
            timestamps_ms.append(1000 * decoded.seconds)
            if index in wanted:
                damaged += [index] if decoded.frame.is_corrupt else []
                yield as_rgb(decoded.frame, reformatter)
            if index == indices[-1]:
                break
    if len(timestamps_ms) <= indices[-1]:
        raise _ended_early(path, len(timestamps_ms), indices[-1])
    if notes is not None:
        uneven = None if probe_video(path).numbers else check_constant_rate(timestamps_ms, fps, path)
        notes += [uneven] if uneven else []
        notes += [_damaged(path, damaged)] if damaged else []


def as_rgb(frame: Any, reformatter: Any = None) -> UInt8[np.ndarray, "h w 3"]:
    """A decoded frame as it should be seen: upright, 8 bit; HDR is brought to standard range.

    Matrix and range of the colours are those that the frame states, BT.601 and limited where it states none. A
    ``reformatter`` (PyAV's ``VideoReformatter``) that is kept for the frames of one thread saves setting it up again.
    """
    from av.video.reformatter import VideoReformatter

    reformatter = reformatter or VideoReformatter()
    rgb = _standard_range(frame, reformatter) if is_hdr(frame) else _converted(frame, "rgb24", reformatter)
    return np.ascontiguousarray(np.rot90(rgb, round(rotation_of(frame) / 90) % 4))


def _converted(frame: Any, pixel_format: str, reformatter: Any) -> np.ndarray:
    from av.video.reformatter import Interpolation

    # Several cameras are converted side by side: threads of their own would be too many.
    converted = reformatter.reformat(frame, format=pixel_format, interpolation=Interpolation.BICUBIC, threads=1)
    return converted.to_ndarray()


def _standard_range(frame: Any, reformatter: Any) -> UInt8[np.ndarray, "h w 3"]:
    """BT.2020 PQ or HLG to sRGB: diffuse white becomes white, what is brighter is compressed."""
    signal: Float32[np.ndarray, "h w 3"] = _converted(frame, "rgb48le", reformatter).astype(np.float32) / 65535.0
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
    return np.clip(np.rint(255 * srgb), 0, 255).astype(np.uint8)


def _undecodable(path: Path, index: int, error: Exception) -> UserError:
    rest = f", or use only its first frames with --frames 0:{index}" if index else ""
    return UserError(
        f"{path}, frame {index} cannot be decoded ({reason_of(error)}); copy the video again from its source{rest}"
    )


def _ended_early(path: Path, decoded: int, wanted: int) -> UserError:
    return UserError(
        f"{path} ends after {decoded} of {probe_video(path).frame_count} frames, but frame {wanted} is wanted; copy the "
        f"video again from its source if it is truncated, or use only its first frames with --frames 0:{decoded}"
    )


def _damaged(path: Path, indices: Sequence[int]) -> str:
    more = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
    return (
        f"{path}, frame {indices[0]}{more} is damaged and shows what the decoder guessed; copy the video again from its "
        "source, or leave the frame out with --frames"
    )
