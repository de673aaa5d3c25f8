"""(1 - w) L1 + w (1 - SSIM) and its gradient in four kernels; the twin is losses.photometric_loss.

The Gaussian blur of 11 x 11 pixels is separable: one kernel goes along rows, one along columns. A pixel outside the picture
counts as 0, as in the twin.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel
from fourdgs_ns.losses import C1, C2, SIGMA, WINDOW

_BLOCK = 512
_HALF = WINDOW // 2
_RAW = [math.exp(-((k - _HALF) ** 2) / (2 * SIGMA**2)) for k in range(WINDOW)]
# Triton reads globals only as constants; the window is symmetric, so six numbers say all of it.
_W0, _W1, _W2, _W3, _W4, _W5 = (tl.constexpr(_RAW[_HALF + k] / sum(_RAW)) for k in range(6))
_C1, _C2 = tl.constexpr(C1), tl.constexpr(C2)


@triton.jit
def _tap(distance: tl.constexpr):
    """The window's weight at a distance from -5 to 5."""
    d: tl.constexpr = distance if distance >= 0 else -distance
    if d == 0:  # noqa: SIM116  (Triton knows no dictionaries)
        return _W0
    elif d == 1:
        return _W1
    elif d == 2:
        return _W2
    elif d == 3:
        return _W3
    elif d == 4:
        return _W4
    else:
        return _W5


