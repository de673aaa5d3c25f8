"""Features of single images."""

from __future__ import annotations

import cv2
import numpy as np

from fourdgs_ns.points.features import find_features


def blobs(places, size=(200, 300)):
    image = np.full(size, 60, np.float32)
    for x, y in places:
        cv2.circle(image, (x, y), 7, 200.0, -1)
    return cv2.GaussianBlur(image, (0, 0), 3.0).astype(np.uint8)


def test_features_lie_on_blobs_in_pixel_corners_and_have_unit_descriptors():
    places = [(60, 50), (150, 100), (230, 140)]
    found = find_features(blobs(places), contrast_threshold=0.01)
    for x, y in places:
        # The centre of pixel i is at i + 0.5.
        assert np.abs(found.pixels - (x + 0.5, y + 0.5)).max(axis=1).min() < 0.3
    assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, atol=1e-5)
    assert found.descriptors.dtype == np.float32 and len(found.contrasts) == len(found.pixels)


def test_nothing_is_found_off_the_mask_or_on_a_flat_image():
    image, keep = blobs([(60, 50), (230, 140)]), np.zeros((200, 300), bool)
    keep[:, :150] = True
    found = find_features(image, contrast_threshold=0.01, keep=keep)
    assert len(found.pixels) and found.pixels[:, 0].max() < 151
    empty = find_features(np.full((100, 100), 90, np.uint8), contrast_threshold=0.01)
    assert empty.pixels.shape == (0, 2) and empty.descriptors.shape == (0, 128)


def test_tilted_views_add_features():
    image = blobs([(60, 50), (150, 100), (230, 140)])
    assert len(find_features(image, contrast_threshold=0.01, tilts=2).pixels) > len(
        find_features(image, contrast_threshold=0.01).pixels
    )
