"""Square markers (ArUco, ChArUco boards) carried through the scene: exact matches between cameras that share no view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from fourdgs_ns.common.errors import UserError

FAMILIES: dict[str, tuple[int, ...]] = {
    "DICT_4X4": (50, 100, 250, 1000),
    "DICT_5X5": (50, 100, 250, 1000),
    "DICT_6X6": (50, 100, 250, 1000),
    "DICT_7X7": (50, 100, 250, 1000),
}
"""Dictionaries of one size of marker contain the smaller ones."""
OTHERS = ("DICT_ARUCO_ORIGINAL", "DICT_APRILTAG_36h11")
PROBED_INSTANTS = 4
PROBED_SIDE = 1280
"""Longest side in pixels of the images in which dictionaries are tried."""
MOST_INSTANTS = 120
FEWEST_SEEN = 8
SEEN_AGAIN = 3
"""Of the probed images at least so many must show a marker, and all such sightings be so many, before any is believed."""

Corners = dict[tuple[int, int, int], np.ndarray]
"""(instant, marker, corner) -> pixel."""


def find_markers(
    frames: Mapping[str, Sequence[Path]], dictionary: str, advance: Callable[[], None] = lambda: None
) -> tuple[dict[str, Corners], str | None]:
    """Corners of markers in every camera at up to ``MOST_INSTANTS`` instants, and the dictionary they are of.

    ``auto`` tries the usual dictionaries on a few instants and takes the smallest one that explains most. Pixel i covers
    [i, i + 1).

    Raises:
        UserError: an unknown dictionary.
    """
    if dictionary != "auto" and not hasattr(cv2.aruco, dictionary):
        raise UserError(
            f"--markers {dictionary} is no dictionary of markers; use auto, none or a name of OpenCV such as DICT_4X4_50"
        )
    count = min(len(own) for own in frames.values())
    if dictionary == "auto":
        found = _recognise(frames, count)
        if found is None:
            return {name: {} for name in frames}, None
        dictionary = found
    detector = _detector(dictionary)
    instants = np.unique(np.linspace(0, count - 1, min(count, MOST_INSTANTS)).astype(int))
    corners: dict[str, Corners] = {}
    for name, own in frames.items():
        corners[name] = {}
        for i in instants:
            for marker, square in _detect(detector, own[i]).items():
                for k, pixel in enumerate(square):
                    corners[name][int(i), marker, k] = pixel
            advance()
    return corners, dictionary


def _recognise(frames: Mapping[str, Sequence[Path]], count: int) -> str | None:
    instants = np.unique(np.linspace(0, count - 1, min(count, PROBED_INSTANTS)).astype(int))
    largest = [f"{family}_{sizes[-1]}" for family, sizes in FAMILIES.items()] + list(OTHERS)
    seen: dict[str, Counter[int]] = {name: Counter() for name in largest}
    detectors = {name: _detector(name) for name in largest}
    for own in frames.values():
        for i in instants:
            image = _gray(own[i])
            scale = max(1.0, max(image.shape) / PROBED_SIDE)
            if scale > 1:
                image = cv2.resize(image, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
            for name in largest:
                ids = detectors[name].detectMarkers(image)[1]
                seen[name].update(() if ids is None else {int(n) for n in ids.ravel()})
    # What looks like a marker by chance does not look like the same one again.
    again = {name: {n: c for n, c in counts.items() if c >= SEEN_AGAIN} for name, counts in seen.items()}
    best = max(again, key=lambda name: sum(again[name].values()))
    if sum(again[best].values()) < FEWEST_SEEN:
        return None
    family = best.rsplit("_", 1)[0]
    return next((f"{family}_{size}" for size in FAMILIES.get(family, ()) if size > max(again[best])), best)


def _detector(name: str) -> cv2.aruco.ArucoDetector:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.detectInvertedMarker = True  # boards are also printed white on black
    return cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name)), parameters)


def _detect(detector: cv2.aruco.ArucoDetector, path: Path) -> dict[int, np.ndarray]:
    squares, ids, _ = detector.detectMarkers(_gray(path))
    if ids is None:
        return {}
    names = [int(n) for n in ids.ravel()]
    # A marker seen twice in one image is a mistake or two boards: neither can be matched.
    return {n: s.reshape(4, 2) + 0.5 for n, s in zip(names, squares) if names.count(n) == 1}


def _gray(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise UserError(f"{path} cannot be decoded; type the command again with --from extract")
    return image
