"""The frames and masks of a camera's source, video or image files, decoded in order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from fourdgs_ns.capture.capture import FrameSource, VideoFrames
from fourdgs_ns.capture.images import read_image, read_mask
from fourdgs_ns.capture.video import read_video


def read_frames(
    source: FrameSource, *, start: int = 0, notes: list[str] | None = None
) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """Frames of ``source`` from entry ``start`` on: RGB, or RGBA (straight alpha) where an image file has alpha that counts.

    ``notes``: as in :func:`~fourdgs_ns.capture.video.read_video`.

    Raises:
        UserError: a file is missing or cannot be decoded, or a video ends before the last wanted frame.
    """
    if isinstance(source, VideoFrames):
        yield from read_video(source.path, source.indices[start:], notes)
    else:
        for path in source.paths[start:]:
            frame = read_image(path)
            yield np.ascontiguousarray(frame[:, :, :3]) if source.opaque else frame


def read_masks(source: FrameSource, *, start: int = 0) -> Iterator[UInt8[np.ndarray, "h w"]]:
    """Masks of ``source`` from entry ``start`` on, 255 for the subject; of a video's frames the brightest channel counts.

    Errors as in :func:`read_frames`.
    """
    if isinstance(source, VideoFrames):
        for frame in read_video(source.path, source.indices[start:]):
            yield frame.max(axis=2)
    else:
        for path in source.paths[start:]:
            yield read_mask(path, source.labels)
