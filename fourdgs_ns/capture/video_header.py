"""What a video file says of its frames: size, rotation, rate, number and times. At most one frame is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.images import check_size
from fourdgs_ns.capture.stamps import on_grid
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status, file_version

MAX_FRAMES = 1_000_000
"""More frames than any clip has (4.6 hours at 60 fps): a header that claims more is damaged."""
MAX_FPS = 10_000.0
UNEVEN_FRAMES = 0.5
"""Frames by which a time may be off the constant grid before the rate counts as variable."""
PQ, HLG = 16, 18
"""Transfer functions of HDR video: SMPTE ST 2084 and ARIB STD-B67 (ITU-T H.273, table 3)."""


@dataclass(frozen=True)
class VideoHeader:
    """Frames are those that players show: what an edit list hides is neither counted nor read."""

    width: int
    """Pixels as shown, after the rotation; the same for ``height``."""
    height: int
    fps: float
    frame_count: int
    hidden_frames: int
    """Stored, but hidden by an edit list."""
    rotation: int
    """Degrees by which players turn the stored image counter-clockwise, 0 to 359."""
    bits: int
    """Per channel."""
    hdr: bool
    codec: str
    numbers: tuple[int, ...] | None = None
    """Place of each frame on the grid of the rate, where some are missing between others; None: none is."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """PyAV's container of a local file with a video stream; what FFmpeg objects to becomes one line.

    Raises:
        UserError: no regular file, no video, or damaged.
    """
    import av  # every ns-* command loads this module, few read a video

    file_status(path)
    try:
        # A playlist that calls itself a video must not reach the network.
        options = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", options=options, metadata_errors="replace") as container:
            if not any(stream.codec_context for stream in container.streams.video[:1]):
                raise _no_video(path, "nothing in it can be decoded")
            try:
                yield container
            finally:
                _park_decoders(container)
    except av.error.FFmpegError as error:
        raise _no_video(path, reason_of(error)) from None


def _park_decoders(container: Any) -> None:
    """Closing a decoder waits for its threads and keeps Python's lock, for which one of them may wait; flushing lets go of it."""
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.flush_buffers()


def reason_of(error: Exception) -> str:
    """FFmpeg's own words for a sentence."""
    return str(getattr(error, "strerror", None) or error).lower()


def _no_video(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} cannot be decoded as a video ({reason}): it is not a video at all, or cut off before its index was "
        f"written; copy it again or re-encode it with: ffmpeg -i INPUT -c:v libx264 -crf 16 '{path.stem}.mp4'"
    )


def probe_video(path: Path) -> VideoHeader:
    """Header of a video file, read once per version of the file.

    Raises:
        UserError: the file is missing, no video, cut off, or claims an impossible size, rate or length.
    """
    return _probe_video(path, *file_version(path))


def frame_times(path: Path) -> Float[np.ndarray, " n"]:
    """When each frame is shown, in seconds on the clock of the file, which sound shares; increasing, without decoding.

    Containers without presentation times give those of decoding.

    Raises:
        UserError: as :func:`opened`.
    """
    with opened(path) as container:
        stream = container.streams.video[0]
        packets = [(p.pts, p.dts) for p in container.demux(stream) if p.size and not p.is_discard]
        base = float(stream.time_base)
    shown, decoded = zip(*packets) if packets else ((), ())
    times = decoded if None in shown else shown
    if None in times:
        raise UserError(f"{path} has frames without a time; write new times with: ffmpeg -i INPUT '{path.stem}.mp4'")
    return np.sort(np.array(times, dtype=np.float64)) * base


def rate_errors(times_seconds: Float[np.ndarray, " n"], fps: float) -> Float[np.ndarray, " n-1"]:
    """For each frame after the first one, by how many frames it is off a constant rate.

    The larger of two errors: of the interval before it, and of its distance from the grid that starts at the first frame.
    """
    times = np.asarray(times_seconds) * fps
    interval_error = np.abs(np.diff(times) - 1.0)
    grid_error = np.abs(times - times[0] - np.arange(len(times)))[1:]
    return np.maximum(interval_error, grid_error)


def check_constant_rate(timestamps_ms: Sequence[float] | Float[np.ndarray, " n"], fps: float, path: Path) -> str | None:
    """A sentence for the user when the frames of ``path`` are not ``1 / fps`` apart, else None.

    An uneven frame (``UNEVEN_FRAMES`` off) no longer shows the instant of its number. Time stamps in milliseconds, in
    the order of the frames; containers without time stamps (all zero) are not judged.
    """
    times = np.asarray(timestamps_ms, dtype=np.float64) / 1000.0
    if len(times) < 2 or not fps > 0 or not np.isfinite(times).all() or not times.any():
        return None
    uneven = np.flatnonzero(rate_errors(times, fps) > UNEVEN_FRAMES)
    if len(uneven) == 0:
        return None
    first = int(uneven[0]) + 1
    offsets = (times - times[0]) * fps - np.arange(len(times))
    # Gaps pull the average rate down, not the usual interval.
    usual = float(np.median(np.diff(times)))
    return (
        f"{path} has a variable frame rate: frame {first} comes {offsets[first]:+.1f} frames off the "
        f"constant {fps:g} fps (largest error {np.abs(offsets).max():.1f} frames), so its frames may not show the same "
        f"instants as those of other cameras; re-encode it with: ffmpeg -i INPUT -vf "
        f"fps={1 / usual if usual > 0 else fps:.5g} OUTPUT"
    )


