"""(1 - w) L1 + w (1 - SSIM) and its gradient, one kernel each; the twin is losses.photometric_loss.

The Gaussian blur of 11 x 11 pixels is separable: a program walks down a strip of the image, blurs each row along w, and keeps
the last eleven blurred rows to blur them along h. A pixel outside the image counts as 0, as in the twin.
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
from fourdgs_ns.kernels.ssim import C1, C2, SIGMA, WINDOW

_BLOCK = 128
_ROWS = 32
_HALF = tl.constexpr(WINDOW // 2)
_RAW = [math.exp(-((k - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for k in range(WINDOW)]
# Triton reads globals only as constants; the window is symmetric, so six numbers say all of it.
_W0, _W1, _W2, _W3, _W4, _W5 = (tl.constexpr(_RAW[WINDOW // 2 + k] / sum(_RAW)) for k in range(6))
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


@triton.jit
def _down(rows, MAP: tl.constexpr, MAPS: tl.constexpr):
    """Map MAP of eleven rows, each of MAPS maps, blurred along h."""
    total = _W0 * rows[MAPS * _HALF + MAP]
    for k in tl.static_range(1, 6):
        total += _tap(k) * (rows[MAPS * (_HALF - k) + MAP] + rows[MAPS * (_HALF + k) + MAP])
    return total


@kernel
def _compare(
    image, target, slopes, sums, total, width, height, ssim_share, l1_share, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """l1_share |x - y| + ssim_share (1 - SSIM) summed by program, and d SSIM / d (blurred x, x^2, x y) into slopes [3, total]."""
    stride = width * CHANNELS
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = j // CHANNELS
    first = tl.program_id(1) * ROWS
    origin = tl.program_id(2).to(tl.int64) * height * stride + j
    zero = tl.zeros((BLOCK,), tl.float32)
    rows = (zero,) * 55
    part = zero
    for step in range(ROWS + 2 * _HALF):
        row = first + step - _HALF
        inside = (column < width) & (row >= 0) & (row < height)
        mx, my, xx, yy, xy = zero, zero, zero, zero, zero
        for k in tl.static_range(-5, 6):
            there = inside & (column + k >= 0) & (column + k < width)
            at = origin + row * stride + k * CHANNELS
            x = tl.load(image + at, mask=there, other=0.0)
            y = tl.load(target + at, mask=there, other=0.0)
            wx, wy = _tap(k) * x, _tap(k) * y
            mx += wx
            my += wy
            xx += wx * x
            yy += wy * y
            xy += wx * y
        rows = rows[5:] + (mx, my, xx, yy, xy)  # noqa: RUF005  (Triton unpacks no tuples)
        done = row - _HALF
        if (step >= 2 * _HALF) & (done < height):
            mx, my, xx, yy, xy = (
                _down(rows, 0, 5),
                _down(rows, 1, 5),
                _down(rows, 2, 5),
                _down(rows, 3, 5),
                _down(rows, 4, 5),
            )
            a1 = 2 * mx * my + _C1
            a2 = 2 * (xy - mx * my) + _C2
            b1 = mx * mx + my * my + _C1
            b2 = xx - mx * mx + yy - my * my + _C2
            value = (a1 * a2) / (b1 * b2)
            # d value / d xy, d xx and, through the products of means, d mx.
            at = origin + done * stride
            inside = column < width
            tl.store(
                slopes + at, 2 * my * (a2 - a1) / (b1 * b2) - 2 * mx * value / b1 + 2 * mx * value / b2, mask=inside
            )
            tl.store(slopes + total + at, -value / b2, mask=inside)
            tl.store(slopes + 2 * total + at, 2 * a1 / (b1 * b2), mask=inside)
            x = tl.load(image + at, mask=inside, other=0.0)
            y = tl.load(target + at, mask=inside, other=0.0)
            part += l1_share * tl.abs(x - y) - ssim_share * tl.where(inside, value, 0.0)
    program = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    # 1 - SSIM: the 1, shared out among the programs.
    one = tl.num_programs(0) * tl.num_programs(1) * tl.num_programs(2)
    tl.store(sums + program, tl.sum(part, axis=0) + ssim_share * total / one)


@kernel
def _gradient(
    image, target, slopes, upstream, out, total, width, height, ssim_share, l1_share, CHANNELS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """d loss / d x = l1_share sign(x - y) - ssim_share (by x + 2 x by x^2 + y by x y), times ``upstream``; "by" are the blurred
    slopes."""
    stride = width * CHANNELS
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = j // CHANNELS
    first = tl.program_id(1) * ROWS
    origin = tl.program_id(2).to(tl.int64) * height * stride + j
    zero = tl.zeros((BLOCK,), tl.float32)
    rows = (zero,) * 33
    scale = tl.load(upstream)
    for step in range(ROWS + 2 * _HALF):
        row = first + step - _HALF
        inside = (column < width) & (row >= 0) & (row < height)
        by_x, by_xx, by_xy = zero, zero, zero
        for k in tl.static_range(-5, 6):
            there = inside & (column + k >= 0) & (column + k < width)
            at = origin + row * stride + k * CHANNELS
            by_x += _tap(k) * tl.load(slopes + at, mask=there, other=0.0)
            by_xx += _tap(k) * tl.load(slopes + total + at, mask=there, other=0.0)
            by_xy += _tap(k) * tl.load(slopes + 2 * total + at, mask=there, other=0.0)
        rows = rows[3:] + (by_x, by_xx, by_xy)  # noqa: RUF005
        done = row - _HALF
        if (step >= 2 * _HALF) & (done < height):
            at = origin + done * stride
            inside = column < width
            x = tl.load(image + at, mask=inside, other=0.0)
            y = tl.load(target + at, mask=inside, other=0.0)
            sign = tl.where(x > y, 1.0, tl.where(x < y, -1.0, 0.0))
            by_x, by_xx, by_xy = _down(rows, 0, 3), _down(rows, 1, 3), _down(rows, 2, 3)
            tl.store(out + at, scale * (l1_share * sign - ssim_share * (by_x + 2 * x * by_xx + y * by_xy)), mask=inside)


def _sizes(image: Tensor, ssim_weight: float) -> tuple[tuple[int, int, int], tuple, dict[str, int]]:
    """Grid, numbers and constants of both kernels."""
    batch, height, width, channels = image.shape
    grid = triton.cdiv(width * channels, _BLOCK), triton.cdiv(height, _ROWS), batch
    shares = ssim_weight / image.numel(), (1 - ssim_weight) / image.numel()
    return grid, (image.numel(), width, height, *shares), {"CHANNELS": channels, "ROWS": _ROWS, "BLOCK": _BLOCK}


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
        image, target = image.contiguous(), target.contiguous()
        grid, numbers, constants = _sizes(image, ssim_weight)
        slopes, sums = image.new_empty(3, image.numel()), image.new_empty(math.prod(grid))
        _compare[grid](image, target, slopes, sums, *numbers, **constants)
        ctx.save_for_backward(image, target, slopes)
        ctx.ssim_weight = ssim_weight
        return sums.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple:  # type: ignore[override]
        image, target, slopes = ctx.saved_tensors
        grid, numbers, constants = _sizes(image, ctx.ssim_weight)
        out = torch.empty_like(image)
        _gradient[grid](image, target, slopes, upstream.contiguous(), out, *numbers, **constants)
        return out, None, None


def photometric_loss(
    image: Float[Tensor, "b h w c"], target: Float[Tensor, "b h w c"], ssim_weight: float
) -> Float[Tensor, ""]:
    """See :func:`fourdgs_ns.training.losses.photometric_loss`; differentiable in ``image`` only. float32."""
    return _Loss.apply(image, target, ssim_weight)  # type: ignore[return-value]
