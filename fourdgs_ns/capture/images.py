"""Image files: what the header says, colours and masks as 8-bit arrays."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status, file_version

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
MAX_SIDE_PIXELS = 65_536
"""Longer sides than any camera has: a header that claims more is damaged."""


@dataclass(frozen=True)
class ImageHeader:
    """Size in pixels as stored (an EXIF orientation is not applied), and whether there is an alpha channel or a palette."""

    width: int
    height: int
    has_alpha: bool
    has_palette: bool


def probe_image(path: Path) -> ImageHeader:
    """Header of an image file, read once per version of the file.

    Raises:
        UserError: the file is missing, no image, or claims an impossible size.
    """
    return _probe_image(path, *file_version(path))


def check_size(path: Path, width: int, height: int) -> None:
    """Refuse a size in pixels that no camera has."""
    if not (0 < width <= MAX_SIDE_PIXELS and 0 < height <= MAX_SIDE_PIXELS):
        raise UserError(
            f"the header of {path} reports a size of {width}x{height} pixels; copy or encode the file again"
        )


def read_image(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """RGB, or RGBA (straight alpha) where the file has an alpha channel.

    Taken as stored: an EXIF orientation is ignored, as COLMAP and Nerfstudio do. 16 bits per channel are scaled to 8,
    grayscale becomes RGB.

    Raises:
        UserError: the file is missing, damaged, or of a type that is not read.
    """
    return _as_rgb(_to_8_bit(_read_stored(path)))


def read_mask(path: Path, labels: bool = False) -> UInt8[np.ndarray, "h w"]:
    """255 for the subject, 0 elsewhere; of ``labels`` whatever is not 0 is the subject.

    Values that are only 0 and 1 are scaled to 0 and 255. Of a colour image the brightest channel counts, of one that is
    transparent somewhere (a cut-out) the alpha channel, of a coloured palette the numbers. Errors as in :func:`read_image`.
    """
    mask = _read_stored(path)
    numbers = _palette_numbers(path, mask)
    if labels or numbers is not None:
        return ((_single_channel(mask) if numbers is None else numbers) > 0).astype(np.uint8) * 255
    # 0/1 is told apart before 16-bit files are scaled, which would round 1 to 0.
    scale = mask.max(initial=0) <= 1 and (mask.ndim == 2 or mask.shape[2] != 4)
    return _single_channel(mask.astype(np.uint8) * 255 if scale else _to_8_bit(mask))


def read_levels(path: Path) -> Integer[np.ndarray, "h w"]:
    """The values of a mask as they are stored, 8 or 16 bit: numbers of a coloured palette, else channels as :func:`read_mask`.

    Errors as in :func:`read_image`.
    """
    stored = _read_stored(path)
    numbers = _palette_numbers(path, stored)
    return _single_channel(stored) if numbers is None else numbers


def _palette_numbers(path: Path, stored: np.ndarray) -> UInt8[np.ndarray, "h w"] | None:
    """What an image with a coloured palette counts, as segmentation networks write it; None for all others."""
    colored = stored.ndim == 3 and (stored[:, :, :1] != stored[:, :, :3]).any()
    if not (colored and probe_image(path).has_palette):
        return None
    with Image.open(path) as image:
        return np.array(image, np.uint8)


@lru_cache(maxsize=65_536)
def _probe_image(path: Path, modified_ns: int, size_bytes: int) -> ImageHeader:
    try:
        with Image.open(path) as image:
            width, height = image.size
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            has_palette = image.mode == "P"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = type(error).__name__
        raise UserError(f"{path} is not an image that Pillow can read ({reason}); copy or export it again") from None
    check_size(path, width, height)
    return ImageHeader(width, height, has_alpha, has_palette)


def _read_stored(path: Path) -> np.ndarray:
    """[h, w] or [h, w, 3 or 4 (BGR, BGRA)] exactly as the file stores it, 8 or 16 bit."""
    file_status(path)
    data = path.read_bytes()
    _check_claimed_size(path, data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        image = None
    if image is None or _is_truncated_jpeg(data):
        raise UserError(
            f"{path} cannot be decoded as an image: it is damaged, incomplete or of an unknown format; copy it again "
            "from its source, or leave the frame out with --frames"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path} holds {image.dtype} values; save it as 8 or 16 bit PNG or as JPEG")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        raise UserError(f"{path} has {image.shape[2]} channels; save it as grayscale, RGB or RGBA")
    return image


def _check_claimed_size(path: Path, data: bytes) -> None:
    """Refuse what Pillow takes for a decompression bomb: OpenCV makes room for any size that a header claims."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(path, *image.size)
    except Image.DecompressionBombError:
        raise UserError(f"the header of {path} claims more pixels than a camera has; copy or encode it again") from None
    except (OSError, SyntaxError, ValueError):
        pass  # whether it is an image is OpenCV's to say


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


def _to_8_bit(image: np.ndarray) -> UInt8[np.ndarray, "h w *c"]:
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _as_rgb(image: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w c"]:
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _single_channel(mask: Integer[np.ndarray, "h w *c"]) -> Integer[np.ndarray, "h w"]:
    if mask.ndim == 2:
        return mask
    if mask.shape[2] == 4 and mask[:, :, 3].min() < np.iinfo(mask.dtype).max:
        return np.ascontiguousarray(mask[:, :, 3])
    return mask[:, :, :3].max(axis=2)