def is_hdr(frame: Any) -> bool:
    """Whether a decoded frame has more than the standard range of brightness."""
    return int(frame.color_trc) in (PQ, HLG)


@lru_cache(maxsize=4096)
def _probe_video(path: Path, modified_ns: int, size_bytes: int) -> VideoHeader:
    with opened(path) as container:
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        check_size(path, width, height)
        if _lacks_data(path, size_bytes):
            raise UserError(f"{path} ends before its last frame (an interrupted copy or download); copy it again")
        frame_count, hidden = _count_frames(path, container)
        fps, numbers = _rate(path, stream), None
        if _may_have_holes(container):
            fps, numbers = _with_holes(path, fps)
        first = next(container.decode(stream), None)
        codec = stream.codec_context.name
    if first is None:
        raise UserError(f"{path} opens as a video but none of its frames can be decoded; re-encode it with ffmpeg")
    rotation = rotation_of(first)
    width, height = (height, width) if round(rotation / 90) % 2 else (width, height)
    bits = max(component.bits for component in first.format.components)
    return VideoHeader(width, height, fps, frame_count, hidden, rotation, bits, is_hdr(first), codec, numbers)


def rotation_of(frame: Any) -> int:
    """Degrees by which players turn a decoded frame counter-clockwise, 0 to 359."""
    stated = int(frame.rotation)
    return stated % 360 if abs(stated) <= 360 else 0  # a damaged matrix is no rotation


def _count_frames(path: Path, container: Any) -> tuple[int, int]:
    """Shown and hidden frames: by the index of an MP4 or MOV, by the header of an AVI, else by reading all packets."""
    stream = container.streams.video[0]
    stated = int(stream.frames)
    count = stated
    if 0 < stated <= MAX_FRAMES and "mp4" in container.format.name:
        count = sum(not entry.is_discard for entry in stream.index_entries)
    elif stated == 0:
        count = len(frame_times(path))
    if not 1 <= count <= MAX_FRAMES:
        raise UserError(
            f"the header of {path} reports {count} frames, so the file is truncated or has no index; "
            f"copy it again or write a new index with: ffmpeg -i INPUT -c copy '{path.stem}.mp4'"
        )
    return count, max(0, stated - count)


def _may_have_holes(container: Any) -> bool:
    """Whether frames may be missing: by the index of an MP4 or MOV, which has the times of decoding; AVI has no times at all."""
    stream = container.streams.video[0]
    if "mp4" not in container.format.name:
        return int(stream.frames) == 0
    steps = np.diff([entry.timestamp for entry in stream.index_entries if not entry.is_discard])
    return len(steps) > 1 and bool(np.abs(steps / max(float(np.median(steps)), 1.0) - 1).max() > UNEVEN_FRAMES)


def _with_holes(path: Path, fps: float) -> tuple[float, tuple[int, ...] | None]:
    """The rate of a video, and the place of each frame where some are missing; none where its rate varies otherwise."""
    times = frame_times(path)
    grid = on_grid({"": times}) if len(times) > 2 and (np.diff(times) > 0).all() else None
    numbers = () if grid is None else tuple(int(n) for n in grid.numbers[""])
    if grid is None or numbers[-1] == len(numbers) - 1:
        return fps, None
    return 1.0 / grid.period, numbers


def _rate(path: Path, stream: Any) -> float:
    fps = float(stream.guessed_rate or 0)
    if not 0 < fps <= MAX_FPS:
        raise UserError(
            f"the header of {path} reports {fps:g} frames per second; "
            f"re-encode it with a constant rate: ffmpeg -i INPUT -r 30 '{path.stem}.mp4'"
        )
    return fps


def _lacks_data(path: Path, size_bytes: int) -> bool:
    """Whether the boxes of an MP4 or MOV file reach beyond its end (ISO/IEC 14496-12, section 4.2)."""
    if path.suffix.lower() not in (".mp4", ".mov", ".m4v"):
        return False
    start = 0
    with path.open("rb") as file:
        while start + 8 <= size_bytes:
            file.seek(start)
            header = file.read(16)
            length, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:
                length = int.from_bytes(header[8:], "big")
            if length < 8 or not kind.isalnum():  # 0: up to the end of the file; anything else is no box
                return False
            start += length
    return start > size_bytes
