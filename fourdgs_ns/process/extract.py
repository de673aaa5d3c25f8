"""Third step: the frames of the shared instants as JPEG files, ``frames/<camera>/<frame>.jpg``.

Images and not videos, because a second encoding of a video costs quality or minutes, and because frames of recordings
that started between two instants, or that drop frames, can then simply be counted.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from fourdgs_ns.capture.video import as_rgb, decode
from fourdgs_ns.capture.video_header import opened
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing
from fourdgs_ns.process.probe import RawVideo
from fourdgs_ns.process.timeline import Timeline

QUALITY = 95
BYTES_PER_PIXEL = 0.45
"""Of a JPEG at that quality, on the safe side, for the estimate of disk space."""
FRAMES = "frames"


def target_size(video: RawVideo, resize: tuple[int, int] | None, downscale: float) -> tuple[int, int]:
    """Width and height of a camera's frames.

    Raises:
        UserError: an impossible size, or one of another aspect.
    """
    if resize is not None:
        if min(resize) < 16 or max(resize) > 16_384:
            raise UserError(f"--resize {resize[0]} {resize[1]} is out of range; give sides from 16 to 16384 pixels")
        if abs(resize[0] / resize[1] * video.height / video.width - 1) > 0.02:
            raise UserError(
                f"--resize {resize[0]} {resize[1]} would distort camera '{video.camera}' ({video.width}x{video.height}); "
                "keep the aspect, or use --downscale"
            )
        return resize
    if not 1 <= downscale <= 64:
        raise UserError(f"--downscale {downscale:g} is out of range; give a number from 1 to 64")
    return max(16, round(video.width / downscale)), max(16, round(video.height / downscale))


def require_space(root: Path, sizes: Sequence[tuple[int, int]], frames: int) -> int:
    """Bytes that the frames will take at most.

    Raises:
        UserError: the disk has less.
    """
    needed = int(sum(w * h for w, h in sizes) * frames * BYTES_PER_PIXEL)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"the frames need about {needed / 2**30:.1f} GiB but the disk of {root} has {free / 2**30:.1f} GiB free; "
            "free some space, or take less with --downscale, --every or --end"
        )
    return needed


def extract_camera(
    video: RawVideo,
    picks: Sequence[int],
    size: tuple[int, int],
    folder: Path,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write the frames ``picks`` (increasing, repetitions allowed) of one recording; ``folder`` appears when whole.

    One thread decodes (FFmpeg uses more), the others convert and encode.

    Raises:
        UserError: the recording ends early, or the disk is full.
    """
    wanted: dict[int, list[int]] = {}
    for number, index in enumerate(picks):
        wanted.setdefault(int(index), []).append(number)
    with appearing(folder) as partial, ThreadPoolExecutor(available_cores()) as pool:
        waiting: deque[Future[None]] = deque()
        last = max(wanted)
        reached = -1
        with opened(video.path) as container:
            for reached, decoded in enumerate(decode(container, video.path)):
                if reached in wanted:
                    waiting.append(pool.submit(_write, decoded.frame, size, partial, wanted[reached]))
                    while len(waiting) > 8:
                        waiting.popleft().result()
                        advance()
                if reached >= last:
                    break
        if reached < last:
            raise UserError(
                f"{video.path} ends after {reached + 1} frames, but frame {last} is wanted; copy it again from its source, "
                f"or use only its beginning with --end"
            )
        while waiting:
            waiting.popleft().result()
            advance()


def extract(
    videos: Sequence[RawVideo],
    timeline: Timeline,
    sizes: Mapping[str, tuple[int, int]],
    root: Path,
    done: Callable[[str], bool],
    finished: Callable[[str], None],
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Frames of all cameras; ``done`` tells whether a camera's folder is there already, ``finished`` notes that it is."""
    todo = [v for v in videos if not done(v.camera)]
    require_space(root, [sizes[v.camera] for v in todo], len(timeline.instants))
    for video in todo:
        folder = root / FRAMES / video.camera
        extract_camera(video, timeline.picks[video.camera].tolist(), sizes[video.camera], folder, advance)
        finished(video.camera)
    return {
        "fps": timeline.fps,
        "frames": len(timeline.instants),
        "sizes": {name: list(size) for name, size in sizes.items()},
        "late_seconds": dict(timeline.late_seconds),
        "jitter_seconds": dict(timeline.jitter_seconds),
        "repeated": dict(timeline.repeated),
    }


def save_jpeg(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a BGR image into a folder that is :func:`fourdgs_ns.common.files.appearing`.

    Raises:
        UserError: it is too large for JPEG.
        OSError: it cannot be written.
    """
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise UserError(
            f"{path} cannot be encoded as JPEG; its size is {image.shape[1]}x{image.shape[0]}, use --downscale"
        )
    path.write_bytes(data.tobytes())


def _write(frame: Any, size: tuple[int, int], folder: Path, numbers: Sequence[int]) -> None:
    image = cv2.cvtColor(as_rgb(frame), cv2.COLOR_RGB2BGR)
    if (image.shape[1], image.shape[0]) != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    first = folder / f"{numbers[0]:06d}.jpg"
    save_jpeg(first, image)
    for number in numbers[1:]:
        shutil.copyfile(first, folder / f"{number:06d}.jpg")
