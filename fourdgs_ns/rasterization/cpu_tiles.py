"""Numba kernels that find out which Gaussian can colour which tile of which image, front to back.

A *pair* is a Gaussian in a tile. A Gaussian's pairs own consecutive
*slots*, so that whatever is computed per pair can be summed per Gaussian in a fixed order; a tile's pairs are listed
by depth.
"""

from __future__ import annotations

import math

import numpy as np

from fourdgs_ns.common.compiled import helper, kernel
from fourdgs_ns.kernels import blending

TILE = blending.TILE_SIZE
_ALPHA_MIN = np.float32(blending.ALPHA_MIN)
_MARGIN = 1e-3  # added to the level of an ellipse: covers rounding of the conic and of alpha to float32


@helper
def _reach(mean, conic, radius, opacity, width, height):
    """Pixels that one Gaussian can colour: first x, end x, first y, end y, and the level q of its ellipse.

    The rectangle is where gsplat looks (its tiles that the square of the radius touches) cut with the bounding box of
    the ellipse a u^2 + 2 b u v + c v^2 <= q on which alpha falls to ALPHA_MIN, which loses nothing. q is infinite for
    a conic whose determinant was rounded away.
    """
    if radius <= 0 or not (opacity >= _ALPHA_MIN):
        return 0, 0, 0, 0, 0.0
    x, y, a, b, c = float(mean[0]), float(mean[1]), float(conic[0]), float(conic[1]), float(conic[2])
    determinant = a * c - b * b
    level, reach_x, reach_y = math.inf, math.inf, math.inf
    if determinant > 0.0:
        level = 2.0 * math.log(float(opacity) / blending.ALPHA_MIN) + _MARGIN
        reach_x, reach_y = math.sqrt(level * c / determinant), math.sqrt(level * a / determinant)
    size = float(TILE)
    x0 = max(0.0, np.floor((x - radius) / size) * size, np.ceil(x - reach_x - 0.5))
    x1 = min(float(width), np.ceil((x + radius) / size) * size, np.floor(x + reach_x + 0.5))
    y0 = max(0.0, np.floor((y - radius) / size) * size, np.ceil(y - reach_y - 0.5))
    y1 = min(float(height), np.ceil((y + radius) / size) * size, np.floor(y + reach_y + 0.5))
    if x0 >= x1 or y0 >= y1:
        return 0, 0, 0, 0, 0.0
    return int(x0), int(x1), int(y0), int(y1), level


@helper
def _rows_in_column(mean, conic, level, first, end, y0, y1):
    """First and end row, within [y0, y1), of the part of the ellipse over the pixel columns [first, end)."""
    x, y, a, b, c = float(mean[0]), float(mean[1]), float(conic[0]), float(conic[1]), float(conic[2])
    if level == math.inf:
        return y0, y1
    determinant = a * c - b * b
    left, right = first + 0.5 - x, end - 0.5 - x
    # The whole ellipse ends, up and down, at u = -b / a * v; a vertical strip of it ends at the strip's nearest u.
    turn = b / a * math.sqrt(level * a / determinant)
    low, high = min(right, max(left, -turn)), min(right, max(left, turn))
    v_max = (math.sqrt(max(0.0, level * c - determinant * low * low)) - b * low) / c
    v_min = (-math.sqrt(max(0.0, level * c - determinant * high * high)) - b * high) / c
    return int(max(float(y0), np.ceil(y + v_min - 0.5))), int(min(float(y1), np.floor(y + v_max + 0.5)))


