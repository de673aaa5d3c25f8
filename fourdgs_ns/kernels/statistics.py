"""Densification statistics of one rendering in one kernel; the twin is in Densification.observe."""

from __future__ import annotations

import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.launch import kernel

_BLOCK = 256


@kernel
def _add(
    ids, gradients, radii, gradient_sum, view_count, m, gradients_apart, radii_apart, scale_x, scale_y,
    CAMERAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = k < m
    i = tl.load(ids + k, mask=inside, other=0)
    total = tl.zeros((BLOCK,), tl.float32)
    views = tl.zeros((BLOCK,), tl.float32)
    for c in tl.static_range(CAMERAS):
        seen = tl.load(radii + c * radii_apart + k, mask=inside, other=0) > 0
        at = c * gradients_apart + 2 * k
        x = scale_x * tl.load(gradients + at, mask=seen, other=0.0)
        y = scale_y * tl.load(gradients + at + 1, mask=seen, other=0.0)
        total += tl.sqrt(x * x + y * y)
        views += tl.where(seen, 1.0, 0.0)
    # Rows of a slice are distinct: nobody else writes here.
    tl.store(gradient_sum + i, tl.load(gradient_sum + i, mask=inside, other=0.0) + total, mask=inside)
    tl.store(view_count + i, tl.load(view_count + i, mask=inside, other=0.0) + views, mask=inside)


def add_view_statistics(
    ids: Int[Tensor, " m"],
    gradients: Float[Tensor, "c m 2"],
    radii: Int[Tensor, "c m"],
    scale: tuple[float, float],
    gradient_sum: Float[Tensor, " n"],
    view_count: Float[Tensor, " n"],
) -> None:
    """Add to rows ``ids`` (unique), in place, the norm of ``scale * gradients`` and 1 for each camera with a radius above 0.

    Both may be the first columns of wider ones.
    """
    c, m = radii.shape
    gradients = gradients if gradients.stride()[1:] == (2, 1) else gradients.contiguous()
    radii = radii if radii.stride(1) == 1 else radii.contiguous()
    if m:
        _add[(triton.cdiv(m, _BLOCK),)](
            ids, gradients, radii, gradient_sum, view_count, m, gradients.stride(0), radii.stride(0), *scale, CAMERAS=c,
            BLOCK=_BLOCK,
        )  # fmt: skip
