"""The layout of a board of square markers that nobody stated: found from images of it.

All that is assumed is that the markers lie in one plane, keep their places to each other and are equally large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float

from fourdgs_ns.geometry.epipolar import estimated
from fourdgs_ns.process.markers import Corners

Square = Float[np.ndarray, "4 2"]
View = Mapping[int, Square]
"""marker -> its corners in one image of one camera."""
Layout = dict[int, Square]
"""marker -> its corners in the plane of the board; the side of a marker is 1."""

UNIT = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1]])
FEWEST_MARKERS = 3
"""In one image of the board, and on the board."""
FEWEST_VIEWS = 8
SEEN_SHARE = 0.1
"""Of the images that show the marker seen most: what is seen less often is a mistake of the detector."""
ALTERNATIONS = 12
IN_PLACE = 0.1
"""Sides of a marker by which it may miss its place in the layout."""
RIGID_SHARE = 0.8


def views_by_instant(corners: Corners) -> dict[int, dict[int, Square]]:
    """The whole markers that a camera sees, by instant."""
    gathered: dict[int, dict[int, dict[int, np.ndarray]]] = {}
    for (instant, marker, corner), pixel in corners.items():
        gathered.setdefault(instant, {}).setdefault(marker, {})[corner] = pixel
    return {
        instant: {m: np.stack([own[k] for k in range(4)]) for m, own in view.items() if len(own) == 4}
        for instant, view in sorted(gathered.items())
    }


def board_layout(views: Sequence[View]) -> Layout | None:
    """Where the markers of a board lie; None when they do not keep their places in one plane, or are too few.

    ``views``: images whose straight lines are straight. Each one maps to the plane by a homography; homographies and places
    of the markers are found in turns.
    """
    views = [v for v in views if len(v) >= FEWEST_MARKERS]
    counts: dict[int, int] = {}
    for view in views:
        for marker in view:
            counts[marker] = counts.get(marker, 0) + 1
    known = {m for m, n in counts.items() if n >= SEEN_SHARE * max(counts.values())}
    views = [{m: s for m, s in v.items() if m in known} for v in views]
    views = [v for v in views if len(v) >= FEWEST_MARKERS]
    if len(views) < FEWEST_VIEWS:
        return None
    first = max(known, key=lambda m: counts[m])
    layout: Layout = {first: UNIT}
    while True:  # grow outwards from one marker, those first that are seen together with placed ones most often
        candidates: dict[int, list[Square]] = {}
        for view in views:
            plane = _plane_from_image(view, layout)
            if plane is not None:
                for m in view.keys() - layout.keys():
                    candidates.setdefault(m, []).append(_mapped(plane, view[m]))
        if not candidates:
            break
        most = max(len(c) for c in candidates.values())
        layout |= {m: _square(np.median(c, axis=0)) for m, c in candidates.items() if len(c) >= 0.5 * most}
    for _ in range(ALTERNATIONS):
        seen = _sightings(views, layout)
        layout = {m: _square(np.median(own, axis=0)) for m, own in seen.items()}
    seen = _sightings(views, layout)
    misses = np.concatenate([np.abs(np.stack(own) - layout[m]).max(axis=(1, 2)) for m, own in seen.items()])
    if len(layout) < FEWEST_MARKERS or float((misses < IN_PLACE).mean()) < RIGID_SHARE:
        return None
    return layout


def _sightings(views: Sequence[View], layout: Layout) -> dict[int, list[Square]]:
    """Each marker's corners in the plane of the board, as every image says."""
    seen: dict[int, list[Square]] = {}
    for view in views:
        plane = _plane_from_image(view, layout)
        if plane is not None:
            for m in view.keys() & layout.keys():
                seen.setdefault(m, []).append(_mapped(plane, view[m]))
    return seen


def _plane_from_image(view: View, layout: Layout) -> Float[np.ndarray, "3 3"] | None:
    markers = [m for m in view if m in layout]
    if not markers:
        return None
    sides = (np.concatenate([corners[m] for m in markers]) for corners in (view, layout))
    plane, _ = estimated(cv2.findHomography, *sides) or (None, None)
    return None if plane is None else np.asarray(plane)


def _mapped(homography: Float[np.ndarray, "3 3"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    h = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    return h[:, :2] / h[:, 2:]


def _square(corners: Square) -> Square:
    """The square of side 1 that lies best on four corners."""
    centred = corners - corners.mean(axis=0)
    u, _, vt = np.linalg.svd(centred.T @ (UNIT - 0.5))
    turn = u @ np.diag([1.0, np.linalg.det(u @ vt)]) @ vt
    return (UNIT - 0.5) @ turn.T + corners.mean(axis=0)
