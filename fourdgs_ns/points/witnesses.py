"""What the pictures of one instant say about how cameras stand, before any pose is believed: sure matches of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fourdgs_ns.capture.capture import RecordedCamera
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.common.cores import workers
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.epipolar import consistent
from fourdgs_ns.points.appearance_matching import apart, mutual_matches
from fourdgs_ns.points.features import Features, find_features

LONG_SIDE = 800
"""Of the pictures that are matched, in pixels: gross errors show at any size."""
CONTRAST_THRESHOLD = 0.005
MOST_FEATURES = 1500
"""Of a picture, those of most contrast."""
ALL_PAIRS = 9
"""Up to this many cameras all pairs are matched; of more, each with the ``PARTNERS`` that its strongest features find."""
PARTNERS = 5
STRONGEST = 300
FEWEST_STRONGEST = 5


@dataclass(frozen=True, eq=False)
class Witness:
    """Matches of two cameras at one instant that agree on one epipolar geometry, whatever it is."""

    a: str
    b: str
    pixels_a: Float[np.ndarray, "m 2"]
    """Of the frames as they were recorded (lenses not undone); pixel i covers [i, i + 1)."""
    pixels_b: Float[np.ndarray, "m 2"]


@dataclass(frozen=True, eq=False)
class Picture:
    """Features of one camera's frame at one instant."""

    camera: Camera
    """As the capture states it, in the pose of the instant."""
    features: Features
    scale: Float[np.ndarray, "2"]
    """Pixels of the frame per pixel of the picture in which the features were sought, x and y."""


def pictures_of(cameras: Sequence[RecordedCamera], instant: int) -> dict[str, Picture]:
    """Pictures of the cameras that have the instant, by name.

    Raises:
        UserError: a frame cannot be decoded.
    """
    chosen = [
        (camera, entry)
        for camera in cameras
        for entry in np.flatnonzero(np.asarray(camera.frame_ids) == instant)[:1].tolist()
    ]
    with workers(len(chosen)) as pool:
        found = list(pool.map(lambda pick: _picture(*pick), chosen))
    return {picture.camera.name: picture for picture in found}


def witnesses_of(pictures: Mapping[str, Picture]) -> list[Witness]:
    """Sure matches of pairs of pictures; pairs that have too few are missing."""
    names = sorted(pictures)
    with workers(len(names)) as pool:
        pairs = list(combinations(names, 2)) if len(names) <= ALL_PAIRS else _likely_pairs(pictures, names, pool.map)
        found = pool.map(lambda pair: _witness(pictures[pair[0]], pictures[pair[1]]), pairs)
        return [witness for witness in found if witness is not None]


def _picture(recorded: RecordedCamera, entry: int) -> Picture:
    frame = next(_frame(recorded, entry))
    gray = cv2.cvtColor(np.ascontiguousarray(frame[:, :, :3]), cv2.COLOR_RGB2GRAY)
    scale = max(1.0, max(gray.shape) / LONG_SIDE)
    size = max(1, round(gray.shape[1] / scale)), max(1, round(gray.shape[0] / scale))
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA) if scale > 1 else gray
    keep = None
    if frame.shape[2] == 4:
        keep = cv2.resize(np.ascontiguousarray(frame[:, :, 3]), size, interpolation=cv2.INTER_AREA) > 127
    found = find_features(small, contrast_threshold=CONTRAST_THRESHOLD, keep=keep)
    strongest = np.argsort(-found.contrasts, kind="stable")[:MOST_FEATURES]
    return Picture(recorded.at(entry), found.take(strongest), np.array([recorded.width, recorded.height]) / size)


def _frame(recorded: RecordedCamera, entry: int) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    return read_frames(recorded.frames.take([entry]))


def _likely_pairs(pictures: Mapping[str, Picture], names: Sequence[str], mapped) -> list[tuple[str, str]]:  # type: ignore[no-untyped-def]
    """Each camera with those that share most of its strongest features; poses take no part."""
    few = {name: pictures[name].features.take(slice(0, STRONGEST)) for name in names}
    pairs = list(combinations(names, 2))
    counts = list(mapped(lambda pair: len(_matches(few[pair[0]], few[pair[1]])), pairs))
    chosen = set()
    for name in names:
        own = sorted(((n, p) for n, p in zip(counts, pairs) if name in p and n >= FEWEST_STRONGEST), reverse=True)
        chosen |= {p for _, p in own[:PARTNERS]}
    return sorted(chosen)


def _matches(a: Features, b: Features) -> np.ndarray:
    return mutual_matches(a.descriptors, b.descriptors, a.pixels, b.pixels)


def _witness(a: Picture, b: Picture) -> Witness | None:
    rows = _matches(a.features, b.features)
    small_a, small_b = a.features.pixels[rows[:, 0]], b.features.pixels[rows[:, 1]]
    side = max(a.camera.width, a.camera.height) / a.scale.max()
    moved = apart(small_a, small_b, side)
    small_a, small_b = small_a[moved], small_b[moved]
    pixels_a, pixels_b = small_a * a.scale, small_b * b.scale
    sure = consistent(small_a, small_b)
    if not sure.any():
        return None
    return Witness(a.camera.name, b.camera.name, pixels_a[sure], pixels_b[sure])
