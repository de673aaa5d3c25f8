"""What a file's header says about its frames. Nothing is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# FFmpeg otherwise prints its own complaints next to our one-line error. OpenCV reads this when it opens
# its first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
from PIL import Image

from fourdgs_ns.common.errors import UserError

MAX_FRAMES = 1_000_000
"""More frames than any clip has (4.6 hours at 60 fps): a header that claims more is damaged."""
MAX_SIDE_PIXELS = 65_536
MAX_FPS = 10_000.0


@dataclass(frozen=True)
class VideoHeader:
    """Size in pixels as shown (a rotation flag is applied), frames per second and number of frames of a video."""

    width: int
    height: int
    fps: float
    frame_count: int


@dataclass(frozen=True)
class ImageHeader:
    """Size in pixels as stored (an EXIF orientation is not applied), and whether there is an alpha channel."""

    width: int
    height: int
    has_alpha: bool


def probe_video(path: Path) -> VideoHeader:
    """Header of a video file, read once per version of the file.

    Raises:
        UserError: the file is missing, no video, or claims an impossible size, rate or length.
    """
    return _probe_video(path, *_version(path))


def probe_image(path: Path) -> ImageHeader:
    """Header of an image file, read once per version of the file.

    Raises:
        UserError: the file is missing, no image, or claims an impossible size.
    """
    return _probe_image(path, *_version(path))


def _version(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); put the file back or correct its name") from None
    if stat.st_size == 0:
        raise UserError(f"{path} is empty (0 bytes); copy or download it again")
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=4096)
def _probe_video(path: Path, modified_ns: int, size_bytes: int) -> VideoHeader:
    # Only FFmpeg: OpenCV's other backends guess at what a name with digits could mean and print warnings.
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not reader.isOpened():
            raise UserError(
                f"{path} is not a video that OpenCV can open (no video at all, or cut off before its index was "
                f"written); copy it again or re-encode it with: ffmpeg -i INPUT -c:v libx264 -crf 16 '{path.stem}.mp4'"
            )
        width = int(reader.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = float(reader.get(cv2.CAP_PROP_FPS))
        frame_count = float(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        reader.release()
    _check_size(path, width, height)
    if _lacks_data(path, size_bytes):
        raise UserError(f"{path} ends before its last frame (an interrupted copy or download); copy it again")
    if not 1 <= frame_count <= MAX_FRAMES:  # also refuses NaN
        raise UserError(
            f"the header of {path} reports {frame_count:.0f} frames, so the file is truncated or has no index; "
            f"copy it again or write a new index with: ffmpeg -i INPUT -c copy '{path.stem}.mp4'"
        )
    if not 0 < fps <= MAX_FPS:
        raise UserError(
            f"the header of {path} reports {fps:g} frames per second; "
            f"re-encode it with a constant rate: ffmpeg -i INPUT -r 30 '{path.stem}.mp4'"
        )
    return VideoHeader(width, height, fps, int(frame_count))


@lru_cache(maxsize=65_536)
def _probe_image(path: Path, modified_ns: int, size_bytes: int) -> ImageHeader:
    try:
        with Image.open(path) as image:
            width, height = image.size
            has_alpha = "A" in image.getbands() or "transparency" in image.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = type(error).__name__
        raise UserError(f"{path} is not an image that Pillow can read ({reason}); copy or export it again") from None
    _check_size(path, width, height)
    return ImageHeader(width, height, has_alpha)


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


def _check_size(path: Path, width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE_PIXELS and 0 < height <= MAX_SIDE_PIXELS):
        raise UserError(
            f"the header of {path} reports a size of {width}x{height} pixels; copy or encode the file again"
        )
