"""The CPU backend: projection, binning and blending tied into autograd."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.rasterization import cpu_kernels as kernels
from fourdgs_ns.rasterization.numba_runtime import KERNEL_LOCK
from fourdgs_ns.rasterization.projection import project
from fourdgs_ns.rasterization.types import PinholeCameras, Rendering
from fourdgs_ns.representation.base import GaussiansAtTime


def _balanced(work: np.ndarray) -> np.ndarray:
    """Task ids in an order whose equal consecutive shares, one per thread, hold about equal work."""
    heaviest_first = np.argsort(-work, kind="stable")
    threads = numba.get_num_threads()
    return np.concatenate([heaviest_first[i::threads] for i in range(threads)])


class _Blending(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        depths: Tensor,
        opacities: Tensor,
        features: Tensor,
        backgrounds: Tensor,
        radii: Tensor,
        size: tuple[int, int],
        with_depth: bool,
    ) -> tuple[Tensor, Tensor]:
        width, height = size
        inputs = [t.detach().contiguous() for t in (means2d, conics, opacities, features, depths, backgrounds)]
        arrays = [t.numpy() for t in inputs]
        c, m = depths.shape
        tiles_x, tiles_y = -(-width // kernels.TILE), -(-height // kernels.TILE)
        extents = np.empty((c, m, 4), np.int32)
        tile_counts = np.empty(c * m, np.int64)
        slot_starts = np.zeros(c * m + 1, np.int64)
        tile_starts = np.zeros(c * tiles_x * tiles_y + 1, np.int64)
        image = means2d.new_empty(c, height, width, features.shape[1] + int(with_depth))
        transmittances = means2d.new_empty(c, height, width)
        lasts = np.empty((c, height, width), np.int32)
        with KERNEL_LOCK:
            kernels.screen_extents(
                arrays[0], arrays[1], radii.numpy(), arrays[2], width, height, extents, tile_counts
            )  # fmt: skip
            np.cumsum(tile_counts, out=slot_starts[1:])
            pair_gaussians = np.empty(slot_starts[-1], np.int32)
            pair_slots = np.empty(slot_starts[-1], np.int64)
            kernels.bin_by_tile(
                arrays[4].view(np.uint32), extents, slot_starts, tiles_x, tiles_y, pair_gaussians, pair_slots, tile_starts
            )
            tile_order = _balanced(np.diff(tile_starts))
            kernels.blend(
                *arrays[:5], with_depth, arrays[5], extents, pair_gaussians, tile_starts, tile_order, tiles_x, tiles_y,
                image.numpy(), transmittances.numpy(), lasts,
            )  # fmt: skip
        ctx.save_for_backward(*inputs, transmittances)
        ctx.tables = (extents, pair_gaussians, pair_slots, tile_starts, tile_order, tiles_x, tiles_y)
        ctx.lasts, ctx.slot_starts, ctx.with_depth = lasts, slot_starts, with_depth
        return image, transmittances.clone()

    @staticmethod
    def backward(ctx: Any, v_image: Tensor, v_transmittances: Tensor) -> tuple:  # type: ignore[override]
        *inputs, transmittances = ctx.saved_tensors
        means2d, conics, opacities, features, depths, _ = inputs
        v_image, v_transmittances = v_image.contiguous(), v_transmittances.contiguous()
        slots = np.empty((ctx.slot_starts[-1], 6 + v_image.shape[-1]), np.float32)
        v_means2d, v_conics, v_opacities, v_features, v_depths = (
            torch.empty_like(t) for t in (means2d, conics, opacities, features, depths)
        )
        arrays = [t.numpy() for t in inputs]
        with KERNEL_LOCK:
            kernels.blend_backward(
                *arrays[:5], ctx.with_depth, arrays[5], *ctx.tables, transmittances.numpy(), ctx.lasts,
                v_image.numpy(), v_transmittances.numpy(), slots,
            )  # fmt: skip
            kernels.gather_gradients(
                slots, ctx.slot_starts, *(t.numpy() for t in (v_means2d, v_conics, v_opacities, v_features, v_depths)),
                ctx.with_depth,
            )  # fmt: skip
        v_backgrounds = None
        if ctx.needs_input_grad[5]:
            v_backgrounds = torch.einsum("chw,chwd->cd", transmittances, v_image[..., : features.shape[1]])
        return v_means2d, v_conics, v_depths, v_opacities, v_features, v_backgrounds, None, None, None


def rasterize_cpu(
    gaussians: GaussiansAtTime, cameras: PinholeCameras, backgrounds: Float[Tensor, "c d"], depth: bool
) -> Rendering:
    """Draw on the CPU; see :func:`fourdgs_ns.rasterization.rasterize`, which checks the arguments."""
    means2d, conics, depths, radii = project(gaussians.means, gaussians.quats, gaussians.scales, cameras)
    if means2d.requires_grad:
        means2d.retain_grad()
    image, transmittances = _Blending.apply(
        means2d, conics, depths, gaussians.opacities, gaussians.features, backgrounds, radii,
        (cameras.width, cameras.height), depth,
    )  # fmt: skip
    alphas = 1.0 - transmittances[..., None]
    channels = gaussians.features.shape[1]
    return Rendering(
        features=image[..., :channels] if depth else image,
        alphas=alphas,
        depths=image[..., channels:] / alphas.clamp(min=1e-10) if depth else None,
        ids=gaussians.ids,
        radii=radii,
        means2d=means2d,
    )
