"""One Adam step over all parameter groups in one launch.

torch's fused Adam launches once per group, after a wrapper, two profiler hooks and a step counter for each; ten groups of
Gaussians cost more than rendering them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel

_BLOCK = 2048


@dataclass(frozen=True)
class AdamTensor:
    """One tensor to update in place."""

    value: Tensor
    gradient: Tensor
    mean: Tensor
    """First moment."""
    square: Tensor
    """Second moment."""
    rate: float
    step: int
    """How many steps have been made with it, this one included."""


@kernel
def _step(table, fresh1, beta2, fresh2, eps, BLOCK: tl.constexpr):
    row = tl.program_id(1)
    count = tl.load(table + 7 * row + 4)
    first = tl.program_id(0).to(tl.int64) * BLOCK
    if first < count:
        i = first + tl.arange(0, BLOCK)
        inside = i < count
        value = tl.load(table + 7 * row).to(tl.pointer_type(tl.float32))
        gradient = tl.load(table + 7 * row + 1).to(tl.pointer_type(tl.float32))
        mean = tl.load(table + 7 * row + 2).to(tl.pointer_type(tl.float32))
        square = tl.load(table + 7 * row + 3).to(tl.pointer_type(tl.float32))
        size = tl.load(table + 7 * row + 5).to(tl.float64, bitcast=True).to(tl.float32)
        root = tl.load(table + 7 * row + 6).to(tl.float64, bitcast=True).to(tl.float32)
        g = tl.load(gradient + i, mask=inside, other=0.0)
        m = tl.load(mean + i, mask=inside, other=0.0)
        v = tl.load(square + i, mask=inside, other=0.0)
        m += fresh1 * (g - m)
        v = beta2 * v + fresh2 * g * g
        tl.store(mean + i, m, mask=inside)
        tl.store(square + i, v, mask=inside)
        p = tl.load(value + i, mask=inside, other=0.0)
        tl.store(value + i, p - size * m / (tl.sqrt(v) * root + eps), mask=inside)


def adam_step(tensors: Sequence[AdamTensor], *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-15) -> None:
    """Adam (Kingma and Ba, 2015, algorithm 1) on every tensor; contiguous float32 on one device."""
    tensors = [x for x in tensors if x.value.numel()]
    if not tensors:
        return
    device = tensors[0].value.device
    # Addresses and numbers travel in one table.
    table = torch.empty(len(tensors), 7, dtype=torch.int64, pin_memory=device.type == "cuda")
    table[:, :5] = torch.tensor(
        [[*(y.data_ptr() for y in (x.value, x.gradient, x.mean, x.square)), x.value.numel()] for x in tensors]
    )
    table.view(torch.float64)[:, 5:] = torch.tensor(
        [[x.rate / (1 - beta1**x.step), (1 - beta2**x.step) ** -0.5] for x in tensors], dtype=torch.float64
    )
    table = table.to(device, non_blocking=True)
    # 1 - beta is computed here: in the float32 of the kernel it would lose its last digits.
    most = max(x.value.numel() for x in tensors)
    _step[(triton.cdiv(most, _BLOCK), len(tensors))](table, 1 - beta1, beta2, 1 - beta2, eps, BLOCK=_BLOCK)
