"""Slicing SpacetimeGaussians in one kernel, and its gradient in another; the twin is SpacetimeRepresentation.at."""

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
NAMES = (
    "means", "motion", "scales", "quats", "omegas", "opacities", "temporal_centers", "log_durations", "features_dc",
)  # fmt: skip
"""Canonical parameters that the kernels read, in their order; ``features_time`` follows for the full variant."""


@kernel
def _forward(
    t, ids, means, motion, scales, quats, omegas, opacities, centers, log_durations, constant, slope,
    out_means, out_velocities, out_scales, out_quats, out_features, out_opacities, out_weights, m,
    CONSTANT: tl.constexpr, SLOPE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, inside, there = load_rows(ids, k, m)
    dt = instant(t) - tl.load(centers + i, mask=inside, other=0.0)
    z = dt / tl.exp(tl.load(log_durations + i, mask=inside, other=0.0))
    weight = tl.exp(-z * z)
    tl.store(out_weights + k, weight, mask=inside)
    peak = 1.0 / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    total = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(3):
        m1 = tl.load(motion + 9 * i + c, mask=inside, other=0.0)
        m2 = tl.load(motion + 9 * i + 3 + c, mask=inside, other=0.0)
        m3 = tl.load(motion + 9 * i + 6 + c, mask=inside, other=0.0)
        mean = tl.load(means + 3 * i + c, mask=inside, other=0.0) + dt * (m1 + dt * (m2 + dt * m3))
        scale = tl.exp(tl.load(scales + 3 * i + c, mask=inside, other=0.0))
        total += mean + scale
        tl.store(out_means + 3 * k + c, out_of_sight(mean, there, c), mask=inside)
        tl.store(out_velocities + 3 * k + c, m1 + dt * (2.0 * m2 + 3.0 * dt * m3), mask=inside)
        tl.store(out_scales + 3 * k + c, scale, mask=inside)
    square = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0) + dt * tl.load(
            omegas + 4 * i + c, mask=inside, other=0.0
        )
        square += q * q
    inverse = 1.0 / tl.maximum(tl.sqrt(square), 1e-12)
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0) + dt * tl.load(
            omegas + 4 * i + c, mask=inside, other=0.0
        )
        tl.store(out_quats + 4 * k + c, q * inverse, mask=inside)
    total += square
    for c in tl.static_range(CONSTANT):
        value = tl.load(constant + CONSTANT * i + c, mask=inside, other=0.0)
        total += value
        tl.store(out_features + (CONSTANT + SLOPE) * k + c, value, mask=inside)
    for c in tl.static_range(SLOPE):
        value = dt * tl.load(slope + SLOPE * i + c, mask=inside, other=0.0)
        total += value
        tl.store(out_features + (CONSTANT + SLOPE) * k + CONSTANT + c, value, mask=inside)
    # A row that is not finite is rendered nowhere: with opacity 0 rasterizers skip it. Infinity minus itself is NaN, too.
    tl.store(out_opacities + k, tl.where(total - total == 0.0, peak * weight, 0.0), mask=inside)


