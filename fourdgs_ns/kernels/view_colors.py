"""Colours of a slice as cameras see them, straight from canonical rows, and the gradient of that.

What ``gather_harmonics`` or ``fold_colors`` followed by an evaluation of spherical harmonics gives, without writing the harmonics
of every living row to memory and reading them again, forward and backward. The twins are the representations' ``at`` with
``representation.spherical_harmonics.rgb_from_sh``.

Programs handle ROWS rows times a colour channel, padded to four. A coefficient that is not a number counts as zero.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import as_argument, call, instant, kernel
from fourdgs_ns.kernels.slicing import dense_gradients, load_rows

_ROWS = 64


@triton.jit
def _harmonic(x, y, z, B: tl.constexpr):
    """Harmonic B of a unit direction and its derivatives by x, y and z; see ``representation.spherical_harmonics.sh_basis``."""
    none = x * 0.0
    if B == 0:
        return none + 0.28209479177387814, none, none, none
    elif B == 1:
        return -0.4886025119029199 * y, none, none - 0.4886025119029199, none
    elif B == 2:
        return 0.4886025119029199 * z, none, none, none + 0.4886025119029199
    elif B == 3:
        return -0.4886025119029199 * x, none - 0.4886025119029199, none, none
    elif B == 4:
        c = 1.0925484305920792
        return c * x * y, c * y, c * x, none
    elif B == 5:
        c = 1.0925484305920792
        return -c * y * z, none, -c * z, -c * y
    elif B == 6:
        c = 0.31539156525252005
        return c * (3.0 * z * z - 1.0), none, none, 6.0 * c * z
    elif B == 7:
        c = 1.0925484305920792
        return -c * x * z, -c * z, none, -c * x
    elif B == 8:
        c = 0.5462742152960396
        return c * (x * x - y * y), 2.0 * c * x, -2.0 * c * y, none
    elif B == 9:
        c = 0.5900435899266435
        return -c * y * (3.0 * x * x - y * y), -6.0 * c * x * y, -3.0 * c * (x * x - y * y), none
    elif B == 10:
        c = 2.890611442640554
        return c * x * y * z, c * y * z, c * x * z, c * x * y
    elif B == 11:
        c = 0.4570457994644658
        return -c * y * (5.0 * z * z - 1.0), none, -c * (5.0 * z * z - 1.0), -10.0 * c * y * z
    elif B == 12:
        c = 0.3731763325901154
        return c * z * (5.0 * z * z - 3.0), none, none, c * (15.0 * z * z - 3.0)
    elif B == 13:
        c = 0.4570457994644658
        return -c * x * (5.0 * z * z - 1.0), -c * (5.0 * z * z - 1.0), none, -10.0 * c * x * z
    elif B == 14:
        c = 1.445305721320277
        return c * z * (x * x - y * y), 2.0 * c * x * z, -2.0 * c * y * z, c * (x * x - y * y)
    else:
        c = 0.5900435899266435
        return -c * x * (x * x - 3.0 * y * y), -3.0 * c * (x * x - y * y), 6.0 * c * x * y, none


@triton.jit
def _direction(means, k, inside, eyes, camera):
    """Unit vectors from a camera to places k of the slice and their inverse lengths."""
    x = tl.load(means + 3 * k, mask=inside, other=0.0) - tl.load(eyes + 3 * camera)
    y = tl.load(means + 3 * k + 1, mask=inside, other=0.0) - tl.load(eyes + 3 * camera + 1)
    z = tl.load(means + 3 * k + 2, mask=inside, other=0.0) - tl.load(eyes + 3 * camera + 2)
    inverse = 1.0 / tl.maximum(tl.sqrt(x * x + y * y + z * z), 1e-12)
    return x * inverse, y * inverse, z * inverse, inverse


@triton.jit
def _varying(varying, row, e, exists, n, B: tl.constexpr, COUNT: tl.constexpr, WAVES: tl.constexpr):
    """Coefficient of harmonic B and wave n; COUNT harmonics and WAVES waves are stored."""
    return tl.load(varying + 3 * ((WAVES * row + n) * COUNT + B) + e, mask=exists, other=0.0)


@triton.jit
def _coefficient(
    constant, rest, varying, row, e, exists, frequency, dt, B: tl.constexpr, COUNT: tl.constexpr, WAVES: tl.constexpr,
    STORED_WAVES: tl.constexpr,
):  # fmt: skip
    """Coefficient of harmonic B at this instant; COUNT harmonics are stored."""
    if B == 0:
        value = tl.load(constant + 3 * row + e, mask=exists, other=0.0)
    else:
        value = tl.load(rest + 3 * ((COUNT - 1) * row + B - 1) + e, mask=exists, other=0.0)
    for n in tl.static_range(WAVES):
        wave = tl.cos(frequency * (n + 1) * dt)[:, None]
        value += wave * _varying(varying, row, e, exists, n, B, COUNT, STORED_WAVES)
    return tl.where(value - value == 0.0, value, 0.0)


@kernel
def _forward(
    t, ids, means, eyes, centers, constant, rest, varying, out, m, frequency, CAMERAS: tl.constexpr, USED: tl.constexpr,
    COUNT: tl.constexpr, WAVES: tl.constexpr, STORED_WAVES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    i, _inside, there = load_rows(ids, k, m)
    e = tl.arange(0, 4)[None, :]
    row, exists = i[:, None], there[:, None] & (e < 3)
    dt = instant(t) - tl.load(centers + i, mask=there, other=0.0)
    for camera in range(CAMERAS):
        x, y, z, _ = _direction(means, k, there, eyes, camera)
        color = tl.zeros((ROWS, 4), tl.float32) + 0.5
        for b in tl.static_range(USED):
            basis, _, _, _ = _harmonic(x, y, z, b)
            color += basis[:, None] * _coefficient(
                constant, rest, varying, row, e, exists, frequency, dt, b, COUNT, WAVES, STORED_WAVES
            )
        tl.store(out + 3 * (camera * m + k)[:, None] + e, tl.maximum(color, 0.0), mask=exists)


@kernel
def _backward(
    t, ids, means, eyes, centers, constant, rest, varying, out, g_out,
    v_means, v_centers, v_constant, v_rest, v_varying, m, frequency, CAMERAS: tl.constexpr, USED: tl.constexpr,
    COUNT: tl.constexpr, WAVES: tl.constexpr, STORED_WAVES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    i, inside, there = load_rows(ids, k, m)
    e = tl.arange(0, 4)[None, :]
    row, exists = i[:, None], there[:, None] & (e < 3)
    dt = instant(t) - tl.load(centers + i, mask=there, other=0.0)
    mx, my, mz = dt * 0.0, dt * 0.0, dt * 0.0
    for camera in range(CAMERAS):
        place = 3 * (camera * m + k)[:, None] + e
        g = tl.load(g_out + place, mask=exists, other=0.0)
        g = tl.where(tl.load(out + place, mask=exists, other=0.0) > 0.0, g, 0.0)
        x, y, z, inverse = _direction(means, k, there, eyes, camera)
        gx, gy, gz = dt * 0.0, dt * 0.0, dt * 0.0
        for b in tl.static_range(1, USED):
            coefficient = _coefficient(
                constant, rest, varying, row, e, exists, frequency, dt, b, COUNT, WAVES, STORED_WAVES
            )
            along = tl.sum(g * coefficient, axis=1)
            _, sx, sy, sz = _harmonic(x, y, z, b)
            gx, gy, gz = gx + sx * along, gy + sy * along, gz + sz * along
        # Only what turns the direction counts; its length does not.
        radial = gx * x + gy * y + gz * z
        mx, my, mz = (
            mx + inverse * (gx - radial * x),
            my + inverse * (gy - radial * y),
            mz + inverse * (gz - radial * z),
        )
    tl.store(v_means + 3 * k, tl.where(there, mx, 0.0), mask=inside)
    tl.store(v_means + 3 * k + 1, tl.where(there, my, 0.0), mask=inside)
    tl.store(v_means + 3 * k + 2, tl.where(there, mz, 0.0), mask=inside)
    v_center = dt * 0.0
    for b in tl.static_range(USED):
        total = tl.zeros((ROWS, 4), tl.float32)
        for camera in range(CAMERAS):
            place = 3 * (camera * m + k)[:, None] + e
            g = tl.load(g_out + place, mask=exists, other=0.0)
            g = tl.where(tl.load(out + place, mask=exists, other=0.0) > 0.0, g, 0.0)
            x, y, z, _ = _direction(means, k, there, eyes, camera)
            basis, _, _, _ = _harmonic(x, y, z, b)
            total += basis[:, None] * g
        if b == 0:
            tl.store(v_constant + 3 * row + e, total, mask=exists)
        else:
            tl.store(v_rest + 3 * ((COUNT - 1) * row + b - 1) + e, total, mask=exists)
        for n in tl.static_range(WAVES):
            angle = frequency * (n + 1) * dt
            where = 3 * ((STORED_WAVES * row + n) * COUNT + b) + e
            tl.store(v_varying + where, tl.cos(angle)[:, None] * total, mask=exists)
            slope = tl.sum(total * _varying(varying, row, e, exists, n, b, COUNT, STORED_WAVES), axis=1)
            v_center += frequency * (n + 1) * tl.sin(angle) * slope
    if WAVES > 0:
        tl.store(v_centers + i, v_center, mask=there)


class _Colors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, t: float | Tensor, ids: Tensor, means: Tensor, eyes: Tensor, used: int, waves: int, frequency: float,
        *params: Tensor,
    ) -> Tensor:  # fmt: skip
        m, cameras = ids.shape[0], eyes.shape[0]
        out = means.new_empty(cameras, m, 3)
        _, _, rest, varying = params
        ctx.sizes = {
            "CAMERAS": cameras, "USED": used, "COUNT": 1 + rest.shape[1], "WAVES": waves,
            "STORED_WAVES": varying.shape[1], "ROWS": _ROWS,
        }  # fmt: skip
        ctx.numbers = m, frequency
        if m:
            _forward[(triton.cdiv(m, _ROWS),)](t, ids, means, eyes, *params, out, *ctx.numbers, **ctx.sizes)
        ctx.save_for_backward(ids, means, eyes, out, *params)
        ctx.t = t
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:  # type: ignore[override]
        ids, means, eyes, out, *params = ctx.saved_tensors
        m = ids.shape[0]
        # Coefficients that no degree has reached yet get no gradient at all: no zeros to clear, nothing for Adam to do.
        wanted = [ctx.sizes["WAVES"] > 0, True, ctx.sizes["USED"] > 1, ctx.sizes["WAVES"] > 0]
        dense = iter(dense_gradients([p for p, is_wanted in zip(params, wanted) if is_wanted]))
        gradients = [next(dense) if is_wanted else None for is_wanted in wanted]
        v_means = torch.empty_like(means)
        if m:
            # A pointer that nothing writes to stands for those that are not wanted.
            outgoing = [v_means if x is None else x for x in gradients]
            _backward[(triton.cdiv(m, _ROWS),)](
                ctx.t, ids, means, eyes, *params, out, g.contiguous(), v_means, *outgoing, *ctx.numbers, **ctx.sizes
            )
        return None, None, v_means, None, None, None, None, *gradients


def view_colors(
    t: float | Tensor,
    ids: Int[Tensor, " m"],
    means: Float[Tensor, "m 3"],
    eyes: Float[Tensor, "c 3"],
    constant: Float[Tensor, "n 3"],
    rest: Float[Tensor, "n r 3"] | None,
    used: int,
    *,
    centers: Float[Tensor, "n 1"] | None = None,
    varying: Float[Tensor, "n w k 3"] | None = None,
    waves: int = 0,
    frequency: float = 0.0,
) -> Float[Tensor, "m c 3"]:
    """RGB of rows ``ids`` (unique, or -1 for none: undefined), which lie at ``means``, as cameras at ``eyes`` see them at ``t``.

    The first ``used`` of the harmonics ``constant`` and ``rest`` count; the first ``waves`` of ``varying`` are added with the
    weights cos(n frequency (t - center)), n = 1, 2, ...  Differentiable in ``means`` and all rows. The layout in memory is
    [c, m, 3].
    """
    if rest is None:
        rest = constant.new_empty(constant.shape[0], 0, 3)
    if varying is None:
        varying = constant.new_empty(constant.shape[0], 0, 0, 3)
    centers = constant if centers is None else centers
    return call(
        _Colors,  # type: ignore[return-value]
        as_argument(t),
        ids,
        means.contiguous(),
        eyes.contiguous(),
        used,
        waves,
        frequency,
        centers,
        constant,
        rest,
        varying,
    ).transpose(0, 1)
