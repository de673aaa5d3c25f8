"""Which square tiles of a view can change when something moves: the reason that most pixels are traced only once.

The columns of the table of primitives are those of ``trace``; like it, this module shares no compiled function with
any other.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from fourdgs_ns.synth.trace import NOTHING, SUN, TILE


@njit
def _tile_sees(prims, i, view, col0, row0, col1, row1):
    """False only if primitive ``i`` cannot project into the pixel rectangle."""
    if prims[i, 0] < 0.0:
        return False
    x, y, z = prims[i, 1] - view[0], prims[i, 2] - view[1], prims[i, 3] - view[2]
    r = prims[i, 17]
    px = view[3] * x + view[6] * y + view[9] * z
    py = view[4] * x + view[7] * y + view[10] * z
    pz = view[5] * x + view[8] * y + view[11] * z
    if pz + r <= 0.0:
        return False
    if pz - r < 1e-3:
        return True
    # The bounding sphere lies in a box along the camera axes; its extreme slopes are at the box's corners.
    u0 = min((px - r) / (pz - r), (px - r) / (pz + r)) * view[12] + view[14]
    u1 = max((px + r) / (pz - r), (px + r) / (pz + r)) * view[12] + view[14]
    v0 = min((py - r) / (pz - r), (py - r) / (pz + r)) * view[13] + view[15]
    v1 = max((py + r) / (pz - r), (py + r) / (pz + r)) * view[13] + view[15]
    return u0 < col1 and u1 > col0 and v0 < row1 and v1 > row0


@njit
def _bound_tile(tile, width, height, s, code, position, spheres):
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for row in range(row0, min(height, row0 + TILE)):
        for n in range((row * width + col0) * s, (row * width + min(width, col0 + TILE)) * s):
            if code[n] != NOTHING:
                for a in range(3):
                    low[a] = min(low[a], position[n, a])
                    high[a] = max(high[a], position[n, a])
    spheres[tile, 3] = -1.0
    if low[0] <= high[0]:
        for a in range(3):
            spheres[tile, a] = (low[a] + high[a]) / 2.0
        spheres[tile, 3] = np.sqrt(np.sum((high - low) ** 2)) / 2.0


@njit(parallel=True, cache=True)
def bound_tiles(width, height, s, code, position, spheres):
    """Bounding sphere (centre, radius; radius -1 where nothing is seen) of what each tile sees: float64 [tiles, 4].

    ``code`` and ``position``: of ``s`` samples per pixel.
    """
    for tile in prange(len(spheres)):
        _bound_tile(tile, width, height, s, code, position, spheres)


@njit
def _segment_gap(prims, i, sphere, light):
    """Distance from the centre of primitive ``i`` to the segment from the tile's sphere to a light."""
    ax, ay, az = prims[i, 1] - sphere[0], prims[i, 2] - sphere[1], prims[i, 3] - sphere[2]
    bx, by, bz = light[0] - sphere[0], light[1] - sphere[1], light[2] - sphere[2]
    k = min(1.0, max(0.0, (ax * bx + ay * by + az * bz) / (bx * bx + by * by + bz * bz)))
    return np.sqrt((ax - k * bx) ** 2 + (ay - k * by) ** 2 + (az - k * bz) ** 2)


@njit
def _may_shade(prims, i, sphere, lights, rim, crowding):
    """False only if primitive ``i`` cannot change the light on anything inside ``sphere``."""
    size = sphere[3]
    if size < 0.0:
        return False
    x, y, z = prims[i, 1] - sphere[0], prims[i, 2] - sphere[1], prims[i, 3] - sphere[2]
    radius = prims[i, 17]
    if np.sqrt(x * x + y * y + z * z) < radius + size + 2.0 * crowding:
        return True
    if _segment_gap(prims, i, sphere, lights[SUN]) < radius + size + 0.01:
        return True
    return _segment_gap(prims, i, sphere, lights[0]) < radius + max(size, rim) + 0.01


@njit
def _touch_tile(tile, view, width, height, prims, first, lights, rim, crowding, sphere):
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    col1, row1 = min(width, col0 + TILE), min(height, row0 + TILE)
    shown, shading = 0, 0
    for i in range(first, len(prims)):
        if prims[i, 0] >= 0.0:
            if _tile_sees(prims, i, view, col0, row0, col1, row1):
                shown |= 1 << i
            if _may_shade(prims, i, sphere, lights, rim, crowding):
                shading |= 1 << i
    return shown, shading


@njit(parallel=True, cache=True)
def touched_tiles(view, width, height, prims, first, lights, rim, crowding, spheres, near, around):
    """Per tile, bit sets of the primitives ``first``.. that it may show (``near``) or be shaded by (``around``).

    Conservative, so that a tile with neither looks exactly as it does without those primitives. ``rim``: radius of
    the lamp in metres; ``crowding``: the longest reach of ``trace.REACH``; ``spheres``: from :func:`bound_tiles`.
    Writes int64 [tiles] each.
    """
    for tile in prange(len(spheres)):
        near[tile], around[tile] = _touch_tile(
            tile, view, width, height, prims, first, lights, rim, crowding, spheres[tile]
        )
