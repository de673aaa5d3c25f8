"""Masks that hold labels are told from mattes: what is not 0 is the subject."""

import cv2
import numpy as np
import pytest
from PIL import Image

from fourdgs_ns.capture.capture import ImageFrames
from fourdgs_ns.capture.images import read_mask
from fourdgs_ns.capture.label_masks import label_masks
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.sources import read_masks
from fourdgs_ns.common.errors import UserError
from tests.capture import writers
from tests.capture.refusals import refused

W, H = 80, 60
INSIDE = np.zeros((H, W), bool)
INSIDE[15:50, 20:60] = True


def write(root, draw, suffix=".png"):
    """A capture of frames of 80x60 pixels whose masks are saved by ``draw(path, values)`` with labels 1, 2, 13 inside."""
    cameras = writers.rig(("00", "01"))
    writers.write_easyvolcap_calibration(
        root, cameras, numbers={f"{k}_{c.name}": v for c in cameras for k, v in (("W", 32), ("H", 24))}
    )
    labels = np.zeros((H, W), np.uint16)
    labels[15:50, 20:35], labels[15:50, 35:50], labels[15:50, 50:60] = 1, 2, 13
    for c in cameras:
        writers.write_images(root / "images" / c.name, range(3), W, H)
        (root / "masks" / c.name).mkdir(parents=True)
        for i in range(3):
            draw(root / "masks" / c.name / f"{i:06d}{suffix}", labels)
    return root


def gray(path, labels):
    cv2.imwrite(str(path), labels.astype(np.uint8))


def sixteen_bit(path, labels):
    cv2.imwrite(str(path), labels * 1000)


def sixteen_bit_small(path, labels):
    cv2.imwrite(str(path), labels)


def palette(path, labels):
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette([v for i in range(256) for v in ((64 * i) % 256, (7 * i) % 256, 0)])
    image.save(path)


def colored(path, labels):
    colors = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], *[[0, 0, 0]] * 10, [0, 0, 64]], np.uint8)
    cv2.imwrite(str(path), colors[labels])


def opaque_rgba(path, labels):
    rgba = np.dstack([labels.astype(np.uint8)] * 3 + [np.full((H, W), 255, np.uint8)])
    cv2.imwrite(str(path), rgba)


def classes(path, labels):
    cv2.imwrite(str(path), np.where(labels > 0, 100 + labels, 0).astype(np.uint8))


@pytest.mark.parametrize("draw", [gray, sixteen_bit, sixteen_bit_small, palette, colored, opaque_rgba, classes])
def test_labels_in_every_file(draw, tmp_path):
    capture = read_capture(write(tmp_path, draw))
    assert "taken for labels" in " ".join(capture.notes) and capture.masks_are_mattes
    for mask in read_masks(capture.cameras[1].masks):
        np.testing.assert_array_equal(mask, 255 * INSIDE)


def soft(path, labels):
    cv2.imwrite(str(path), cv2.GaussianBlur(INSIDE.astype(np.uint8) * 255, (0, 0), 2.0))


def faint(path, labels):
    noise = np.random.default_rng(0).integers(0, 6, (H, W), dtype=np.uint8)
    cv2.imwrite(str(path), noise)


def empty(path, labels):
    cv2.imwrite(str(path), np.zeros((H, W), np.uint8))


def hair(path, labels):
    cv2.imwrite(str(path), np.tile(np.linspace(0, 200, W).astype(np.uint8), (H, 1)))


@pytest.mark.parametrize("draw", [soft, faint, empty, hair])
def test_mattes_stay_mattes(draw, tmp_path):
    capture = read_capture(write(tmp_path, draw))
    assert not any("labels" in note for note in capture.notes)
    mask = next(read_masks(capture.cameras[0].masks))
    np.testing.assert_array_equal(mask, cv2.imread(str(capture.cameras[0].masks.paths[0]), 0))


def test_jpeg_blurs_labels(tmp_path):
    write(tmp_path, gray, ".jpg")
    refused(lambda: read_capture(tmp_path), "000000.jpg", "JPEG", "PNG")


def test_one_subject_in_a_coloured_palette_is_read_by_its_number(tmp_path):
    """As DAVIS, and what learned from it, writes it: number 1 is a dark red."""
    numbers = np.zeros((20, 30), np.uint8)
    numbers[5:15, 8:20] = 1
    image = Image.fromarray(numbers, "P")
    image.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), numbers * 255)


def test_labels_of_any_sampled_frame_make_all_of_them_labels(tmp_path):
    subject = np.zeros((20, 30), np.uint8)
    subject[5:15, 8:20] = 1
    paths = tuple(tmp_path / f"{i:06d}.png" for i in range(3))
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), subject * (5 if i == 0 else 1))
    (marked,), note = label_masks([ImageFrames(paths)])
    assert marked.labels and "5" in note
    for path in paths:
        np.testing.assert_array_equal(read_mask(path, labels=True), subject * 255)


def test_masks_of_floats_are_one_line(tmp_path):
    cv2.imwrite(str(tmp_path / "mask.tif"), np.ones((4, 4), np.float32))
    with pytest.raises(UserError, match=r"mask\.tif holds float32 values"):
        read_mask(tmp_path / "mask.tif")
