"""The CPU backend: projection, binning and blending tied into autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.common.compiled import spread
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import cpu_kernels, cpu_tiles
from fourdgs_ns.rasterization.projection import project, project_covariances
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.parts.spherical_harmonics import rgb_from_sh
from fourdgs_ns.representation.types import GaussiansAtTime

_GAUSSIANS, _TILES = 4096, 8  # per unit of parallel work


def _blend_tiles(
    inputs: list[Tensor], radii: Tensor, size: tuple[int, int], with_depth: bool
) -> tuple[Tensor, Tensor, np.ndarray, tuple[Any, ...], np.ndarray]:
    """Images, what is left at each pixel, each pixel's last Gaussian (its position in the tile's list), and the lists: tiles
    along x and y, rows of slots, starts of tiles, Gaussians and slots of pairs; starts of each Gaussian's slots."""
    width, height = size
    arrays = [t.numpy() for t in inputs]
    means2d, features, depths = inputs[0], inputs[3], inputs[4]
    screen = (arrays[0], arrays[1], radii.numpy(), arrays[2])
    c, m = depths.shape
    tiles_x, tiles_y = -(-width // cpu_tiles.TILE), -(-height // cpu_tiles.TILE)
    counts = np.empty(c * m, np.int64)
    slot_starts = np.zeros(c * m + 1, np.int64)
    tile_starts = np.zeros(c * tiles_x * tiles_y + 1, np.int64)
    image = means2d.new_empty(c, height, width, features.shape[-1] + int(with_depth))
    transmittances = means2d.new_empty(c, height, width)
    lasts = np.empty((c, height, width), np.int32)
    spread(torch.get_num_threads(), cpu_tiles.count_pairs, c * m, _GAUSSIANS, *screen, width, height, counts)
    np.cumsum(counts, out=slot_starts[1:])
    pairs = slot_starts[-1]
    slot_tiles, slot_rows = np.empty(pairs, np.int32), np.empty((pairs, 2), np.int32)
    pair_gaussians, pair_slots = np.empty(pairs, np.int32), np.empty(pairs, np.int64)
    spread(
        torch.get_num_threads(),
        cpu_tiles.list_pairs,
        c * m,
        _GAUSSIANS,
        *screen,
        width,
        height,
        slot_starts,
        slot_tiles,
        slot_rows,
    )
    spread(
        torch.get_num_threads(),
        cpu_tiles.sort_pairs, c, 1, arrays[4].view(np.uint32), slot_starts, slot_tiles, tiles_x * tiles_y,
        tile_starts, pair_gaussians, pair_slots,
    )  # fmt: skip
    tables = (tiles_x, tiles_y, slot_rows, tile_starts, pair_gaussians, pair_slots)
    spread(
        torch.get_num_threads(),
        cpu_kernels.blend, c * tiles_x * tiles_y, _TILES, *arrays[:5], with_depth, arrays[5], *tables,
        image.numpy(), transmittances.numpy(), lasts,
    )  # fmt: skip
    return image, transmittances, lasts, tables, slot_starts


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
        inputs = [t.detach().contiguous() for t in (means2d, conics, opacities, features, depths, backgrounds)]
        image, transmittances, lasts, tables, slot_starts = _blend_tiles(inputs, radii, size, with_depth)
        ctx.save_for_backward(*inputs, transmittances)
        ctx.tables, ctx.lasts, ctx.slot_starts, ctx.with_depth = tables, lasts, slot_starts, with_depth
        return image, transmittances

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
        spread(
            torch.get_num_threads(),
            cpu_kernels.blend_backward, len(ctx.tables[3]) - 1, _TILES,
            *arrays[:5], ctx.with_depth, arrays[5], *ctx.tables, transmittances.numpy(), ctx.lasts,
            v_image.numpy(), v_transmittances.numpy(), slots,
        )  # fmt: skip
        gradients = [t.numpy() for t in (v_means2d, v_conics, v_opacities, v_features, v_depths)]
        spread(
            torch.get_num_threads(),
            cpu_kernels.gather_gradients,
            depths.shape[1],
            _GAUSSIANS,
            slots,
            ctx.slot_starts,
            *gradients,
            ctx.with_depth,
        )
        v_backgrounds = None
        if ctx.needs_input_grad[5]:
            v_backgrounds = torch.einsum("chw,chwd->cd", transmittances, v_image[..., : features.shape[-1]])
        return v_means2d, v_conics, v_depths, v_opacities, v_features, v_backgrounds, None, None, None


def _project(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features as each camera sees them, then what the projection gives."""
    if gaussians.for_cameras:
        features = gaussians.features.transpose(0, 1)
    elif gaussians.features.dim() == 3:
        features = rgb_from_sh(gaussians.features, gaussians.means - cameras.centers()[:, None])
    else:
        features = gaussians.features[None]
    if gaussians.covariances is not None:
        return features, *project_covariances(gaussians.means, gaussians.covariances, cameras)
    assert gaussians.quats is not None and gaussians.scales is not None
    return features, *project(gaussians.means, gaussians.quats, gaussians.scales, cameras)


@torch.no_grad()
def count_pixel_pairs(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> int:
    """How many times a Gaussian has to be evaluated at a pixel to blend these images, once for each pixel of the rows of a tile
    that the Gaussian can reach, up to the tile's last Gaussian that colours anything."""
    features, means2d, conics, depths, radii = _project(gaussians, cameras)
    inputs = [
        t.contiguous()
        for t in (
            means2d,
            conics,
            gaussians.opacities,
            features,
            depths,
            features.new_zeros(len(cameras), features.shape[-1]),
        )
    ]
    _, _, lasts, tables, _ = _blend_tiles(inputs, radii, (cameras.width, cameras.height), False)
    tiles_x, tiles_y, slot_rows, tile_starts, _, pair_slots = tables
    # Finished tiles: the highest position in any of their pixels.
    padded = np.full((len(cameras), tiles_y * cpu_tiles.TILE, tiles_x * cpu_tiles.TILE), -1, np.int64)
    padded[:, : cameras.height, : cameras.width] = lasts
    tiled = padded.reshape(len(cameras), tiles_y, cpu_tiles.TILE, tiles_x, cpu_tiles.TILE).max(axis=(2, 4)).reshape(-1)
    rows = (slot_rows[:, 1] - slot_rows[:, 0])[pair_slots].astype(np.int64)
    position = np.arange(len(rows)) - np.repeat(tile_starts[:-1], np.diff(tile_starts))
    needed = position <= np.repeat(tiled, np.diff(tile_starts))
    return int(rows[needed].sum()) * cpu_tiles.TILE


def rasterize_cpu(
    gaussians: GaussiansAtTime, cameras: PinholeCameras, backgrounds: Float[Tensor, "c d"], depth: bool
) -> Rendering:
    """Rasterize on the CPU; see :func:`fourdgs_ns.rasterization.rasterize`, which checks the arguments."""
    features, means2d, conics, depths, radii = _project(gaussians, cameras)
    if means2d.requires_grad:
        means2d.retain_grad()
    image, transmittances = _Blending.apply(
        means2d, conics, depths, gaussians.opacities, features, backgrounds, radii,
        (cameras.width, cameras.height), depth,
    )  # fmt: skip
    alphas = 1.0 - transmittances[..., None]
    channels = features.shape[-1]
    return Rendering(
        features=image[..., :channels] if depth else image,
        alphas=alphas,
        depths=image[..., channels:] / alphas.clamp(min=1e-10) if depth else None,
        ids=gaussians.ids,
        radii=radii,
        means2d=means2d,
    )
