"""How a synthetic capture reaches the disk: images, constant-rate videos, and what may be replaced."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fourdgs_ns.common.errors import UserError

RECORD = "synth.json"
"""Written into every generated folder; only folders that hold it may be overwritten."""

_CRF = "8"  # quality of the encoder: decoded frames lie about 41 dB from the render at chroma 444


def write_image(path: Path, image: np.ndarray) -> None:
    """Write RGB, RGBA or one channel by the suffix: JPEG of quality 98 without chroma subsampling, or PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    full = getattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR_444", 0x111111)
    options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full] if path.suffix == ".jpg" else []
    if not cv2.imwrite(str(path), image, options):
        raise UserError(f"{path} cannot be written; check the free space on that disk and the folder's permissions")


class Video:
    """An H.264 video in MP4 with an exact constant frame rate, BT.601 limited range, written frame by frame.

    ``chroma``: "444" keeps colour at full resolution, "420" at half, as most cameras do. ``sound``: mono samples and
    their rate, stored as AAC.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: float,
        chroma: str,
        sound: tuple[Float[np.ndarray, " n"], int] | None = None,
    ) -> None:
        av = require_av()
        path.parent.mkdir(parents=True, exist_ok=True)
        rate = Fraction(fps).limit_denominator(1001)
        self._container = av.open(str(path), "w", format="mp4")
        self._stream: Any = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, f"yuv{chroma}p"
        self._stream.options = {"crf": _CRF, "preset": "fast"}
        context = self._stream.codec_context
        context.time_base = 1 / rate
        context.color_range, context.colorspace = 1, 6  # limited, SMPTE 170M
        self._sound = sound
        if sound is not None:
            self._audio: Any = self._container.add_stream("aac", rate=sound[1], layout="mono")
            self._audio.bit_rate = 128_000
            self._audio_frame = av.AudioFrame
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._frame = av.VideoFrame
        self._count = 0

    def add(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append one RGB frame."""
        rgb = self._frame.from_ndarray(image, format="rgb24")
        frame = self._reformatter.reformat(rgb, format=self._stream.pix_fmt, dst_colorspace=5, interpolation="BICUBIC")
        frame.pts, frame.time_base = self._count, self._stream.codec_context.time_base
        self._count += 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what the encoder still holds."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        if self._sound is not None:
            samples, rate = self._sound
            for start in range(0, len(samples), 1024):
                block = samples[None, start : start + 1024].astype(np.float32)
                frame = self._audio_frame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                for packet in self._audio.encode(frame):
                    self._container.mux(packet)
            for packet in self._audio.encode():
                self._container.mux(packet)
        self._container.close()


def require_av() -> Any:
    """PyAV, which writes videos.

    Raises:
        UserError: it is not installed.
    """
    try:
        import av
        import av.video.reformatter
    except ImportError:
        raise UserError(
            "writing videos needs PyAV, which is not installed; type `pip install av`, or write images with "
            "--layout easyvolcap --images"
        ) from None
    return av


def check_replaceable(out: Path, overwrite: bool) -> None:
    """Refuse to write over what this command did not write.

    Raises:
        UserError: ``out`` is in use and may not be replaced.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give --out a folder that does not exist yet")
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            raise UserError(f"{out} already holds files; give another --out, or --overwrite to replace it")
        if not (out / RECORD).is_file():
            raise UserError(f"{out} was not written by this command (it has no {RECORD}); give another --out")
