"""What all slicing kernels share: gradients of canonical rows, the rows alive at t, harmonics of some rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel

_BLOCK = 256


def dense_gradients(params: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Zeros of the shape of every parameter, cleared by one operation."""
    sizes = [p.numel() for p in params]
    flat = torch.zeros(sum(sizes), dtype=params[0].dtype, device=params[0].device)
    return tuple(part.view_as(p) for part, p in zip(flat.split(sizes), params))


@kernel
def _mark_alive(t, opacities, centers, log_durations, alive, n, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    logit = tl.load(opacities + i, mask=inside, other=0.0)
    z = (t - tl.load(centers + i, mask=inside, other=0.0)) / tl.exp(tl.load(log_durations + i, mask=inside, other=0.0))
    # sigmoid(o) exp(-FACTOR z^2) >= 1 / 255, in logarithms. A comparison with NaN is false: broken rows are not alive.
    log_peak = -tl.log(1.0 + tl.exp(-tl.abs(logit))) + tl.minimum(logit, 0.0)
    tl.store(alive + i, log_peak - FACTOR * z * z >= -5.541263545158426, mask=inside)


def alive_mask(
    t: float,
    opacities: Float[Tensor, "n 1"],
    centers: Float[Tensor, "n 1"],
    log_durations: Float[Tensor, "n 1"],
    factor: float,
) -> Bool[Tensor, " n"]:
    """Rows whose sigmoid(opacity) exp(-factor ((t - center) / duration)^2) reaches 1/255; not the others, nor broken ones."""
    n = opacities.shape[0]
    alive = torch.empty(n, dtype=torch.bool, device=opacities.device)
    if n:
        _mark_alive[(triton.cdiv(n, _BLOCK),)](
            float(t), opacities, centers, log_durations, alive, n, FACTOR=factor, BLOCK=_BLOCK
        )
    return alive


@kernel
def _gather_harmonics(ids, constant, rest, out, total, COUNT: tl.constexpr, STORED: tl.constexpr, BLOCK: tl.constexpr):
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < total
    k, within = j // COUNT, j % COUNT
    i = tl.load(ids + k, mask=inside, other=0)
    first = within < 3
    value = tl.load(constant + 3 * i + within, mask=inside & first, other=0.0)
    value += tl.load(rest + STORED * i + (within - 3), mask=inside & (within >= 3), other=0.0)
    # A colour that is not a number is drawn as grey, not over the whole picture.
    tl.store(out + j, tl.where(value - value == 0.0, value, 0.0), mask=inside)


@kernel
def _scatter_harmonics(
    ids, gradient, v_constant, v_rest, total, COUNT: tl.constexpr, STORED: tl.constexpr, BLOCK: tl.constexpr
):
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = j < total
    k, within = j // COUNT, j % COUNT
    i = tl.load(ids + k, mask=inside, other=0)
    value = tl.load(gradient + j, mask=inside, other=0.0)
    tl.store(v_constant + 3 * i + within, value, mask=inside & (within < 3))
    tl.store(v_rest + STORED * i + (within - 3), value, mask=inside & (within >= 3))


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, constant: Tensor, rest: Tensor, count: int) -> Tensor:
        m = ids.shape[0]
        out = constant.new_empty(m, count, 3)
        ctx.stored = rest.shape[1] * 3
        if m:
            _gather_harmonics[(triton.cdiv(out.numel(), 1024),)](
                ids, constant, rest, out, out.numel(), COUNT=3 * count, STORED=ctx.stored, BLOCK=1024
            )
        ctx.save_for_backward(ids, constant, rest)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple:  # type: ignore[override]
        ids, constant, rest = ctx.saved_tensors
        # Before the first degree is reached the others get no gradient at all: no zeros to clear, nothing for Adam to do.
        used = (constant, rest) if gradient.shape[1] > 1 else (constant,)
        gradients = dense_gradients(used)
        v_constant, v_rest = gradients[0], gradients[-1]
        if gradient.numel():
            _scatter_harmonics[(triton.cdiv(gradient.numel(), 1024),)](
                ids, gradient.contiguous(), v_constant, v_rest, gradient.numel(), COUNT=3 * gradient.shape[1],
                STORED=ctx.stored, BLOCK=1024,
            )  # fmt: skip
        return None, v_constant, v_rest if len(used) > 1 else None, None


def gather_harmonics(
    ids: Int[Tensor, " m"], constant: Float[Tensor, "n 3"], rest: Float[Tensor, "n r 3"], count: int
) -> Float[Tensor, "m k 3"]:
    """The first ``count`` harmonics of rows ``ids`` (unique): the constant one, then those of ``rest``."""
    return _Harmonics.apply(ids, constant, rest, count)  # type: ignore[return-value]
