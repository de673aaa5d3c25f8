"""Which Gaussians colour which tiles, nearest first: gsplat's lists without the entries that colour no pixel.

gsplat lists a Gaussian in every tile that the square of three standard deviations of its longest axis touches, whatever its
opacity and its shape. Here the tiles are those of that square that the ellipse touches on which its alpha falls below 1/255: the
images are the same, because what is left out is skipped at every pixel of its tile. ``rasterization.cpu_tiles`` does the same
for the CPU.

Lists may be of smaller tiles, of which threads look at fewer Gaussians in vain. What gsplat's larger tiles cut off stays cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.kernels.blending import TILE_SIZE
from fourdgs_ns.kernels.launch import kernel

SIDES = 8, TILE_SIZE
"""Pixels along the side of tiles, divisors of TILE_SIZE: the first of which there are not too many entries, or the last."""
MANY = 2**25
"""Entries; 34 bytes for each while they are sorted make about a gigabyte."""
_OUTER = tl.constexpr(TILE_SIZE)
_SLACK = tl.constexpr(0.25)
"""Pixels by which ellipses are larger than they have to be: more than rounding of float32 moves their borders."""


@triton.jit
def _span(center, reach, radius, tiles, seen, TILE: tl.constexpr):
    """First and end tile of what is within ``reach`` of ``center``, in the larger tiles within ``radius`` and in the image."""
    each = _OUTER // TILE
    first = tl.maximum(tl.floor((center - reach) / TILE), tl.floor((center - radius) / _OUTER) * each)
    end = tl.minimum(tl.ceil((center + reach) / TILE), tl.ceil((center + radius) / _OUTER) * each)
    first, end = tl.minimum(tl.maximum(first, 0.0), tiles), tl.minimum(tl.maximum(end, 0.0), tiles)
    return first.to(tl.int32), tl.where(seen, end, 0.0).to(tl.int32)


@triton.jit
def _box(means2d, conics, opacities, radii, k, seen, n, tiles_x, tiles_y, TILE: tl.constexpr):
    """First tile, end tile along x and along y of what projections k may colour, the ellipses a u^2 + 2 b u v + c v^2 <= level of
    alpha 1/255 and their centres; no tiles where nothing is coloured."""
    radius = tl.load(radii + k, mask=seen, other=0).to(tl.float32)
    x = tl.load(means2d + 2 * k, mask=seen, other=0.0)
    y = tl.load(means2d + 2 * k + 1, mask=seen, other=0.0)
    a = tl.load(conics + 3 * k, mask=seen, other=1.0)
    b = tl.load(conics + 3 * k + 1, mask=seen, other=0.0)
    c = tl.load(conics + 3 * k + 2, mask=seen, other=1.0)
    brightness = 255.0 * tl.load(opacities + k % n, mask=seen, other=0.0)
    seen = seen & (radius > 0) & (brightness >= 1.0)
    level = 2.0 * tl.log(tl.where(seen, brightness, 1.0))
    # Of a conic whose determinant was rounded away gsplat's square remains.
    determinant = a * c - b * b
    spread = tl.where(determinant > 0, level / determinant, 0.0)
    reach_x = tl.where(determinant > 0, tl.sqrt(spread * c) + _SLACK, radius + _OUTER)
    reach_y = tl.where(determinant > 0, tl.sqrt(spread * a) + _SLACK, radius + _OUTER)
    left, right = _span(x, reach_x, radius, tiles_x, seen, TILE)
    top, bottom = _span(y, reach_y, radius, tiles_y, seen, TILE)
    return left, right, top, bottom, x, y, a, b, c, level


@kernel
def _count(
    means2d, conics, opacities, radii, order, counts, projections, n, tiles_x, tiles_y, TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Tiles in the box of each projection, in the given order."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < projections
    k = tl.load(order + place, mask=inside, other=0)
    left, right, top, bottom, _x, _y, _a, _b, _c, _level = _box(
        means2d, conics, opacities, radii, k, inside, n, tiles_x, tiles_y, TILE
    )
    tl.store(counts + place, tl.maximum(right - left, 0) * tl.maximum(bottom - top, 0), mask=inside)


@triton.jit
def _least(a, b, c, u, v, first, last):
    """Least value of a u^2 + 2 b u v + c v^2 at given u, over v in [first, last]; ``v`` is where it were least."""
    v = tl.minimum(tl.maximum(v, first), last)
    return a * u * u + 2 * b * u * v + c * v * v


@kernel
def _list(
    means2d, conics, opacities, radii, order, ends, tiles, listed, entries, projections, n, tiles_x, tiles_y, zero,
    TILE: tl.constexpr, HALVINGS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """For each tile of each box the projection, and the tile from ``zero`` on, or one less where the ellipse touches it not."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = e < entries
    # The first running sum of counts that is beyond e.
    low = tl.zeros_like(e)
    high = tl.zeros_like(e) + (projections - 1)
    for _ in range(HALVINGS):
        middle = (low + high) // 2
        beyond = tl.load(ends + middle, mask=inside, other=0) > e
        low = tl.where(beyond, low, tl.minimum(middle + 1, high))
        high = tl.where(beyond, middle, high)
    k = tl.load(order + high, mask=inside, other=0)
    left, right, top, _bottom, x, y, a, b, c, level = _box(
        means2d, conics, opacities, radii, k, inside, n, tiles_x, tiles_y, TILE
    )
    nth = (e - tl.load(ends + high - 1, mask=inside & (high > 0), other=0)).to(tl.int32)
    columns = tl.maximum(right - left, 1)
    column, row = left + nth % columns, top + nth // columns
    # Pixel centres of the tile, seen from the ellipse's. Over them the form is least on an edge that faces the centre.
    u0, u1 = column * TILE + (0.5 - _SLACK) - x, column * TILE + (TILE - 0.5 + _SLACK) - x
    v0, v1 = row * TILE + (0.5 - _SLACK) - y, row * TILE + (TILE - 0.5 + _SLACK) - y
    u, v = tl.minimum(tl.maximum(0.0, u0), u1), tl.minimum(tl.maximum(0.0, v0), v1)
    least = tl.minimum(_least(a, b, c, u, -b * u / c, v0, v1), _least(c, b, a, v, -b * v / a, u0, u1))
    tile = ((k // n).to(tl.int32) * tiles_y + row) * tiles_x + column
    tl.store(tiles + e, zero + tl.where(least > level, -1, tile), mask=inside)
    tl.store(listed + e, k.to(tl.int32), mask=inside)


def _halvings(count: int) -> int:
    """Enough to find one of ``count``, in steps of four: each number is another compilation."""
    return triton.cdiv(count.bit_length(), 4) * 4


@lru_cache(maxsize=8)
def _numbers(first: int, end: int, dtype: torch.dtype, device: torch.device) -> Int[Tensor, " count"]:
    with torch.inference_mode(False):
        return torch.arange(first, end, dtype=dtype, device=device)


@torch.no_grad()
def tile_lists(
    means2d: Float[Tensor, "c n 2"],
    conics: Float[Tensor, "c n 3"],
    depths: Float[Tensor, "c n"],
    opacities: Float[Tensor, " n"],
    radii: Int[Tensor, "c n"],
    width: int,
    height: int,
    sides: Sequence[int] = SIDES,
) -> tuple[int, Int[Tensor, "c y x"], Int[Tensor, " e"]]:
    """Side of the tiles, where the list of each tile begins, and the lists: indices into the c n projections, nearest first.

    Each list ends where the next tile's begins, and what comes before the first belongs to no tile. ``radii`` are gsplat's, 0
    where a camera does not see a Gaussian; the other values of such are not used. The number of entries is counted on the GPU,
    which this waits for, once for each side that is tried.

    Raises:
        torch.OutOfMemoryError: gsplat cannot number so many entries, and hardly any GPU has room for them.
    """
    c, n = depths.shape
    device, projections = depths.device, c * n
    # Written nearest first, entries keep that order when they are sorted by tile.
    order = torch.sort(depths.flatten(), stable=True).indices
    screen = means2d.contiguous(), conics.contiguous(), opacities.contiguous(), radii.contiguous(), order
    counts = torch.empty(projections, dtype=torch.int32, device=device)
    for side in sides:
        tiles_x, tiles_y = triton.cdiv(width, side), triton.cdiv(height, side)
        _count[(triton.cdiv(projections, 256),)](
            *screen, counts, projections, n, tiles_x, tiles_y, TILE=side, BLOCK=256
        )
        ends = torch.cumsum(counts, dim=0)
        entries = int(ends[-1])
        if entries <= MANY:
            break
    if entries >= 2**31:
        raise torch.OutOfMemoryError(f"{entries} pairs of tile and Gaussian")
    all_tiles = c * tiles_x * tiles_y
    # Two bytes are sorted in half the passes of four; with all their values they number the tiles of most batches.
    kind, zero = (torch.int16, 1 - 2**15) if all_tiles < 2**16 else (torch.int32, 0)
    tiles = torch.empty(entries, dtype=kind, device=device)
    listed = torch.empty(entries, dtype=torch.int32, device=device)
    if entries:
        _list[(triton.cdiv(entries, 256),)](
            *screen, ends, tiles, listed, entries, projections, n, tiles_x, tiles_y, zero, TILE=side,
            HALVINGS=_halvings(projections), BLOCK=256,
        )  # fmt: skip
    tiles, places = torch.sort(tiles, stable=True)
    begins = torch.searchsorted(tiles, _numbers(zero, zero + all_tiles, kind, device), out_int32=True)
    return side, begins.view(c, tiles_y, tiles_x), listed[places]
