"""Which square tiles of a view can change when something moves: the reason that most pixels are traced only once.

The columns of the table of primitives are those of ``trace``; like it, this module shares no compiled function with
any other.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from fourdgs_ns.synth.trace import LAMP_CENTER, NOTHING, SUN, TILE, TORUS


@njit(error_model="numpy")
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


@njit(error_model="numpy")
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


@njit(nogil=True, cache=True, error_model="numpy")
def bound_tiles(start, end, width, height, s, code, position, spheres):
    """Bounding sphere (centre, radius; radius -1 where nothing is seen) of what each tile sees: float64 [tiles, 4].

    ``code`` and ``position``: of ``s`` samples per pixel.
    """
    for tile in range(start, end):
        _bound_tile(tile, width, height, s, code, position, spheres)


@njit(error_model="numpy")
def _may_shadow(prims, i, sphere, light, rim):
    """False only if primitive ``i`` lies outside the hull of ``sphere`` and of a sphere of ``rim`` about a light."""
    if sphere[3] < 0.0:
        return False
    ax, ay, az = prims[i, 1] - sphere[0], prims[i, 2] - sphere[1], prims[i, 3] - sphere[2]
    bx, by, bz = light[0] - sphere[0], light[1] - sphere[1], light[2] - sphere[2]
    length = np.sqrt(bx * bx + by * by + bz * bz)
    k = min(1.0, max(0.0, (ax * bx + ay * by + az * bz) / (length * length)))
    gap = np.sqrt((ax - k * bx) ** 2 + (ay - k * by) ** 2 + (az - k * bz) ** 2)
    # The hull's radius varies linearly along the axis (and the primitive spans some of it).
    span = (prims[i, 17] + max(sphere[3], rim)) / length
    start, end = max(0.0, k - span), min(1.0, k + span)
    wide = max(sphere[3] + start * (rim - sphere[3]), sphere[3] + end * (rim - sphere[3]))
    return gap < prims[i, 17] + wide + 0.01


@njit(error_model="numpy")
def _may_crowd(prims, i, sphere, crowding):
    """False only if primitive ``i`` cannot take ambient light from anything inside ``sphere``."""
    x, y, z = prims[i, 1] - sphere[0], prims[i, 2] - sphere[1], prims[i, 3] - sphere[2]
    return sphere[3] >= 0.0 and np.sqrt(x * x + y * y + z * z) < prims[i, 17] + sphere[3] + 2.0 * crowding


@njit(error_model="numpy")
def _append(lists, row, i):
    lists[row, 0] += 1
    lists[row, lists[row, 0]] = i


@njit(error_model="numpy")
def _list_tile(tile, view, width, height, prims, first, lights, rim, crowding, spheres, near, shadow, crowd):
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    col1, row1 = min(width, col0 + TILE), min(height, row0 + TILE)
    near[tile, 0], shadow[tile, 0], crowd[tile, 0] = 0, 0, 0
    for i in range(first, len(prims)):
        if prims[i, 0] >= 0.0:
            if _tile_sees(prims, i, view, col0, row0, col1, row1):
                _append(near, tile, i)
            sphere = spheres[tile]
            if _may_shadow(prims, i, sphere, lights[LAMP_CENTER], rim) or _may_shadow(
                prims, i, sphere, lights[SUN], 0.0
            ):
                _append(shadow, tile, i)
            if _may_crowd(prims, i, spheres[tile], crowding):
                _append(crowd, tile, i)


@njit(nogil=True, cache=True, error_model="numpy")
def list_tiles(start, end, view, width, height, prims, first, lights, rim, crowding, spheres, near, shadow, crowd):
    """Per tile, lists (see ``trace``) of the primitives ``first``.. that it may show or that may take light from it.

    Conservative, so that a tile whose lists are empty looks exactly as it does without those primitives. ``rim``:
    radius of the lamp in metres; ``crowding``: the longest reach of ``trace.REACH``; ``spheres``: from
    :func:`bound_tiles`. Writes int16 [tiles, p + 1] each.
    """
    for tile in range(start, end):
        _list_tile(tile, view, width, height, prims, first, lights, rim, crowding, spheres, near, shadow, crowd)


@njit(cache=True, error_model="numpy")
def list_shaders(prims, lights, rim, crowding, shaders):
    """Per primitive, the list of primitives that may take light from it; int16 [p, p + 1].

    Itself included only if it is not convex.
    """
    for i in range(len(prims)):
        shaders[i, 0] = 0
        sphere = np.array([prims[i, 1], prims[i, 2], prims[i, 3], prims[i, 17]])
        for j in range(len(prims)):
            shadow = _may_shadow(prims, j, sphere, lights[LAMP_CENTER], rim) or _may_shadow(
                prims, j, sphere, lights[SUN], 0.0
            )
            other = i != j or prims[i, 0] == TORUS
            near = shadow or _may_crowd(prims, j, sphere, crowding)
            if prims[i, 0] >= 0.0 and prims[j, 0] >= 0.0 and other and near:
                _append(shaders, i, j)