@kernel
def count_pairs(start, end, means2d, conics, radii, opacities, width, height, counts):
    """Number of tiles that each Gaussian can colour, ``counts`` [c * m]."""
    gaussians = radii.shape[1]
    for i in range(start, end):
        camera, m = i // gaussians, i % gaussians
        mean, conic = means2d[camera, m], conics[camera, m]
        x0, x1, y0, y1, level = _reach(mean, conic, radii[camera, m], opacities[m], width, height)
        counts[i] = 0
        for column in range(x0 // TILE, (x1 + TILE - 1) // TILE):
            first, stop = max(x0, column * TILE), min(x1, (column + 1) * TILE)
            r0, r1 = _rows_in_column(mean, conic, level, first, stop, y0, y1)
            if r0 < r1:
                counts[i] += (r1 - 1) // TILE - r0 // TILE + 1


@kernel
def list_pairs(start, end, means2d, conics, radii, opacities, width, height, slot_starts, slot_tiles, slot_rows):
    """Fill each Gaussian's slots: the tile, and the first and end row in that tile.

    ``slot_starts`` [c * m + 1] are running sums of ``counts``: Gaussian i owns the slots from its entry to the next.
    """
    gaussians = radii.shape[1]
    tiles_x = (width + TILE - 1) // TILE
    for i in range(start, end):
        slot = slot_starts[i]
        if slot == slot_starts[i + 1]:
            continue
        camera, m = i // gaussians, i % gaussians
        mean, conic = means2d[camera, m], conics[camera, m]
        x0, x1, y0, y1, level = _reach(mean, conic, radii[camera, m], opacities[m], width, height)
        for column in range(x0 // TILE, (x1 + TILE - 1) // TILE):
            first, stop = max(x0, column * TILE), min(x1, (column + 1) * TILE)
            r0, r1 = _rows_in_column(mean, conic, level, first, stop, y0, y1)
            if r0 < r1:
                for row in range(r0 // TILE, (r1 - 1) // TILE + 1):
                    slot_tiles[slot] = row * tiles_x + column
                    slot_rows[slot, 0] = max(r0 - row * TILE, 0)
                    slot_rows[slot, 1] = min(r1 - row * TILE, TILE)
                    slot += 1


@helper
def _sort_by_key(order, keys):
    """Stable radix sort of the index list ``order`` by ``keys[index]`` (uint32), in three passes of 11 bits."""
    other = np.empty_like(order)
    starts = np.empty(2049, np.int64)
    for bit in range(0, 33, 11):
        shift = np.uint32(bit)
        starts[:] = 0
        for i in range(order.shape[0]):
            starts[((keys[order[i]] >> shift) & np.uint32(2047)) + 1] += 1
        for digit in range(2048):
            starts[digit + 1] += starts[digit]
        for i in range(order.shape[0]):
            digit = (keys[order[i]] >> shift) & np.uint32(2047)
            other[starts[digit]] = order[i]
            starts[digit] += 1
        order, other = other, order
    return order


@kernel
def sort_pairs(start, end, depth_bits, slot_starts, slot_tiles, tiles, tile_starts, pair_gaussians, pair_slots):
    """List the pairs of every tile front to back; one camera is one item of work.

    Depths are positive, so their bits as uint32 sort like them; equal depths keep the order of the rows.
    ``tile_starts`` [c * tiles + 1] are the starts of the tiles' lists.
    """
    gaussians = depth_bits.shape[1]
    for camera in range(start, end):
        starts = slot_starts[camera * gaussians : (camera + 1) * gaussians + 1]
        order = np.empty(gaussians, np.int32)
        seen = 0
        for m in range(gaussians):
            if starts[m + 1] > starts[m]:
                order[seen] = m
                seen += 1
        order = _sort_by_key(order[:seen], depth_bits[camera])
        cursor = np.zeros(tiles + 1, np.int64)
        for slot in range(starts[0], starts[gaussians]):
            cursor[slot_tiles[slot] + 1] += 1
        cursor[0] = starts[0]
        for tile in range(tiles):
            cursor[tile + 1] += cursor[tile]
            tile_starts[camera * tiles + tile + 1] = cursor[tile + 1]
        for m in order:
            for slot in range(starts[m], starts[m + 1]):
                place = cursor[slot_tiles[slot]]
                cursor[slot_tiles[slot]] += 1
                pair_gaussians[place] = m
                pair_slots[place] = slot
