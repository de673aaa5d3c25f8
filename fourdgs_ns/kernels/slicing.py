"""What all slicing kernels share: gradients of canonical rows, the Gaussians alive at t, harmonics of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.alive import AliveMarks
from fourdgs_ns.kernels.launch import as_argument, call, instant, kernel

_BLOCK = 256


@triton.jit
def load_rows(ids, k, m):
    """Rows of places k (row 0 for an id of -1, which stands for none), whether there is a place, and whether it has a row."""
    inside = k < m
    i = tl.load(ids + k, mask=inside, other=-1)
    return tl.maximum(i, 0), inside, i >= 0


@triton.jit
def out_of_sight(mean, there, AXIS: tl.constexpr):
    """Coordinate AXIS of a mean; for no row one that lies before or behind whatever any camera sees."""
    return tl.where(there, mean, 1e30 + 0.37e30 * AXIS)


def dense_gradients(params: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Zeros of the shape of every parameter, cleared by one operation."""
    sizes = [p.numel() for p in params]
    flat = torch.zeros(sum(sizes), dtype=params[0].dtype, device=params[0].device)
    return tuple(part.view_as(p) for part, p in zip(flat.split(sizes), params))


def empty_marks(n: int, run: int, device: torch.device) -> AliveMarks:
    """Room for the marks of n rows."""
    alive = torch.empty(n, dtype=torch.bool, device=device)
    return AliveMarks(alive, torch.empty(triton.cdiv(n, run), dtype=torch.int32, device=device), run)


@kernel
def _mark_alive(t, opacities, centers, log_durations, alive, counts, n, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    logit = tl.load(opacities + i, mask=inside, other=0.0)
    z = (instant(t) - tl.load(centers + i, mask=inside, other=0.0)) / tl.exp(
        tl.load(log_durations + i, mask=inside, other=0.0)
    )
    # sigmoid(o) exp(-FACTOR z^2) >= 1 / 255, in logarithms. A comparison with NaN is false: broken rows are not alive.
    log_peak = -tl.log(1.0 + tl.exp(-tl.abs(logit))) + tl.minimum(logit, 0.0)
    found = inside & (log_peak - FACTOR * z * z >= -5.541263545158426)
    tl.store(alive + i, found, mask=inside)
    tl.store(counts + tl.program_id(0), tl.sum(found.to(tl.int32), axis=0))


def mark_alive(
    t: float | Tensor,
    opacities: Float[Tensor, "n 1"],
    centers: Float[Tensor, "n 1"],
    log_durations: Float[Tensor, "n 1"],
    factor: float,
) -> AliveMarks:
    """Rows whose sigmoid(opacity) exp(-factor ((t - center) / duration)^2) reaches 1/255; not the others, nor broken ones."""
    n = opacities.shape[0]
    marks = empty_marks(n, 1024, opacities.device)
    if n:
        _mark_alive[marks.counts.shape](
            as_argument(t), opacities, centers, log_durations, marks.alive, marks.counts, n, FACTOR=factor,
            BLOCK=marks.run,
        )  # fmt: skip
    return marks


@kernel
def _list_alive(
    alive, counts, ids, total, capacity, n, runs, RUNS: tl.constexpr, LOADS: tl.constexpr, BLOCK: tl.constexpr
):
    """One program for RUNS runs of rows; all counts are read by LOADS loads."""
    first = tl.program_id(0) * RUNS
    before = tl.zeros((BLOCK,), tl.int32)
    everywhere = tl.zeros((BLOCK,), tl.int32)
    for load in range(LOADS):
        run = load * BLOCK + tl.arange(0, BLOCK)
        count = tl.load(counts + run, mask=run < runs, other=0)
        everywhere += count
        before += tl.where(run < first, count, 0)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    found = tl.load(alive + i, mask=inside, other=0).to(tl.int32)
    # How many rows up to this one are alive. The places behind the last living row go to dead ones, as -1.
    rank = tl.sum(before, axis=0) + tl.cumsum(found, axis=0)
    place = tl.where(found > 0, rank - 1, tl.sum(everywhere, axis=0) + i - rank)
    tl.store(ids + place, tl.where(found > 0, i, -1), mask=inside & (place < capacity))
    if first == 0:
        tl.store(total, tl.sum(everywhere, axis=0))


def list_alive(marks: AliveMarks, capacity: int, total: Int[Tensor, " 1"]) -> Int[Tensor, " capacity"]:
    """The first ``capacity`` (at most n) ids of living rows in their order, -1 behind the last one.

    Into ``total`` (int32; on a GPU it may be pinned host memory) goes how many there are, when the GPU comes to it.
    """
    n, runs = len(marks.alive), len(marks.counts)
    ids = torch.empty(capacity, dtype=torch.int64, device=marks.alive.device)
    _list_alive[(triton.cdiv(n, 1024),)](
        marks.alive, marks.counts, ids, total, capacity, n, runs, RUNS=1024 // marks.run,
        LOADS=triton.next_power_of_2(triton.cdiv(runs, 1024)), BLOCK=1024,
    )  # fmt: skip
    return ids


@kernel
def _gather_harmonics(ids, constant, rest, out, total, COUNT: tl.constexpr, STORED: tl.constexpr, BLOCK: tl.constexpr):
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k, within = j // COUNT, j % COUNT
    i, _, inside = load_rows(ids, k, total // COUNT)
    first = within < 3
    value = tl.load(constant + 3 * i + within, mask=inside & first, other=0.0)
    value += tl.load(rest + STORED * i + (within - 3), mask=inside & (within >= 3), other=0.0)
    # A colour that is not a number is rendered as grey, not over the whole image.
    tl.store(out + j, tl.where(value - value == 0.0, value, 0.0), mask=inside)


@kernel
def _scatter_harmonics(
    ids, gradient, v_constant, v_rest, total, COUNT: tl.constexpr, STORED: tl.constexpr, BLOCK: tl.constexpr
):
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    k, within = j // COUNT, j % COUNT
    i, _, inside = load_rows(ids, k, total // COUNT)
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
    ids: Int[Tensor, " m"], constant: Float[Tensor, "n 3"], rest: Float[Tensor, "n r 3"] | None, count: int
) -> Float[Tensor, "m k 3"]:
    """The first ``count`` harmonics of rows ``ids`` (unique, or -1 for none): the constant one, then those of ``rest``."""
    if rest is None:
        rest = constant.new_empty(constant.shape[0], 0, 3)
    return call(_Harmonics, ids, constant, rest, count)  # type: ignore[return-value]
