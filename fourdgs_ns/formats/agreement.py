"""How much a written file differs from the model: renderings of both, on the CPU."""

from __future__ import annotations

import math

import numpy as np
import torch

from fourdgs_ns.formats.start_view import StartView
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.parts.moving import MovingGaussians

TIMES = (0.1, 0.5, 0.9)
WIDTH, HEIGHT = 320, 240


@torch.no_grad()
def psnr_between(a: MovingGaussians, b: MovingGaussians, view: StartView, times: tuple[float, ...] = TIMES) -> float:
    """PSNR in dB of images of ``b`` against those of ``a`` from ``view``; infinite where they are equal.

    Both are in the capture's world.
    """
    cameras = view.cameras(WIDTH, HEIGHT)
    errors = []
    for t in times:
        images = [rasterize(m.at(t), cameras).features[0].clamp(0, 1) for m in (a, b)]
        errors.append(float(((images[0] - images[1]) ** 2).mean()))
    mean = float(np.mean(errors))
    return math.inf if mean == 0 else -10 * math.log10(mean)


def comparison_note(what: str, before: int, after: int, decibels: float) -> str:
    """One sentence for the user about what a compression cost."""
    times = before / max(after, 1)
    return (
        f"{what}: {before / 1e6:.2f} MB -> {after / 1e6:.2f} MB ({times:.1f} times smaller); {agreement(decibels)} with the "
        "model's own"
    )


def agreement(decibels: float) -> str:
    """The same as words."""
    return "images are equal" if math.isinf(decibels) else f"images agree to {decibels:.1f} dB"
