"""Videos and image files to 8-bit arrays, frame by frame and in order."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fourdgs_ns.capture.capture import FrameSource, VideoFrames
from fourdgs_ns.common.errors import UserError

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


def read_frames(
    source: FrameSource, *, start: int = 0, notes: list[str] | None = None
) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """Frames of ``source`` from entry ``start`` on: RGB, or RGBA (straight alpha) where an image file has alpha that counts.

    Videos are decoded from their beginning without seeking, because seeking is not frame-exact in every container;
    a rotation flag of the video is applied. Images are taken as stored: an EXIF orientation is ignored, as COLMAP and
    Nerfstudio do. 16-bit images are scaled to 8 bit, grayscale becomes RGB.

    When a video has been decoded to the last wanted frame and its time stamps are uneven, the sentence of
    :func:`check_constant_rate` is appended to ``notes``.

    Raises UserError when a file is missing or cannot be decoded, or when a video ends before the last wanted frame.
    """
    if isinstance(source, VideoFrames):
        for frame in _read_video(source, start, notes):
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    else:
        for path in source.paths[start:]:
            frame = _as_rgb(_to_8_bit(_read_stored(path), path))
            yield np.ascontiguousarray(frame[:, :, :3]) if source.opaque else frame


def read_masks(source: FrameSource, *, start: int = 0) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Masks of ``source`` from entry ``start`` on, one channel, 255 for the subject.

    Image files whose values are only 0 and 1 are scaled to 0 and 255. Of a colour image the brightest channel counts,
    of one that is transparent somewhere (a cut-out) the alpha channel. Errors as in :func:`read_frames`.
    """
    if isinstance(source, VideoFrames):
        for frame in _read_video(source, start, None):
            yield frame.max(axis=2)
    else:
        for path in source.paths[start:]:
            mask = _read_stored(path)
            # 0/1 is told apart before 16-bit files are scaled, which would round 1 to 0.
            scale = mask.max(initial=0) <= 1 and (mask.ndim == 2 or mask.shape[2] != 4)
            mask = mask.astype(np.uint8) * 255 if scale else _to_8_bit(mask, path)
            yield _single_channel(mask)


def check_constant_rate(timestamps_ms: Sequence[float], fps: float, path: Path) -> str | None:
    """A sentence for the user when the frames of ``path`` are not ``1 / fps`` apart, else None.

    Frames count as uneven when an interval, or a frame's distance from the constant grid that starts at the first
    frame, is off by more than half a frame: from there on frame k no longer shows the instant k / fps. Time stamps in
    milliseconds, in the order of the frames; containers without time stamps (all zero) are not judged.
    """
    times = np.asarray(timestamps_ms, dtype=np.float64) * (fps / 1000.0)
    if len(times) < 2 or not fps > 0 or not np.isfinite(times).all() or not times.any():
        return None
    interval_error = np.abs(np.diff(times) - 1.0)
    grid_error = np.abs(times - times[0] - np.arange(len(times)))[1:]
    uneven = np.flatnonzero(np.maximum(interval_error, grid_error) > 0.5)
    if len(uneven) == 0:
        return None
    first = int(uneven[0]) + 1
    # Gaps pull the average rate down, not the usual interval.
    usual_fps = fps / np.median(np.diff(times)) if np.median(np.diff(times)) > 0 else fps
    return (
        f"{path} has a variable frame rate: frame {first} comes {times[first] - times[0] - first:+.1f} frames off the "
        f"constant {fps:g} fps (largest error {grid_error.max():.1f} frames), so its frames may not show the same "
        f"instants as those of other cameras; re-encode it with: ffmpeg -i INPUT -vf fps={usual_fps:.5g} OUTPUT"
    )


def _read_video(source: VideoFrames, start: int, notes: list[str] | None) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The wanted frames of a video in BGR, each valid until the next one is asked for."""
    path, wanted = source.path, source.indices[start:]
    if not wanted:
        return
    _require_file(path)
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise UserError(
                f"{path} cannot be decoded as a video: it is damaged, incomplete or of an unknown format; copy it "
                "again from its source, or re-encode it to H.264 with ffmpeg"
            )
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        timestamps_ms: list[float] = []
        frame: np.ndarray | None = None
        for index in wanted:
            while len(timestamps_ms) <= index:
                if not video.grab():
                    raise _ended_early(path, len(timestamps_ms), int(video.get(cv2.CAP_PROP_FRAME_COUNT)), wanted[-1])
                timestamps_ms.append(video.get(cv2.CAP_PROP_POS_MSEC))
            ok, frame = video.retrieve(frame)  # into the same memory, which saves the cost of touching new pages
            if not ok or frame is None:
                raise UserError(
                    f"{path}, frame {index} cannot be decoded; copy the video again from its source, or leave the "
                    "frame out with --frames"
                )
            yield frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        note = check_constant_rate(timestamps_ms, video.get(cv2.CAP_PROP_FPS), path)
        if note is not None and notes is not None:
            notes.append(note)
    finally:
        video.release()


def _ended_early(path: Path, decoded: int, promised: int, wanted: int) -> UserError:
    if decoded == 0:
        return UserError(f"{path} opens as a video but none of its frames can be decoded; re-encode it with ffmpeg")
    of = f" of {promised}" if promised > 0 else ""
    return UserError(
        f"{path} ends after {decoded}{of} frames, but frame {wanted} is wanted; copy the video again from its source "
        f"if it is truncated, or use only its first frames with --frames 0:{decoded}"
    )


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} does not exist; put the file back, or correct the path in the capture's description")


def _read_stored(path: Path) -> np.ndarray:
    """[h, w] or [h, w, 3 or 4 (BGR, BGRA)] exactly as the file stores it, 8 or 16 bit."""
    _require_file(path)
    data = path.read_bytes()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        image = None
    if image is None or _is_truncated_jpeg(data):
        raise UserError(
            f"{path} cannot be decoded as an image: it is damaged, incomplete or of an unknown format; copy it again "
            "from its source, or leave the frame out with --frames"
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        raise UserError(f"{path} has {image.shape[2]} channels; save it as grayscale, RGB or RGBA")
    return image


def _is_truncated_jpeg(data: bytes) -> bool:
    """True for a JPEG that ends early, which OpenCV fills with gray without an error.

    A file that ends with the end marker is whole; some cameras append data of their own after it, so the others are
    left to PIL, which does report truncation.
    """
    if not data.startswith(JPEG_START) or data.endswith(JPEG_END):
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return True
    return False


def _to_8_bit(image: np.ndarray, path: Path) -> UInt8[np.ndarray, "h w *c"]:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    raise UserError(f"{path} holds {image.dtype} values; save it as 8 or 16 bit PNG or as JPEG")


def _as_rgb(image: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w c"]:
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _single_channel(mask: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w"]:
    if mask.ndim == 2:
        return mask
    if mask.shape[2] == 4 and mask[:, :, 3].min() < 255:
        return np.ascontiguousarray(mask[:, :, 3])
    return mask[:, :, :3].max(axis=2)
