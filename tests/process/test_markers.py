"""Markers that are carried through the scene tie cameras together that share no view."""

import cv2
import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.markers import find_markers

DICTIONARY = "DICT_4X4_50"


def _frames(folder, shift, inverted=False, instants=4):
    """Four markers on a bright wall, moved by ``shift`` pixels per instant."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
    folder.mkdir(parents=True)
    paths = []
    for k in range(instants):
        image = np.full((300, 400), 230, np.uint8)
        for marker in range(4):
            x, y = 40 + 160 * (marker % 2) + shift * k, 30 + 130 * (marker // 2)
            image[y : y + 80, x : x + 80] = cv2.aruco.generateImageMarker(dictionary, marker, 80)
        image = 255 - image if inverted else image
        image = cv2.GaussianBlur(image, (0, 0), 0.8)
        paths.append(folder / f"{k:06d}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


@pytest.mark.parametrize("inverted", [False, True])
def test_corners_are_found_and_the_dictionary_is_recognised(tmp_path, inverted):
    frames = {"a": _frames(tmp_path / "a", 5, inverted), "b": _frames(tmp_path / "b", -3, inverted)}
    corners, dictionary = find_markers(frames, "auto")
    assert dictionary == DICTIONARY
    for name, shift in (("a", 5), ("b", -3)):
        assert len(corners[name]) == 4 * 4 * 4
        # The first corner is the marker's upper left one; pixel i covers [i, i + 1).
        for (instant, marker, corner), pixel in corners[name].items():
            if corner == 0:
                expected = (40 + 160 * (marker % 2) + shift * instant, 30 + 130 * (marker // 2))
                np.testing.assert_allclose(pixel, expected, atol=0.7)


def test_nothing_there(tmp_path):
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "0.png"), np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8))
    corners, dictionary = find_markers({"a": [tmp_path / "a" / "0.png"]}, "auto")
    assert dictionary is None and corners == {"a": {}}
    with pytest.raises(UserError, match="--markers DICT_X is no dictionary"):
        find_markers({"a": []}, "DICT_X")
