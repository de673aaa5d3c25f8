"""Slicing 4D Gaussians, and the gradient of that; colours are folded by ``fourd_colors``; the twin is FourDRepresentation.at.

A vector of space-time is the quaternion t + z i + y j + x k (see ``representation.rotations4d``), so that axis a of a Gaussian is
the Hamilton product l e conj(r) with e = k, j, i, 1 for a = x, y, z, t. With M_a the axes times their sizes, m_a their parts in
space and tau_a those in time,

    V = sum of tau_a^2,  v = sum of m_a tau_a / V,  A_a = m_a - v tau_a,  C = sum of A_a A_a^T

are the variance in time, the velocity and the covariance at one instant. C does not change with v, because the sum of A_a tau_a
vanishes; the gradient of v therefore comes from the mean alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import ParameterDict

from fourdgs_ns.kernels.alive import AliveMarks
from fourdgs_ns.kernels.fourd_colors import Options
from fourdgs_ns.kernels.launch import as_argument, call, instant, kernel
from fourdgs_ns.kernels.slicing import dense_gradients, empty_marks, load_rows, out_of_sight

_BLOCK = 128
_TINY = tl.constexpr(1e-12)
_LOG_THRESHOLD = tl.constexpr(-5.541263545158426)  # log(1 / 255)

GEOMETRY = ("means", "scales", "left_quats", "right_quats", "opacities", "temporal_centers", "temporal_scales")
"""Canonical parameters that the kernels read, in their order."""


@triton.jit
def _product(a0, a1, a2, a3, b0, b1, b2, b3):
    """Hamilton product of two quaternions, real part first."""
    return (
        a0 * b0 - a1 * b1 - a2 * b2 - a3 * b3,
        a0 * b1 + a1 * b0 + a2 * b3 - a3 * b2,
        a0 * b2 - a1 * b3 + a2 * b0 + a3 * b1,
        a0 * b3 + a1 * b2 - a2 * b1 + a3 * b0,
    )


@triton.jit
def _basis_times(b0, b1, b2, b3, E: tl.constexpr):
    """Basis quaternion E times another one."""
    if E == 0:  # noqa: SIM116  (Triton knows no dictionaries)
        return b0, b1, b2, b3
    elif E == 1:
        return -b1, b0, -b3, b2
    elif E == 2:
        return -b2, b3, b0, -b1
    else:
        return -b3, -b2, b1, b0


@triton.jit
def _conjugate_basis_times(b0, b1, b2, b3, E: tl.constexpr):
    """Conjugate of basis quaternion E times another quaternion."""
    if E == 0:
        return b0, b1, b2, b3
    else:
        return _basis_times(-b0, -b1, -b2, -b3, E)


@triton.jit
def _axis(l0, l1, l2, l3, r0, r1, r2, r3, A: tl.constexpr):
    """Parts in t, z, y, x of axis A (0 for x to 3 for t) of the rotation by two unit quaternions."""
    u0, u1, u2, u3 = _basis_times(r0, -r1, -r2, -r3, 3 - A)
    return _product(l0, l1, l2, l3, u0, u1, u2, u3)


@triton.jit
def _load_quaternion(quats, i, inside):
    """A unit quaternion and the inverse length that it was stored with."""
    a = tl.load(quats + 4 * i, mask=inside, other=1.0)
    b = tl.load(quats + 4 * i + 1, mask=inside, other=0.0)
    c = tl.load(quats + 4 * i + 2, mask=inside, other=0.0)
    d = tl.load(quats + 4 * i + 3, mask=inside, other=0.0)
    inverse = 1.0 / tl.maximum(tl.sqrt(a * a + b * b + c * c + d * d), _TINY)
    return a * inverse, b * inverse, c * inverse, d * inverse, inverse


@triton.jit
def _load_size(scales, temporal, i, inside, A: tl.constexpr):
    """Standard deviation along axis A; ``temporal`` is the logarithm of the last one."""
    if A == 3:
        return tl.exp(temporal)
    else:
        return tl.exp(tl.load(scales + 3 * i + A, mask=inside, other=0.0))


@triton.jit
def _load_vector(vectors, i, inside):
    """Row i of an array [n, 3]."""
    x = tl.load(vectors + 3 * i, mask=inside, other=0.0)
    y = tl.load(vectors + 3 * i + 1, mask=inside, other=0.0)
    return x, y, tl.load(vectors + 3 * i + 2, mask=inside, other=0.0)


@triton.jit
def _store_vector(vectors, i, x, y, z, inside):
    tl.store(vectors + 3 * i, x, mask=inside)
    tl.store(vectors + 3 * i + 1, y, mask=inside)
    tl.store(vectors + 3 * i + 2, z, mask=inside)


@triton.jit
def _load_symmetric(matrices, k, inside):
    """Upper triangle of the sum of a matrix [3, 3] and its transpose."""
    xx, xy, xz = _load_vector(matrices, 3 * k, inside)
    yx, yy, yz = _load_vector(matrices, 3 * k + 1, inside)
    zx, zy, zz = _load_vector(matrices, 3 * k + 2, inside)
    return 2.0 * xx, xy + yx, xz + zx, 2.0 * yy, yz + zy, 2.0 * zz


@triton.jit
def _load_shape(scales, left, right, temporal_scales, i, inside, mark, limit):
    """What rows are made of: whether they are static, the logarithm of the size in time as stored and as used, both unit
    quaternions with their inverse lengths (a static row's left one stands for the right one, too), variance in time, velocity."""
    raw = tl.load(temporal_scales + i, mask=inside, other=0.0)
    static = raw >= mark
    temporal = tl.where(static, 0.0, tl.minimum(raw, limit))
    l0, l1, l2, l3, left_inverse = _load_quaternion(left, i, inside)
    r0, r1, r2, r3, right_inverse = _load_quaternion(right, i, inside & (static == 0))
    r0, r1 = tl.where(static, l0, r0), tl.where(static, l1, r1)
    r2, r3 = tl.where(static, l2, r2), tl.where(static, l3, r3)
    variance, vx, vy, vz = l0 * 0.0, l0 * 0.0, l0 * 0.0, l0 * 0.0
    for a in tl.static_range(4):
        tau, z, y, x = _axis(l0, l1, l2, l3, r0, r1, r2, r3, a)
        size = _load_size(scales, temporal, i, inside, a)
        tau *= size
        variance += tau * tau
        vx += size * x * tau
        vy += size * y * tau
        vz += size * z * tau
    vx, vy, vz = vx / variance, vy / variance, vz / variance
    return static, raw, temporal, l0, l1, l2, l3, left_inverse, r0, r1, r2, r3, right_inverse, variance, vx, vy, vz


@kernel
def _mark_alive(
    t, scales, left, right, opacities, centers, temporal_scales, alive, counts, n, mark, limit, BLOCK: tl.constexpr
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    logit = tl.load(opacities + i, mask=inside, other=0.0)
    raw = tl.load(temporal_scales + i, mask=inside, other=0.0)
    dt = instant(t) - tl.load(centers + i, mask=inside, other=0.0)
    static = raw >= mark
    temporal = tl.minimum(raw, limit)
    log_peak = -tl.log(1.0 + tl.exp(-tl.abs(logit))) + tl.minimum(logit, 0.0)
    # sigmoid(o) exp(-dt^2 / 2V) >= 1 / 255 means V (log_peak - log_threshold) >= dt^2 / 2. No V exceeds the square of the largest
    # size: most dead rows are known by it and their quaternions are not read. A comparison with NaN is false.
    room, needed = log_peak - _LOG_THRESHOLD, 0.5 * dt * dt
    s0 = _load_size(scales, temporal, i, inside, 0)
    s1 = _load_size(scales, temporal, i, inside, 1)
    s2 = _load_size(scales, temporal, i, inside, 2)
    s3 = tl.exp(temporal)
    largest = tl.maximum(tl.maximum(s0, s1), tl.maximum(s2, s3))
    unsure = inside & (room >= 0.0) & (static == 0) & (1.001 * largest * largest * room >= needed)
    l0, l1, l2, l3, _ = _load_quaternion(left, i, unsure)
    r0, r1, r2, r3, _ = _load_quaternion(right, i, unsure)
    variance = tl.zeros((BLOCK,), tl.float32)
    for a in tl.static_range(4):
        tau, _, _, _ = _axis(l0, l1, l2, l3, r0, r1, r2, r3, a)
        tau *= _load_size(scales, temporal, i, unsure, a)
        variance += tau * tau
    found = (unsure & (variance * room >= needed)) | (inside & static & (room >= 0.0))
    tl.store(alive + i, found, mask=inside)
    tl.store(counts + tl.program_id(0), tl.sum(found.to(tl.int32), axis=0))


@kernel
def _forward(
    t, ids, means, scales, left, right, opacities, centers, temporal_scales,
    out_means, out_velocities, out_covariances, out_opacities, out_weights, m, mark, limit, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, inside, there = load_rows(ids, k, m)
    static, _, temporal, l0, l1, l2, l3, _, r0, r1, r2, r3, _, variance, vx, vy, vz = _load_shape(
        scales, left, right, temporal_scales, i, inside, mark, limit
    )
    xx, xy, xz, yy, yz, zz = l0 * 0.0, l0 * 0.0, l0 * 0.0, l0 * 0.0, l0 * 0.0, l0 * 0.0
    for a in tl.static_range(4):
        tau, z, y, x = _axis(l0, l1, l2, l3, r0, r1, r2, r3, a)
        size = _load_size(scales, temporal, i, inside, a)
        x, y, z = size * (x - vx * tau), size * (y - vy * tau), size * (z - vz * tau)
        xx += x * x
        xy += x * y
        xz += x * z
        yy += y * y
        yz += y * z
        zz += z * z
    dt = instant(t) - tl.load(centers + i, mask=inside, other=0.0)
    weight = tl.where(static, 1.0, tl.exp(-0.5 * dt * dt / variance))
    vx, vy, vz = tl.where(static, 0.0, vx), tl.where(static, 0.0, vy), tl.where(static, 0.0, vz)
    mx, my, mz = _load_vector(means, i, inside)
    mx, my, mz = mx + dt * vx, my + dt * vy, mz + dt * vz
    opacity = weight / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    # A row that is not finite is rendered nowhere: with opacity 0 rasterizers skip it. Infinity minus itself is NaN, too.
    total = mx + my + mz + xx + xy + xz + yy + yz + zz + opacity
    fine = total - total == 0.0
    tl.store(out_opacities + k, tl.where(fine, opacity, 0.0), mask=inside)
    tl.store(out_weights + k, tl.where(fine, weight, 0.0), mask=inside)
    mx, my, mz = tl.where(fine, mx, 0.0), tl.where(fine, my, 0.0), tl.where(fine, mz, 0.0)
    vx, vy, vz = tl.where(fine, vx, 0.0), tl.where(fine, vy, 0.0), tl.where(fine, vz, 0.0)
    xx, xy, xz = tl.where(fine, xx, 0.0), tl.where(fine, xy, 0.0), tl.where(fine, xz, 0.0)
    yy, yz, zz = tl.where(fine, yy, 0.0), tl.where(fine, yz, 0.0), tl.where(fine, zz, 0.0)
    mx, my, mz = out_of_sight(mx, there, 0), out_of_sight(my, there, 1), out_of_sight(mz, there, 2)
    _store_vector(out_means, k, mx, my, mz, inside)
    _store_vector(out_velocities, k, vx, vy, vz, inside)
    _store_vector(out_covariances, 3 * k, xx, xy, xz, inside)
    _store_vector(out_covariances, 3 * k + 1, xy, yy, yz, inside)
    _store_vector(out_covariances, 3 * k + 2, xz, yz, zz, inside)


@triton.jit
def _store_quaternion_gradient(v_quats, i, inside, q0, q1, q2, q3, inverse, g0, g1, g2, g3):
    """Gradient of a stored quaternion from that of its unit quaternion."""
    along = q0 * g0 + q1 * g1 + q2 * g2 + q3 * g3
    tl.store(v_quats + 4 * i, (g0 - along * q0) * inverse, mask=inside)
    tl.store(v_quats + 4 * i + 1, (g1 - along * q1) * inverse, mask=inside)
    tl.store(v_quats + 4 * i + 2, (g2 - along * q2) * inverse, mask=inside)
    tl.store(v_quats + 4 * i + 3, (g3 - along * q3) * inverse, mask=inside)


@kernel
def _backward(
    t, ids, scales, left, right, opacities, centers, temporal_scales, g_means, g_covariances, g_opacities,
    v_means, v_scales, v_left, v_right, v_opacities, v_centers, v_temporal_scales, m, mark, limit, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, _, inside = load_rows(ids, k, m)
    static, raw, temporal, l0, l1, l2, l3, left_inverse, r0, r1, r2, r3, right_inverse, variance, vx, vy, vz = (
        _load_shape(scales, left, right, temporal_scales, i, inside, mark, limit)
    )
    # A static row's mean and weight do not depend on time.
    dt = tl.where(static, 0.0, instant(t) - tl.load(centers + i, mask=inside, other=0.0))
    weight = tl.exp(-0.5 * dt * dt / variance)
    peak = 1.0 / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    g_opacity = tl.load(g_opacities + k, mask=inside, other=0.0)
    tl.store(v_opacities + i, g_opacity * weight * peak * (1.0 - peak), mask=inside)
    g_weight = g_opacity * peak * weight * dt / variance  # times dt / (2 V) for V, as it is for the centre
    gx, gy, gz = _load_vector(g_means, k, inside)
    _store_vector(v_means, i, gx, gy, gz, inside)
    along = tl.where(static, 0.0, gx * vx + gy * vy + gz * vz)
    tl.store(v_centers + i, g_weight - along, mask=inside)
    wx, wy, wz = dt * gx / variance, dt * gy / variance, dt * gz / variance  # gradient of v, over V
    g_variance = 0.5 * g_weight * dt / variance - dt * along / variance
    sxx, sxy, sxz, syy, syz, szz = _load_symmetric(g_covariances, k, inside)
    a0, a1, a2, a3 = l0 * 0.0, l0 * 0.0, l0 * 0.0, l0 * 0.0  # gradient of the left quaternion
    b0, b1, b2, b3 = l0 * 0.0, l0 * 0.0, l0 * 0.0, l0 * 0.0  # and of the right one
    for a in tl.static_range(4):
        u0, u1, u2, u3 = _basis_times(r0, -r1, -r2, -r3, 3 - a)
        tau, z, y, x = _product(l0, l1, l2, l3, u0, u1, u2, u3)
        size = _load_size(scales, temporal, i, inside, a)
        ax, ay, az = size * (x - vx * tau), size * (y - vy * tau), size * (z - vz * tau)
        hx = sxx * ax + sxy * ay + sxz * az
        hy = sxy * ax + syy * ay + syz * az
        hz = sxz * ax + syz * ay + szz * az
        # Gradient of the axis times its size, then of the size's logarithm and of the axis.
        h_tau = size * (wx * x + wy * y + wz * z) - vx * hx - vy * hy - vz * hz + 2.0 * size * tau * g_variance
        hx += wx * size * tau
        hy += wy * size * tau
        hz += wz * size * tau
        g_size = size * (h_tau * tau + hx * x + hy * y + hz * z)
        if a == 3:
            tl.store(v_temporal_scales + i, tl.where(raw <= limit, g_size, 0.0), mask=inside)
        else:
            tl.store(v_scales + 3 * i + a, g_size, mask=inside)
        p0, p1, p2, p3 = h_tau * size, hz * size, hy * size, hx * size
        d0, d1, d2, d3 = _product(p0, p1, p2, p3, u0, -u1, -u2, -u3)
        a0, a1, a2, a3 = a0 + d0, a1 + d1, a2 + d2, a3 + d3
        d0, d1, d2, d3 = _product(l0, -l1, -l2, -l3, p0, p1, p2, p3)
        # u = e conj(r), so the gradient of conj(r) is conj(e) times that of u.
        d0, d1, d2, d3 = _conjugate_basis_times(d0, d1, d2, d3, 3 - a)
        b0, b1, b2, b3 = b0 + d0, b1 - d1, b2 - d2, b3 - d3
    # A static row is turned by its left quaternion from both sides.
    a0, a1 = a0 + tl.where(static, b0, 0.0), a1 + tl.where(static, b1, 0.0)
    a2, a3 = a2 + tl.where(static, b2, 0.0), a3 + tl.where(static, b3, 0.0)
    _store_quaternion_gradient(v_left, i, inside, l0, l1, l2, l3, left_inverse, a0, a1, a2, a3)
    _store_quaternion_gradient(v_right, i, inside & (static == 0), r0, r1, r2, r3, right_inverse, b0, b1, b2, b3)


def mark_alive(t: float | Tensor, params: Mapping[str, Tensor] | ParameterDict, options: Options) -> AliveMarks:
    """Rows whose opacity at ``t`` reaches 1/255; not the others, nor those whose lifespan is not a number."""
    n = params["means"].shape[0]
    marks = empty_marks(n, 256, params["means"].device)
    if n:
        _mark_alive[marks.counts.shape](
            as_argument(t), *(params[name] for name in GEOMETRY[1:]), marks.alive, marks.counts, n, options.static_mark,
            options.max_temporal_scale, BLOCK=marks.run,
        )  # fmt: skip
    return marks


class _Slice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: float | Tensor, options: Options, ids: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        m = ids.shape[0]
        shapes = (m, 3), (m, 3), (m, 3, 3), (m,), (m,)
        outputs = tuple(params[0].new_empty(shape) for shape in shapes)
        ctx.limits = options.static_mark, options.max_temporal_scale
        if m:
            _forward[(triton.cdiv(m, _BLOCK),)](t, ids, *params, *outputs, m, *ctx.limits, BLOCK=_BLOCK)
        ctx.save_for_backward(ids, *params)
        ctx.t = t
        ctx.mark_non_differentiable(outputs[1], outputs[4])
        return outputs

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple:  # type: ignore[override]
        ids, *params = ctx.saved_tensors
        gradients = dense_gradients(params)
        m = ids.shape[0]
        if m:
            incoming = [x.contiguous() for x in (g[0], g[2], g[3])]
            _backward[(triton.cdiv(m, _BLOCK),)](
                ctx.t, ids, *params[1:], *incoming, *gradients, m, *ctx.limits, BLOCK=_BLOCK
            )
        return None, None, None, *gradients


def slice_rows(
    t: float | Tensor, ids: Int[Tensor, " m"], params: Mapping[str, Tensor] | ParameterDict, options: Options
) -> tuple[
    Float[Tensor, "m 3"], Float[Tensor, "m 3"], Float[Tensor, "m 3 3"], Float[Tensor, " m"], Float[Tensor, " m"]
]:  # fmt: skip
    """Means, velocities, covariances, opacities and weights of rows ``ids`` (unique, or -1 for none) at ``t``.

    Differentiable in :data:`GEOMETRY`; velocities and weights are constants.
    """
    return call(_Slice, as_argument(t), options, ids, *(params[name] for name in GEOMETRY))  # type: ignore[return-value]
