"""Affine colours per camera and their gradient, one kernel each; the twin is CameraColors.forward."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel
from fourdgs_ns.kernels.rows import dense_gradients

_BLOCK = 1024


@kernel
def _apply(image, matrices, offsets, cameras, out, pixels, BLOCK: tl.constexpr):
    """One picture per second program axis: out = x + A x + b."""
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
def _gradient(image, matrices, cameras, upstream, v_image, v_matrices, v_offsets, pixels, BLOCK: tl.constexpr):
    """v_x = g + A^T g, v_A = sum over pixels of g x^T, v_b = sum of g. The sums are exact to the order of addition."""
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = p < pixels
    camera = tl.load(cameras + tl.program_id(1))
    at = 3 * (tl.program_id(1).to(tl.int64) * pixels + p)
    for j in tl.static_range(3):
        x = tl.load(image + at + j, mask=inside, other=0.0)
        back = tl.load(upstream + at + j, mask=inside, other=0.0)
        tl.atomic_add(v_offsets + 3 * camera + j, tl.sum(back, axis=0))
        for i in tl.static_range(3):
            g = tl.load(upstream + at + i, mask=inside, other=0.0)
            back += tl.load(matrices + 9 * camera + 3 * i + j) * g
            tl.atomic_add(v_matrices + 9 * camera + 3 * i + j, tl.sum(g * x, axis=0))
        tl.store(v_image + at + j, back, mask=inside)


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
        _gradient[(triton.cdiv(pixels, _BLOCK), len(image))](
            image, matrices, cameras, upstream.contiguous(), v_image, v_matrices, v_offsets, pixels, BLOCK=_BLOCK
        )
        return v_image, v_matrices, v_offsets, None


def camera_colors(
    image: Float[Tensor, "b h w 3"],
    matrices: Float[Tensor, "n 3 3"],
    offsets: Float[Tensor, "n 3"],
    cameras: Int[Tensor, " b"],
) -> Float[Tensor, "b h w 3"]:
    """See :class:`fourdgs_ns.appearance.CameraColors`; float32, everything on one device."""
    return _CameraColors.apply(image, matrices, offsets, cameras)  # type: ignore[return-value]
