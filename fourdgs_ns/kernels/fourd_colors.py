"""Folding harmonics over view and time at one instant into ordinary ones, and the gradient of that.

colour = constant + rest + sum over n of cos(2 pi n dt / period) varying_n; only coefficients of the degrees in use and of the
rows asked for are read. A program handles some rows times the coefficients of one, padded to a power of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import ParameterDict

from fourdgs_ns.kernels.launch import as_argument, call, instant, kernel
from fourdgs_ns.kernels.slicing import dense_gradients, load_rows

_TILE = 1024
"""Numbers per program."""
COLORS = ("temporal_centers", "features_dc", "features_rest", "features_time")
"""Canonical parameters that the kernels read, in their order; the last two may be absent."""


@dataclass(frozen=True)
class Options:
    """What a slice depends on beside its rows."""

    harmonics: int
    """Harmonics of the view that are used, (degree + 1)^2."""
    waves: int
    """Cosines that are used."""
    frequency: float
    """2 pi over the period of the first cosine, 1 / t."""
    static_mark: float
    """Temporal scale from which a row is static."""
    max_temporal_scale: float
    """Bound of the temporal scale of the others."""


@triton.jit
def _places(ids, m, COUNT: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr):
    """This program's places in the slice [ROWS], their rows [ROWS] and [ROWS, 1], whether there is one [ROWS], the coefficients
    [1, PADDED], and what exists [ROWS, PADDED]."""
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.arange(0, PADDED)[None, :]
    i, _, there = load_rows(ids, k, m)
    return k, i, i[:, None], there, e, there[:, None] & (e < COUNT)


@kernel
def _fold(
    t, ids, centers, constant, rest, varying, out, m, frequency, COUNT: tl.constexpr, PADDED: tl.constexpr,
    STORED: tl.constexpr, WAVES: tl.constexpr, STORED_WAVES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Ordinary harmonics ``out`` [m, COUNT] of rows ``ids`` at ``t``; a row of ``varying`` is [STORED_WAVES, STORED]."""
    k, i, row, there, e, inside = _places(ids, m, COUNT, PADDED, ROWS)
    value = tl.load(constant + 3 * row + e, mask=inside & (e < 3), other=0.0)
    value += tl.load(rest + (STORED - 3) * row + (e - 3), mask=inside & (e >= 3), other=0.0)
    dt = instant(t) - tl.load(centers + i, mask=there, other=0.0)
    for n in tl.static_range(WAVES):
        wave = tl.cos(frequency * (n + 1) * dt)
        value += wave[:, None] * tl.load(varying + STORED_WAVES * STORED * row + n * STORED + e, mask=inside, other=0.0)
    # A colour that is not a number is rendered as grey, not over the whole image.
    tl.store(out + COUNT * k[:, None] + e, tl.where(value - value == 0.0, value, 0.0), mask=inside)


@kernel
def _unfold(
    t, ids, centers, varying, gradient, v_centers, v_constant, v_rest, v_varying, m, frequency, COUNT: tl.constexpr,
    PADDED: tl.constexpr, STORED: tl.constexpr, WAVES: tl.constexpr, STORED_WAVES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Gradients of the coefficients and, where there are waves, of the temporal centres."""
    k, i, row, there, e, inside = _places(ids, m, COUNT, PADDED, ROWS)
    g = tl.load(gradient + COUNT * k[:, None] + e, mask=inside, other=0.0)
    tl.store(v_constant + 3 * row + e, g, mask=inside & (e < 3))
    tl.store(v_rest + (STORED - 3) * row + (e - 3), g, mask=inside & (e >= 3))
    if WAVES > 0:
        dt = instant(t) - tl.load(centers + i, mask=there, other=0.0)
        v_center = dt * 0.0
        for n in tl.static_range(WAVES):
            angle = frequency * (n + 1) * dt
            where = STORED_WAVES * STORED * row + n * STORED + e
            tl.store(v_varying + where, tl.cos(angle)[:, None] * g, mask=inside)
            total = tl.sum(g * tl.load(varying + where, mask=inside, other=0.0), axis=1)
            v_center += frequency * (n + 1) * tl.sin(angle) * total
        tl.store(v_centers + i, v_center, mask=there)


class _Fold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: float | Tensor, options: Options, ids: Tensor, *params: Tensor) -> Tensor:
        m, count = ids.shape[0], 3 * options.harmonics
        _, constant, rest, varying = params
        features = constant.new_empty(m, options.harmonics, 3)
        padded = triton.next_power_of_2(count)
        ctx.sizes = {
            "COUNT": count, "PADDED": padded, "STORED": 3 * (1 + rest.shape[1]), "WAVES": options.waves,
            "STORED_WAVES": varying.shape[1], "ROWS": _TILE // padded,
        }  # fmt: skip
        if m:
            _fold[(triton.cdiv(m, ctx.sizes["ROWS"]),)](t, ids, *params, features, m, options.frequency, **ctx.sizes)
        ctx.save_for_backward(ids, *params)
        ctx.t, ctx.options = t, options
        return features

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:  # type: ignore[override]
        ids, *params = ctx.saved_tensors
        options, m = ctx.options, ids.shape[0]
        # Coefficients that no degree has reached yet get no gradient at all: no zeros to clear, nothing for Adam to do.
        used = options.waves > 0, True, options.harmonics > 1, options.waves > 0
        dense = iter(dense_gradients([p for p, wanted in zip(params, used) if wanted]))
        gradients = [next(dense) if wanted else None for wanted in used]
        if m:
            # A pointer that nothing reads or writes stands for those that are unused.
            outgoing = [gradients[1] if x is None else x for x in gradients]
            _unfold[(triton.cdiv(m, ctx.sizes["ROWS"]),)](
                ctx.t, ids, params[0], params[3], g.contiguous(), *outgoing, m, options.frequency, **ctx.sizes
            )
        return None, None, None, *gradients


def fold_colors(
    t: float | Tensor, ids: Int[Tensor, " m"], params: Mapping[str, Tensor] | ParameterDict, options: Options
) -> Float[Tensor, "m k 3"]:
    """Ordinary harmonics of rows ``ids`` (unique, or -1 for none) at ``t``; differentiable in :data:`COLORS`."""
    missing = params["features_dc"].new_empty(params["features_dc"].shape[0], 0, 3)
    tensors = (params.get(name, missing) for name in COLORS)
    return call(_Fold, as_argument(t), options, ids, *tensors)  # type: ignore[return-value]
