"""Slicing FreeTime Gaussians in one kernel, and its gradient in another; the twin is FreeTimeRepresentation.at."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import as_argument, call, instant, kernel
from fourdgs_ns.kernels.slicing import dense_gradients, load_rows, out_of_sight

_BLOCK = 256
NAMES = ("means", "velocities", "scales", "quats", "opacities", "temporal_centers", "log_durations")
"""Canonical parameters that the kernels read, in their order."""


@kernel
def _forward(
    t, ids, means, velocities, scales, quats, opacities, centers, log_durations,
    out_means, out_velocities, out_scales, out_quats, out_opacities, out_weights, m, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, inside, there = load_rows(ids, k, m)
    dt = instant(t) - tl.load(centers + i, mask=inside, other=0.0)
    z = dt / tl.exp(tl.load(log_durations + i, mask=inside, other=0.0))
    weight = tl.exp(-0.5 * z * z)
    tl.store(out_weights + k, weight, mask=inside)
    peak = 1.0 / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    total = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(3):
        velocity = tl.load(velocities + 3 * i + c, mask=inside, other=0.0)
        tl.store(out_velocities + 3 * k + c, velocity, mask=inside)
        mean = tl.load(means + 3 * i + c, mask=inside, other=0.0)
        scale = tl.exp(tl.load(scales + 3 * i + c, mask=inside, other=0.0))
        total += mean + dt * velocity + scale
        tl.store(out_means + 3 * k + c, out_of_sight(mean + dt * velocity, there, c), mask=inside)
        tl.store(out_scales + 3 * k + c, scale, mask=inside)
    square = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0)
        square += q * q
    total += square
    # A row that is not finite is rendered nowhere: with opacity 0 rasterizers skip it. Infinity minus itself is NaN, too.
    tl.store(out_opacities + k, tl.where(total - total == 0.0, peak * weight, 0.0), mask=inside)
    inverse = 1.0 / tl.maximum(tl.sqrt(square), 1e-12)
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0)
        tl.store(out_quats + 4 * k + c, q * inverse, mask=inside)


@kernel
def _backward(
    t, ids, velocities, scales, quats, opacities, centers, log_durations,
    g_means, g_scales, g_quats, g_opacities,
    v_means, v_velocities, v_scales, v_quats, v_opacities, v_centers, v_log_durations, m, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, _, inside = load_rows(ids, k, m)
    dt = instant(t) - tl.load(centers + i, mask=inside, other=0.0)
    duration = tl.exp(tl.load(log_durations + i, mask=inside, other=0.0))
    z = dt / duration
    weight = tl.exp(-0.5 * z * z)
    peak = 1.0 / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    g_opacity = tl.load(g_opacities + k, mask=inside, other=0.0)
    tl.store(v_opacities + i, g_opacity * weight * peak * (1.0 - peak), mask=inside)
    g_exponent = g_opacity * peak * weight * z
    tl.store(v_log_durations + i, g_exponent * z, mask=inside)
    v_center = g_exponent / duration
    for c in tl.static_range(3):
        g = tl.load(g_means + 3 * k + c, mask=inside, other=0.0)
        tl.store(v_means + 3 * i + c, g, mask=inside)
        tl.store(v_velocities + 3 * i + c, dt * g, mask=inside)
        v_center -= g * tl.load(velocities + 3 * i + c, mask=inside, other=0.0)
        scale = tl.exp(tl.load(scales + 3 * i + c, mask=inside, other=0.0))
        tl.store(v_scales + 3 * i + c, scale * tl.load(g_scales + 3 * k + c, mask=inside, other=0.0), mask=inside)
    tl.store(v_centers + i, v_center, mask=inside)
    square = tl.zeros((BLOCK,), tl.float32)
    along = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0)
        square += q * q
        along += q * tl.load(g_quats + 4 * k + c, mask=inside, other=0.0)
    inverse = 1.0 / tl.maximum(tl.sqrt(square), 1e-12)
    along *= inverse * inverse
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0)
        g = tl.load(g_quats + 4 * k + c, mask=inside, other=0.0)
        tl.store(v_quats + 4 * i + c, (g - along * q) * inverse, mask=inside)


class _Slice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: float | Tensor, ids: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        m = ids.shape[0]
        outputs = tuple(params[0].new_empty(shape) for shape in ((m, 3), (m, 3), (m, 3), (m, 4), (m,), (m,)))
        if m:
            _forward[(triton.cdiv(m, _BLOCK),)](t, ids, *params, *outputs, m, BLOCK=_BLOCK)
        ctx.save_for_backward(ids, *params)
        ctx.t = t
        ctx.mark_non_differentiable(outputs[1], outputs[5])
        return outputs

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple:  # type: ignore[override]
        ids, *params = ctx.saved_tensors
        gradients = dense_gradients(params)
        m = ids.shape[0]
        if m:
            incoming = [x.contiguous() for x in (g[0], g[2], g[3], g[4])]
            _backward[(triton.cdiv(m, _BLOCK),)](ctx.t, ids, *params[1:], *incoming, *gradients, m, BLOCK=_BLOCK)
        return None, None, *gradients


def slice_rows(
    t: float | Tensor, ids: Int[Tensor, " m"], params: dict[str, Tensor]
) -> tuple[
    Float[Tensor, "m 3"], Float[Tensor, "m 3"], Float[Tensor, "m 3"], Float[Tensor, "m 4"], Float[Tensor, " m"],
    Float[Tensor, " m"],
]:  # fmt: skip
    """Means, velocities, scales, quaternions, opacities and weights of rows ``ids`` (unique) at ``t``; Gaussian window.

    Differentiable in :data:`NAMES`; velocities and weights are constants.
    """
    return call(_Slice, as_argument(t), ids, *(params[name] for name in NAMES))  # type: ignore[return-value]
