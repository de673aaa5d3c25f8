"""A held-out or training view beside its render: how the two images are put together."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Layout = Literal["wipe", "side by side", "difference", "truth", "render"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
DIFFERENCE_GAIN = 3.0
"""The absolute difference is shown this many times brighter."""


def resized(image: Float[Tensor, "h w 3"], height: int, width: int) -> Float[Tensor, "a b 3"]:
    """``image`` at another size, averaged over pixels when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    planes = image.permute(2, 0, 1)[None]
    return functional.interpolate(planes, size=(height, width), mode="area")[0].permute(1, 2, 0)


def compose(
    render: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], layout: Layout, position: float
) -> Float[Tensor, "h w2 3"]:
    """One image of two.

    Args:
        layout: wipe: truth left of ``position``, render right of it, a white line between. side by side: truth, then render,
            twice as wide. difference: |truth - render|, brighter. truth, render: one of them.
        position: share of the width at which the wipe stands.
    """
    if layout == "render":
        return render
    if layout == "truth":
        return truth
    if layout == "difference":
        return (DIFFERENCE_GAIN * (truth - render).abs()).clamp(max=1.0)
    if layout == "side by side":
        return torch.cat([truth, render], dim=1)
    column = min(max(round(position * render.shape[1]), 0), render.shape[1])
    image = torch.cat([truth[:, :column], render[:, column:]], dim=1)
    if 0 < column < render.shape[1]:
        image[:, column] = 1.0
    return image
