"""Image files of every kind become 8-bit colours and masks, and damaged ones are named."""

import cv2
import numpy as np
import pytest
from PIL import Image

from fourdgs_ns.capture.capture import ImageFrames
from fourdgs_ns.capture.sources import read_frames, read_masks
from fourdgs_ns.common.errors import UserError


def test_images_of_every_kind(tmp_path):
    rng = np.random.default_rng(0)
    rgb, rgba = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    gray = rgb[:, :, 0]
    deep = rng.integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([gray, rgb[:, :, 1]]), "LA").save(tmp_path / "gray_alpha.png")
    Image.fromarray(gray > 99).save(tmp_path / "bits.png")
    cv2.imwrite(str(tmp_path / "deep.png"), deep[:, :, ::-1])
    expected = {
        "rgb": rgb,
        "rgba": rgba,
        "gray": np.dstack([gray] * 3),
        "gray_alpha": np.dstack([gray, gray, gray, rgb[:, :, 1]]),
        "bits": np.dstack([(gray > 99) * np.uint8(255)] * 3),
        "deep": np.rint(deep / 257.0).astype(np.uint8),
    }
    found = read_frames(ImageFrames(tuple(tmp_path / f"{name}.png" for name in expected)))
    for name, image in zip(expected, found, strict=True):
        np.testing.assert_array_equal(image, expected[name], err_msg=name)
    assert len(list(read_frames(ImageFrames((tmp_path / "rgb.png",) * 3), start=1))) == 2


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    assert next(read_frames(ImageFrames((tmp_path / "turned.jpg",)))).shape == (16, 32, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_images_are_errors(tmp_path, suffix, capfd):
    path = tmp_path / f"0001.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    assert next(read_frames(ImageFrames((path,)))).shape == (64, 64, 3)
    if suffix == "jpg":  # data appended by the camera is no damage
        path.write_bytes(whole + b"SEFT of a phone")
        assert next(read_frames(ImageFrames((path,)))).shape == (64, 64, 3)
    for rest in (whole[: len(whole) // 2], b""):
        path.write_bytes(rest)
        with pytest.raises(UserError, match=rf"0001\.{suffix} cannot be decoded as an image"):
            list(read_frames(ImageFrames((path,))))


def test_floating_point_images_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "hdr.tiff"), np.zeros((4, 4, 3), np.float32))
    with pytest.raises(UserError, match=r"hdr\.tiff holds float32 values"):
        list(read_frames(ImageFrames((tmp_path / "hdr.tiff",))))


def test_masks_of_every_kind(tmp_path):
    subject = np.zeros((6, 8), bool)
    subject[1:4, 2:7] = True
    white = subject * np.uint8(255)
    opaque = np.full_like(white, 255)
    kinds = {
        "gray": white,
        "bits": subject,
        "zero_one": subject.astype(np.uint8),
        "deep": (subject * 65535).astype(np.uint16),
        "deep_zero_one": subject.astype(np.uint16),
        "colour": np.dstack([white, 0 * white, 0 * white]),
        "opaque_rgba": np.dstack([white, white, white, opaque]),
        "cutout": np.dstack([opaque, 0 * white, 0 * white, white]),
    }
    for name, image in kinds.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    found = read_masks(ImageFrames(tuple(tmp_path / f"{name}.png" for name in kinds)))
    for name, mask in zip(kinds, found, strict=True):
        np.testing.assert_array_equal(mask, white, err_msg=name)
