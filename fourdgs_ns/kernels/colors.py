"""Affine colours per camera and their gradient, one kernel each; the twin is CameraColors.forward."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel
from fourdgs_ns.kernels.slicing import dense_gradients

_BLOCK = 256
_CHUNKS = 16


@kernel
def _apply(image, matrices, offsets, cameras, out, pixels, BLOCK: tl.constexpr):
    """One image per second program axis: out = x + A x + b."""
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = p < pixels
    camera = tl.load(cameras + tl.program_id(1))
    at = 3 * (tl.program_id(1).to(tl.int64) * pixels + p)
    for i in tl.static_range(3):
        value = tl.load(image + at + i, mask=inside, other=0.0) + tl.load(offsets + 3 * camera + i)
        for j in tl.static_range(3):
            value += tl.load(matrices + 9 * camera + 3 * i + j) * tl.load(image + at + j, mask=inside, other=0.0)
        tl.store(out + at + i, value, mask=inside)


@kernel
def _gradient(
    image,
    matrices,
    cameras,
    upstream,
    v_image,
    v_matrices,
    v_offsets,
    pixels,
    CHUNKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """v_x = g + A^T g, v_A = sum over pixels of g x^T, v_b = sum of g. The sums are exact to the order of addition."""
    camera = tl.load(cameras + tl.program_id(1))
    zero = tl.zeros((BLOCK,), tl.float32)
    sums = (zero,) * 12
    for chunk in range(CHUNKS):
        p = (tl.program_id(0) * CHUNKS + chunk) * BLOCK + tl.arange(0, BLOCK)
        inside = p < pixels
        at = 3 * (tl.program_id(1).to(tl.int64) * pixels + p)
        x, y, z = (
            tl.load(image + at, mask=inside, other=0.0),
            tl.load(image + at + 1, mask=inside, other=0.0),
            tl.load(image + at + 2, mask=inside, other=0.0),
        )
        r, g, b = (
            tl.load(upstream + at, mask=inside, other=0.0),
            tl.load(upstream + at + 1, mask=inside, other=0.0),
            tl.load(upstream + at + 2, mask=inside, other=0.0),
        )
        for j in tl.static_range(3):
            column = matrices + 9 * camera + j
            back = tl.load(column) * r + tl.load(column + 3) * g + tl.load(column + 6) * b
            tl.store(v_image + at + j, back + (r if j == 0 else (g if j == 1 else b)), mask=inside)
        sums = (
            sums[0] + r * x, sums[1] + r * y, sums[2] + r * z,
            sums[3] + g * x, sums[4] + g * y, sums[5] + g * z,
            sums[6] + b * x, sums[7] + b * y, sums[8] + b * z,
            sums[9] + r, sums[10] + g, sums[11] + b,
        )  # fmt: skip
    # Everybody adds to the same dozen numbers, one after the other: better seldom.
    for n in tl.static_range(9):
        tl.atomic_add(v_matrices + 9 * camera + n, tl.sum(sums[n], axis=0))
    for n in tl.static_range(3):
        tl.atomic_add(v_offsets + 3 * camera + n, tl.sum(sums[9 + n], axis=0))


class _CameraColors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, matrices: Tensor, offsets: Tensor, cameras: Tensor) -> Tensor:
        image, out = image.contiguous(), torch.empty_like(image, memory_format=torch.contiguous_format)
        pixels = image.shape[1] * image.shape[2]
        _apply[(triton.cdiv(pixels, _BLOCK), len(image))](image, matrices, offsets, cameras, out, pixels, BLOCK=_BLOCK)
        ctx.save_for_backward(image, matrices, offsets, cameras)
        return out

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple:  # type: ignore[override]
        image, matrices, offsets, cameras = ctx.saved_tensors
        v_image, (v_matrices, v_offsets) = torch.empty_like(image), dense_gradients((matrices, offsets))
        pixels = image.shape[1] * image.shape[2]
        _gradient[(triton.cdiv(pixels, _CHUNKS * _BLOCK), len(image))](
            image, matrices, cameras, upstream.contiguous(), v_image, v_matrices, v_offsets, pixels, CHUNKS=_CHUNKS,
            BLOCK=_BLOCK,
        )  # fmt: skip
        return v_image, v_matrices, v_offsets, None


def camera_colors(
    image: Float[Tensor, "b h w 3"],
    matrices: Float[Tensor, "n 3 3"],
    offsets: Float[Tensor, "n 3"],
    cameras: Int[Tensor, " b"],
) -> Float[Tensor, "b h w 3"]:
    """See :class:`fourdgs_ns.corrections.colors.CameraColors`; float32, everything on one device."""
    return _CameraColors.apply(image, matrices, offsets, cameras)  # type: ignore[return-value]
