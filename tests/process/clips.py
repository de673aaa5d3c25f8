"""Small videos with everything a camera may do: sound, rotation flags, ten bits, variable rates."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fourdgs_ns.capture.video import REC709_FROM_REC2020
from fourdgs_ns.capture.video_header import HLG, PQ

BT2020, BT2020_MATRIX, LIMITED = 9, 9, 1
"""ITU-T H.273: primaries, matrix (non-constant luminance); FFmpeg: limited range."""
PATCHES = np.array([[0.02] * 3, [0.18] * 3, [0.5] * 3, [0.3, 0.05, 0.05], [0.05, 0.3, 0.08], [0.06, 0.07, 0.4]])
"""Linear BT.709, diffuse white is 1."""


def write_clip(
    path: Path,
    images: list[np.ndarray],
    fps: float = 30.0,
    sound: tuple[np.ndarray, int] | None = None,
    pix_fmt: str = "yuv420p",
    times: list[float] | None = None,
) -> Path:
    """An H.264 video of RGB images; ``times`` in seconds make its rate variable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = {"crf": "10", "preset": "ultrafast"}
        stream.codec_context.time_base = Fraction(1, 1000) if times else 1 / Fraction(fps).limit_denominator(1001)
        if sound is not None:
            audio = container.add_stream("aac", rate=sound[1], layout="mono")
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            frame.pts = round(1000 * times[i]) if times else i
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            samples, rate = sound
            for start in range(0, len(samples), 1024):
                block = np.ascontiguousarray(samples[None, start : start + 1024].astype(np.float32))
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def numbered(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Images whose brightness tells their number, with a bright left upper corner."""
    images = []
    for i in range(count):
        image = np.full((height, width, 3), 20 + 8 * i, np.uint8)
        image[: height // 4, : width // 4] = 250
        images.append(image)
    return images


def number_of(image: np.ndarray) -> int:
    """The number that an image of :func:`numbered` tells."""
    h, w = image.shape[:2]
    return round((float(np.median(image[h // 3 : 2 * h // 3, w // 3 : 2 * w // 3])) - 20) / 8)


def _pq(linear):
    """SMPTE ST 2084 with diffuse white at 203 cd/m2."""
    y = (linear * 203 / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def _hlg(linear):
    """ARIB STD-B67 with diffuse white at 75 % of the signal."""
    scene = linear * 0.265
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def write_hdr(path: Path, transfer: int) -> Path:
    """Six patches of 32x32 pixels (``PATCHES``), three frames, PQ (16) or HLG (18)."""
    curve = {PQ: _pq, HLG: _hlg}[transfer]
    wide = PATCHES @ np.linalg.inv(REC709_FROM_REC2020.astype(np.float64)).T
    r, g, b = curve(np.maximum(wide, 0)).T
    luma = 0.2627 * r + 0.6780 * g + 0.0593 * b
    planes = (64 + 876 * luma, 512 + 896 * (b - luma) / 1.8814, 512 + 896 * (r - luma) / 1.4746)
    y, u, v = (np.rint(p).astype(np.uint16) for p in planes)
    grid = np.repeat(np.repeat(np.arange(6).reshape(2, 3), 32, axis=0), 32, axis=1)
    half = grid[::2, ::2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = grid.shape[1], grid.shape[0], "yuv420p10le"
        stream.options = {"crf": "2", "preset": "ultrafast"}
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, BT2020
        context.colorspace, context.color_range = BT2020_MATRIX, LIMITED
        for k in range(3):
            frame = av.VideoFrame(grid.shape[1], grid.shape[0], "yuv420p10le")
            for plane, values in zip(frame.planes, (y[grid], u[half], v[half])):
                rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                rows[:, : plane.width] = values
                plane.update(rows)
            frame.color_trc, frame.color_primaries = transfer, BT2020
            frame.colorspace, frame.color_range, frame.pts = BT2020_MATRIX, LIMITED, k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, degrees: int) -> Path:
    """Set the rotation flag of the first track (ISO/IEC 14496-12, tkhd matrix): players turn clockwise by ``degrees``."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 65536
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def raw_video(camera: str, times, fps=30.0, **facts):
    """Facts of a recording that does not exist."""
    from fourdgs_ns.process.probe import RawVideo

    values = {
        **{"camera": camera, "path": Path(f"/nowhere/{camera}.mp4"), "codec": "h264", "width": 64, "height": 48},
        **{"rotation": 0, "bits": 8, "hdr": False, "fps": fps, "variable_rate": False, "frames": len(times)},
        **{"times": tuple(times), "clock_start": 0.0, "audio": False, **facts},
    }
    return RawVideo(**values)