@kernel
def _blur_rows(image, target, maps, total, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """maps [5, total]: x, y, x^2, y^2, xy of [b, h, w, c] pictures blurred along w."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    column = (i // CHANNELS) % width
    mx = tl.zeros((BLOCK,), tl.float32)
    my = tl.zeros((BLOCK,), tl.float32)
    xx = tl.zeros((BLOCK,), tl.float32)
    yy = tl.zeros((BLOCK,), tl.float32)
    xy = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(-5, 6):
        there = inside & (column + k >= 0) & (column + k < width)
        x = tl.load(image + i + k * CHANNELS, mask=there, other=0.0)
        y = tl.load(target + i + k * CHANNELS, mask=there, other=0.0)
        w = _tap(k)
        mx += w * x
        my += w * y
        xx += w * x * x
        yy += w * y * y
        xy += w * x * y
    tl.store(maps + i, mx, mask=inside)
    tl.store(maps + total + i, my, mask=inside)
    tl.store(maps + 2 * total + i, xx, mask=inside)
    tl.store(maps + 3 * total + i, yy, mask=inside)
    tl.store(maps + 4 * total + i, xy, mask=inside)


@kernel
def _compare(image, target, maps, slopes, sums, total, stride, height, ssim_share, l1_share, BLOCK: tl.constexpr):
    """Blur along h; l1_share |x - y| - ssim_share SSIM summed by block, and d SSIM / d (mx, xx, xy) into slopes [3, total]."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    row = (i // stride) % height
    mx = tl.zeros((BLOCK,), tl.float32)
    my = tl.zeros((BLOCK,), tl.float32)
    xx = tl.zeros((BLOCK,), tl.float32)
    yy = tl.zeros((BLOCK,), tl.float32)
    xy = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(-5, 6):
        there = inside & (row + k >= 0) & (row + k < height)
        j = i + k * stride
        w = _tap(k)
        mx += w * tl.load(maps + j, mask=there, other=0.0)
        my += w * tl.load(maps + total + j, mask=there, other=0.0)
        xx += w * tl.load(maps + 2 * total + j, mask=there, other=0.0)
        yy += w * tl.load(maps + 3 * total + j, mask=there, other=0.0)
        xy += w * tl.load(maps + 4 * total + j, mask=there, other=0.0)
    a1 = 2 * mx * my + _C1
    a2 = 2 * (xy - mx * my) + _C2
    b1 = mx * mx + my * my + _C1
    b2 = xx - mx * mx + yy - my * my + _C2
    value = (a1 * a2) / (b1 * b2)
    # d value / d xy, d xx and, through the products of means, d mx.
    by_xy = 2 * a1 / (b1 * b2)
    by_xx = -value / b2
    by_mx = 2 * my * (a2 - a1) / (b1 * b2) - 2 * mx * value / b1 + 2 * mx * value / b2
    tl.store(slopes + i, by_mx, mask=inside)
    tl.store(slopes + total + i, by_xx, mask=inside)
    tl.store(slopes + 2 * total + i, by_xy, mask=inside)
    x = tl.load(image + i, mask=inside, other=0.0)
    y = tl.load(target + i, mask=inside, other=0.0)
    part = l1_share * tl.abs(x - y) - ssim_share * tl.where(inside, value, 0.0)
    tl.store(sums + tl.program_id(0), tl.sum(part, axis=0))


@kernel
def _blur_slopes(slopes, blurred, total, stride, height, BLOCK: tl.constexpr):
    """The three slopes blurred along h."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    row = (i // stride) % height
    for part in tl.static_range(3):
        value = tl.zeros((BLOCK,), tl.float32)
        for k in tl.static_range(-5, 6):
            there = inside & (row + k >= 0) & (row + k < height)
            value += _tap(k) * tl.load(slopes + part * total + i + k * stride, mask=there, other=0.0)
        tl.store(blurred + part * total + i, value, mask=inside)


@kernel
def _gradient(
    image,
    target,
    blurred,
    upstream,
    out,
    total,
    width,
    ssim_share,
    l1_share,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Blur along w, then d loss / d x = l1_share sign(x - y) - ssim_share (by mx + 2 x by xx + y by xy), times ``upstream``."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < total
    column = (i // CHANNELS) % width
    by_mx = tl.zeros((BLOCK,), tl.float32)
    by_xx = tl.zeros((BLOCK,), tl.float32)
    by_xy = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(-5, 6):
        there = inside & (column + k >= 0) & (column + k < width)
        j = i + k * CHANNELS
        w = _tap(k)
        by_mx += w * tl.load(blurred + j, mask=there, other=0.0)
        by_xx += w * tl.load(blurred + total + j, mask=there, other=0.0)
        by_xy += w * tl.load(blurred + 2 * total + j, mask=there, other=0.0)
    x = tl.load(image + i, mask=inside, other=0.0)
    y = tl.load(target + i, mask=inside, other=0.0)
    sign = tl.where(x > y, 1.0, tl.where(x < y, -1.0, 0.0))
    value = l1_share * sign - ssim_share * (by_mx + 2 * x * by_xx + y * by_xy)
    tl.store(out + i, tl.load(upstream) * value, mask=inside)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
        image, target = image.contiguous(), target.contiguous()
        _, height, width, channels = image.shape
        total, grid = image.numel(), (triton.cdiv(image.numel(), _BLOCK),)
        maps, slopes = image.new_empty(5, total), image.new_empty(3, total)
        sums = image.new_empty(grid[0])
        _blur_rows[grid](image, target, maps, total, width, CHANNELS=channels, BLOCK=_BLOCK)
        _compare[grid](
            image, target, maps, slopes, sums, total, width * channels, height, ssim_weight / total,
            (1 - ssim_weight) / total, BLOCK=_BLOCK,
        )  # fmt: skip
        ctx.save_for_backward(image, target, slopes)
        ctx.ssim_weight = ssim_weight
        return sums.sum() + ssim_weight

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple:  # type: ignore[override]
        image, target, slopes = ctx.saved_tensors
        _, height, width, channels = image.shape
        total, grid, weight = image.numel(), (triton.cdiv(image.numel(), _BLOCK),), ctx.ssim_weight
        blurred, out = torch.empty_like(slopes), torch.empty_like(image)
        _blur_slopes[grid](slopes, blurred, total, width * channels, height, BLOCK=_BLOCK)
        _gradient[grid](
            image, target, blurred, upstream.contiguous(), out, total, width, weight / total, (1 - weight) / total,
            CHANNELS=channels, BLOCK=_BLOCK,
        )  # fmt: skip
        return out, None, None


def photometric_loss(
    image: Float[Tensor, "b h w c"], target: Float[Tensor, "b h w c"], ssim_weight: float
) -> Float[Tensor, ""]:
    """See :func:`fourdgs_ns.losses.photometric_loss`; differentiable in ``image`` only. float32."""
    return _Loss.apply(image, target, ssim_weight)  # type: ignore[return-value]