@kernel
def _backward(
    t, ids, scales, quats, omegas, opacities, centers, log_durations,
    g_means, g_scales, g_quats, g_features, g_opacities,
    v_means, v_motion, v_scales, v_quats, v_omegas, v_opacities, v_centers, v_log_durations, v_constant, v_slope, m,
    CONSTANT: tl.constexpr, SLOPE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, _, inside = load_rows(ids, k, m)
    dt = instant(t) - tl.load(centers + i, mask=inside, other=0.0)
    duration = tl.exp(tl.load(log_durations + i, mask=inside, other=0.0))
    z = dt / duration
    weight = tl.exp(-z * z)
    peak = 1.0 / (1.0 + tl.exp(-tl.load(opacities + i, mask=inside, other=0.0)))
    g_opacity = tl.load(g_opacities + k, mask=inside, other=0.0)
    tl.store(v_opacities + i, g_opacity * weight * peak * (1.0 - peak), mask=inside)
    # Centre and duration learn by the weight alone: motion and rotation see dt as a constant.
    g_exponent = 2.0 * g_opacity * peak * weight * z
    tl.store(v_log_durations + i, g_exponent * z, mask=inside)
    tl.store(v_centers + i, g_exponent / duration, mask=inside)
    for c in tl.static_range(3):
        g = tl.load(g_means + 3 * k + c, mask=inside, other=0.0)
        tl.store(v_means + 3 * i + c, g, mask=inside)
        tl.store(v_motion + 9 * i + c, dt * g, mask=inside)
        tl.store(v_motion + 9 * i + 3 + c, dt * dt * g, mask=inside)
        tl.store(v_motion + 9 * i + 6 + c, dt * dt * dt * g, mask=inside)
        scale = tl.exp(tl.load(scales + 3 * i + c, mask=inside, other=0.0))
        tl.store(v_scales + 3 * i + c, scale * tl.load(g_scales + 3 * k + c, mask=inside, other=0.0), mask=inside)
    square = tl.zeros((BLOCK,), tl.float32)
    along = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0) + dt * tl.load(
            omegas + 4 * i + c, mask=inside, other=0.0
        )
        square += q * q
        along += q * tl.load(g_quats + 4 * k + c, mask=inside, other=0.0)
    inverse = 1.0 / tl.maximum(tl.sqrt(square), 1e-12)
    along *= inverse * inverse
    for c in tl.static_range(4):
        q = tl.load(quats + 4 * i + c, mask=inside, other=1.0) + dt * tl.load(
            omegas + 4 * i + c, mask=inside, other=0.0
        )
        v = (tl.load(g_quats + 4 * k + c, mask=inside, other=0.0) - along * q) * inverse
        tl.store(v_quats + 4 * i + c, v, mask=inside)
        tl.store(v_omegas + 4 * i + c, dt * v, mask=inside)
    for c in tl.static_range(CONSTANT):
        g = tl.load(g_features + (CONSTANT + SLOPE) * k + c, mask=inside, other=0.0)
        tl.store(v_constant + CONSTANT * i + c, g, mask=inside)
    for c in tl.static_range(SLOPE):
        g = tl.load(g_features + (CONSTANT + SLOPE) * k + CONSTANT + c, mask=inside, other=0.0)
        tl.store(v_slope + SLOPE * i + c, dt * g, mask=inside)


class _Slice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: float | Tensor, ids: Tensor, *params: Tensor) -> tuple[Tensor, ...]:
        m = ids.shape[0]
        constant, slope = params[8].shape[1], params[9].shape[1] if len(params) > 9 else 0
        shapes = (m, 3), (m, 3), (m, 3), (m, 4), (m, constant + slope), (m,), (m,)
        outputs = tuple(params[0].new_empty(shape) for shape in shapes)
        if m:
            # The lite variant has no slopes: a pointer that nothing reads stands for them.
            inputs = params if slope else (*params, params[8])
            _forward[(triton.cdiv(m, _BLOCK),)](
                t, ids, *inputs, *outputs, m, CONSTANT=constant, SLOPE=slope, BLOCK=_BLOCK
            )
        ctx.save_for_backward(ids, *params)
        ctx.t, ctx.widths = t, (constant, slope)
        ctx.mark_non_differentiable(outputs[1], outputs[6])
        return outputs

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple:  # type: ignore[override]
        ids, *params = ctx.saved_tensors
        gradients = dense_gradients(params)
        m, (constant, slope) = ids.shape[0], ctx.widths
        if m:
            incoming = [x.contiguous() for x in (g[0], g[2], g[3], g[4], g[5])]
            outgoing = gradients if slope else (*gradients, gradients[8])
            _backward[(triton.cdiv(m, _BLOCK),)](
                ctx.t, ids, *params[2:8], *incoming, *outgoing, m, CONSTANT=constant, SLOPE=slope, BLOCK=_BLOCK
            )
        return None, None, *gradients


def slice_rows(
    t: float | Tensor, ids: Int[Tensor, " m"], params: dict[str, Tensor]
) -> tuple[
    Float[Tensor, "m 3"], Float[Tensor, "m 3"], Float[Tensor, "m 3"], Float[Tensor, "m 4"], Float[Tensor, "m d"],
    Float[Tensor, " m"], Float[Tensor, " m"],
]:  # fmt: skip
    """Means, velocities, scales, quaternions, features, opacities and weights of rows ``ids`` (unique) at ``t``.

    Differentiable in :data:`NAMES` and ``features_time``; velocities and weights are constants.
    """
    names = (*NAMES, "features_time") if "features_time" in params else NAMES
    return call(_Slice, as_argument(t), ids, *(params[name] for name in names))  # type: ignore[return-value]
