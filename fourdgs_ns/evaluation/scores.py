"""Scores of many views brought together: means, per camera, and colour fits from moments. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scores = Mapping[str, float]
PerView = Mapping[str, Mapping[str, Scores]]
"""camera -> frame -> scores."""


def mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean of every score over those views that have it; the median for ``fps``, the rate of rendering."""
    result = {}
    for key in {key: None for view in scores for key in view}:
        values = np.array([view[key] for view in scores if key in view])
        # First touches and page faults are not what a user sees.
        result[key] = float(np.median(values) if key == "fps" else values.mean())
    return result


def scores_per_camera(per_view: PerView) -> dict[str, dict[str, float]]:
    """Mean scores of each camera."""
    return {camera: mean_scores(list(frames.values())) for camera, frames in per_view.items()}


def all_scores(per_view: PerView) -> list[Scores]:
    """The scores of all views in one list."""
    return [scores for frames in per_view.values() for scores in frames.values()]


FASTEST_SHARE = 0.1
"""Of the frames that have a predecessor, those that count as fast."""


def fastest_scores(per_view: PerView) -> dict[str, float]:
    """Mean scores over the tenth of each camera's frames whose truth changed most since the frame before (score "change").

    Empty where no view has that score.
    """
    chosen: list[Scores] = []
    for frames in per_view.values():
        known = sorted((view for view in frames.values() if "change" in view), key=lambda view: -view["change"])
        chosen += known[: math.ceil(FASTEST_SHARE * len(known))]
    return mean_scores(chosen)


@dataclass
class ColorMoments:
    """Sums over pixels from which the best affine colour map, and the error it leaves, follow without the images."""

    pixels: int
    source: Float[np.ndarray, "4 4"]
    """Sum of (r, g, b, 1)^T (r, g, b, 1) over the render."""
    cross: Float[np.ndarray, "4 3"]
    """Sum of (r, g, b, 1)^T (truth)."""
    target: float
    """Sum of the truth's squares."""

    @staticmethod
    def of(render: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"]) -> ColorMoments:
        """Moments of one view, in double precision."""
        a = render.reshape(-1, 3).double()
        a = torch.cat([a, torch.ones_like(a[:, :1])], dim=1)
        b = truth.reshape(-1, 3).double()
        return ColorMoments(len(a), (a.T @ a).cpu().numpy(), (a.T @ b).cpu().numpy(), float((b * b).sum()))

    def __add__(self, other: ColorMoments) -> ColorMoments:
        return ColorMoments(
            self.pixels + other.pixels, self.source + other.source, self.cross + other.cross, self.target + other.target
        )

    def fit(self) -> Float[np.ndarray, "4 3"]:
        """The affine map, applied as (r, g, b, 1) @ map, that brings render closest to truth (least squares)."""
        return np.linalg.lstsq(self.source, self.cross, rcond=1e-10)[0]

    def psnr(self, affine: Float[np.ndarray, "4 3"]) -> float:
        """PSNR in dB after ``affine``, without clamping to [0, 1] afterwards."""
        squares = np.trace(affine.T @ self.source @ affine) - 2 * np.trace(affine.T @ self.cross) + self.target
        return float(-10 * np.log10(max(squares / (3 * self.pixels), 1e-12)))


def flicker(
    render: Float[Tensor, "h w 3"], previous_render: Float[Tensor, "h w 3"],
    truth: Float[Tensor, "h w 3"], previous_truth: Float[Tensor, "h w 3"],
) -> float:  # fmt: skip
    """mean |(render - previous render) - (truth - previous truth)|: change from frame to frame that the truth does not have."""
    return float(((render - previous_render) - (truth - previous_truth)).abs().mean())


def region_psnr(
    render: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], region: Bool[Tensor, "h w"]
) -> float | None:
    """PSNR in dB over the pixels of ``region``; None when there is none."""
    if not bool(region.any()):
        return None
    return float(-10 * torch.log10(((render - truth)[region] ** 2).mean().clamp_min(1e-12)))


def temporal_deviation(frames: np.ndarray, most: int = 60) -> Float[np.ndarray, "h w"]:
    """Standard deviation over time of each pixel, the largest of its channels, in [0, 1].

    Args:
        frames: uint8 [n, h, w, c]; at most ``most`` of them, spread evenly, are looked at.
    """
    picks = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    total = np.zeros((*frames.shape[1:3], 3))
    squares = np.zeros_like(total)
    for i in picks:
        frame = frames[i][..., :3].astype(np.float64) / 255.0
        total += frame
        squares += frame**2
    mean = total / len(picks)
    return np.sqrt(np.maximum(squares / len(picks) - mean**2, 0.0)).max(axis=-1)
