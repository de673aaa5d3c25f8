"""Scores of cameras over time as one image, in which a bad camera or a bad second is seen at once."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from fourdgs_ns.common.palette import ValueRange, palette
from fourdgs_ns.evaluation.scores import PerView

LABEL_WIDTH, HEAD, FOOT = 110, 34, 40
BACKGROUND, INK = 255, (30, 30, 30)
LOWER_IS_BETTER = ("lpips", "flicker")


def heat_map(per_view: PerView, score: str, seconds: dict[str, float]) -> UInt8[np.ndarray, "h w 3"]:
    """A row per camera, a column per frame, red where ``score`` is bad; the row's mean at its right.

    Args:
        seconds: of each frame, as written below the first and the last column.
    """
    cameras = list(per_view)
    frames = sorted({frame for views in per_view.values() for frame in views}, key=int)
    values = np.full((len(cameras), len(frames)), np.nan)
    for row, camera in enumerate(cameras):
        for column, frame in enumerate(frames):
            values[row, column] = per_view[camera].get(frame, {}).get(score, np.nan)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    shares = ValueRange(low, high).share(torch.from_numpy(values))
    good_high = not score.startswith(LOWER_IS_BETTER)
    cells = (palette(1 - shares if good_high else shares).numpy() * 255).round().astype(np.uint8)
    cell_width, cell_height = max(3, min(24, 900 // max(len(frames), 1))), max(14, min(40, 700 // max(len(cameras), 1)))
    grid = cells.repeat(cell_height, axis=0).repeat(cell_width, axis=1)
    width = max(LABEL_WIDTH * 2 + grid.shape[1], 640)
    image = np.full((HEAD + grid.shape[0] + FOOT, width, 3), BACKGROUND, np.uint8)
    image[HEAD : HEAD + grid.shape[0], LABEL_WIDTH : LABEL_WIDTH + grid.shape[1]] = grid
    ends = (f"red {low:.4g}", f"blue {high:.4g}") if good_high else (f"blue {low:.4g}", f"red {high:.4g}")
    grey = "" if np.isfinite(values).all() else ", grey: none"
    _write(image, f"{score}: {ends[0]} to {ends[1]}{grey}", 10, 22)
    for row, camera in enumerate(cameras):
        y = HEAD + row * cell_height + cell_height // 2 + 5
        _write(image, camera[-13:], 6, y)
        mean = values[row][np.isfinite(values[row])]
        if len(mean):
            _write(image, f"{mean.mean():.4g}", LABEL_WIDTH + grid.shape[1] + 8, y)
    if frames:
        _write(image, f"frame {frames[0]} ({seconds.get(frames[0], 0.0):.2f} s)", LABEL_WIDTH, image.shape[0] - 14)
        _write(
            image, f"to {frames[-1]} ({seconds.get(frames[-1], 0.0):.2f} s)",
            max(LABEL_WIDTH + 160, LABEL_WIDTH + grid.shape[1] - 130), image.shape[0] - 14,
        )  # fmt: skip
    return image


def _write(image: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
