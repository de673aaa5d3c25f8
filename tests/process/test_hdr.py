"""HDR video as phones record it (ten bits, BT.2020, PQ or HLG): the colours that the scene has, in standard range."""

import cv2
import numpy as np
import pytest

from fourdgs_ns.capture.video_header import HLG, PQ
from fourdgs_ns.process import extract, probe
from tests.process.clips import PATCHES, write_hdr


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_colours_of_hdr_video(tmp_path, transfer):
    (video,) = probe.probe({"a": write_hdr(tmp_path / "a.mp4", transfer)})
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
