"""HDR video as phones record it (ten bits, BT.2020, PQ or HLG): the colours that the scene has, in standard range."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from fourdgs_ns.process import extract, probe
from fourdgs_ns.process.reading import HLG, PQ, REC709_FROM_REC2020

BT2020, BT2020_MATRIX, LIMITED = 9, 9, 1
"""ITU-T H.273: primaries, matrix (non-constant luminance); FFmpeg: limited range."""
PATCHES = np.array([[0.02] * 3, [0.18] * 3, [0.5] * 3, [0.3, 0.05, 0.05], [0.05, 0.3, 0.08], [0.06, 0.07, 0.4]])
"""Linear BT.709, diffuse white is 1."""


def _pq(linear):
    """SMPTE ST 2084 with diffuse white at 203 cd/m2."""
    y = (linear * 203 / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def _hlg(linear):
    """ARIB STD-B67 with diffuse white at 75 % of the signal."""
    scene = linear * 0.265
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def _write(path, transfer):
    """Six patches of 32x32 pixels, three frames."""
    curve = {PQ: _pq, HLG: _hlg}[transfer]
    wide = PATCHES @ np.linalg.inv(REC709_FROM_REC2020.astype(np.float64)).T
    r, g, b = curve(np.maximum(wide, 0)).T
    luma = 0.2627 * r + 0.6780 * g + 0.0593 * b
    planes = (64 + 876 * luma, 512 + 896 * (b - luma) / 1.8814, 512 + 896 * (r - luma) / 1.4746)
    y, u, v = (np.rint(p).astype(np.uint16) for p in planes)
    grid = np.repeat(np.repeat(np.arange(6).reshape(2, 3), 32, axis=0), 32, axis=1)
    half = grid[::2, ::2]
    data = np.concatenate([y[grid].ravel(), u[half].ravel(), v[half].ravel()]).reshape(-1, grid.shape[1])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = grid.shape[1], grid.shape[0], "yuv420p10le"
        stream.options = {"crf": "2", "preset": "ultrafast"}
        context = stream.codec_context
        context.color_trc, context.color_primaries = transfer, BT2020
        context.colorspace, context.color_range = BT2020_MATRIX, LIMITED
        for k in range(3):
            frame = av.VideoFrame.from_ndarray(data, format="yuv420p10le")
            frame.color_trc, frame.color_primaries = transfer, BT2020
            frame.colorspace, frame.color_range, frame.pts = BT2020_MATRIX, LIMITED, k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_colours_of_hdr_video(tmp_path, transfer):
    (video,) = probe.probe({"a": _write(tmp_path / "a.mp4", transfer)})
    assert video.hdr and video.bits == 10 and "is HDR (10 bit)" in probe.notes_of([video])[0]
    extract.extract_camera(video, [0, 2], (96, 64), tmp_path / "out")
    image = cv2.imread(str(tmp_path / "out" / "000001.jpg"))[..., ::-1].astype(float)
    found = np.array(
        [
            image[8 + 32 * (k // 3) : 24 + 32 * (k // 3), 8 + 32 * (k % 3) : 24 + 32 * (k % 3)].mean((0, 1))
            for k in range(6)
        ]
    )
    expected = 255 * np.where(PATCHES <= 0.0031308, 12.92 * PATCHES, 1.055 * PATCHES ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(found, expected, atol=6)
