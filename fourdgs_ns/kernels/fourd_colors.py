"""Folding harmonics over view and time at one instant into ordinary ones, and the gradient of that.

colour = constant + rest + sum over n of cos(2 pi n dt / period) varying_n; only coefficients of the degrees in use and of the
rows asked for are read. A program handles some rows times the coefficients of one, padded to a power of two.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fourdgs_ns.kernels.launch import kernel

TILE = 1024
"""Numbers per program."""


@triton.jit
def _places(ids, m, COUNT: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr):
    """This program's places in the slice [ROWS], their rows [ROWS] and [ROWS, 1], the coefficients [1, PADDED], what exists."""
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.arange(0, PADDED)[None, :]
    i = tl.load(ids + k, mask=k < m, other=0)
    return k, i, i[:, None], e, (k < m)[:, None] & (e < COUNT)


@kernel
def fold(
    t, ids, centers, constant, rest, varying, out, m, frequency, COUNT: tl.constexpr, PADDED: tl.constexpr,
    STORED: tl.constexpr, WAVES: tl.constexpr, STORED_WAVES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Ordinary harmonics ``out`` [m, COUNT] of rows ``ids`` at ``t``; a row of ``varying`` is [STORED_WAVES, STORED]."""
    k, i, row, e, inside = _places(ids, m, COUNT, PADDED, ROWS)
    value = tl.load(constant + 3 * row + e, mask=inside & (e < 3), other=0.0)
    value += tl.load(rest + (STORED - 3) * row + (e - 3), mask=inside & (e >= 3), other=0.0)
    dt = t - tl.load(centers + i, mask=k < m, other=0.0)
    for n in tl.static_range(WAVES):
        wave = tl.cos(frequency * (n + 1) * dt)
        value += wave[:, None] * tl.load(varying + STORED_WAVES * STORED * row + n * STORED + e, mask=inside, other=0.0)
    # A colour that is not a number is drawn as grey, not over the whole picture.
    tl.store(out + COUNT * k[:, None] + e, tl.where(value - value == 0.0, value, 0.0), mask=inside)


@kernel
def unfold(
    t, ids, centers, varying, gradient, v_centers, v_constant, v_rest, v_varying, m, frequency, COUNT: tl.constexpr,
    PADDED: tl.constexpr, STORED: tl.constexpr, WAVES: tl.constexpr, STORED_WAVES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Gradients of the coefficients and, where there are waves, of the temporal centres."""
    k, i, row, e, inside = _places(ids, m, COUNT, PADDED, ROWS)
    g = tl.load(gradient + COUNT * k[:, None] + e, mask=inside, other=0.0)
    tl.store(v_constant + 3 * row + e, g, mask=inside & (e < 3))
    tl.store(v_rest + (STORED - 3) * row + (e - 3), g, mask=inside & (e >= 3))
    if WAVES > 0:
        dt = t - tl.load(centers + i, mask=k < m, other=0.0)
        v_center = dt * 0.0
        for n in tl.static_range(WAVES):
            angle = frequency * (n + 1) * dt
            where = STORED_WAVES * STORED * row + n * STORED + e
            tl.store(v_varying + where, tl.cos(angle)[:, None] * g, mask=inside)
            total = tl.sum(g * tl.load(varying + where, mask=inside, other=0.0), axis=1)
            v_center += frequency * (n + 1) * tl.sin(angle) * total
        tl.store(v_centers + i, v_center, mask=k < m)
