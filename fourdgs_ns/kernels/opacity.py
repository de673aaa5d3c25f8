"""The opacity regulariser and its gradient, one kernel each; the twin is losses.opacity_regularizer."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel

_BLOCK = 1024


@kernel
def _sum(ids, opacities, weights, sums, m, factor, BLOCK: tl.constexpr):
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < m
    i = tl.load(ids + k, mask=inside, other=0)
    peak = 1.0 / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    weight = tl.load(weights + k, mask=inside, other=0.0)
    tl.store(sums + tl.program_id(0), factor * tl.sum(peak * weight, axis=0))


@kernel
def _gradient(ids, opacities, weights, upstream, v_opacities, m, factor, BLOCK: tl.constexpr):
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < m
    i = tl.load(ids + k, mask=inside, other=0)
    logit = tl.load(opacities + i, mask=inside, other=0.0)
    # As a difference from 1 what is left over of a high peak would lose its digits.
    peak, rest = 1.0 / (1.0 + tl.exp(-logit)), 1.0 / (1.0 + tl.exp(logit))
    weight = tl.load(weights + k, mask=inside, other=0.0)
    tl.store(v_opacities + i, tl.load(upstream) * factor * weight * peak * rest, mask=inside)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, opacities: Tensor, ids: Tensor, weights: Tensor, factor: float) -> Tensor:
        grid = (triton.cdiv(len(ids), _BLOCK),)
        ids, weights, sums = ids.contiguous(), weights.contiguous(), opacities.new_empty(grid)
        if len(ids):
            _sum[grid](ids, opacities, weights, sums, len(ids), factor, BLOCK=_BLOCK)
        ctx.save_for_backward(opacities, ids, weights)
        ctx.factor = factor
        return sums.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple:  # type: ignore[override]
        opacities, ids, weights = ctx.saved_tensors
        gradient = torch.zeros_like(opacities)
        if len(ids):
            _gradient[(triton.cdiv(len(ids), _BLOCK),)](
                ids, opacities, weights, upstream.contiguous(), gradient, len(ids), ctx.factor, BLOCK=_BLOCK
            )
        return gradient, None, None, None


def sum_of_opacities(
    opacities: Float[Tensor, "n 1"], ids: Int[Tensor, " m"], weights: Float[Tensor, " m"], factor: float
) -> Float[Tensor, ""]:
    """See :func:`fourdgs_ns.training.losses.opacity_regularizer`; differentiable in ``opacities`` only. float32, ids unique."""
    return _Sum.apply(opacities, ids, weights, factor)  # type: ignore[return-value]
