"""Which square tiles of a view can change when something moves: the reason that most pixels are traced only once.

The columns of the table of primitives are those of ``trace``; like it, this module shares no compiled function with
any other.
"""

from __future__ import annotations

import numpy as np

from fourdgs_ns.common.compiled import exact_helper, exact_kernel
from fourdgs_ns.synth.trace import CAPSULE, LAMP_CENTER, NOTHING, SUN, TILE, TORUS


@exact_kernel
def project_boxes(prims, view, rects):
    """Pixel rectangles (u0, v0, u1, v1; empty for what is absent or behind) that enclose each primitive: [p, 4].

    A primitive lies in the box along its axes whose half size its kind gives; a box in front of the camera projects
    into the hull of its projected corners.
    """
    for i in range(len(prims)):
        rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = np.inf, np.inf, -np.inf, -np.inf
        if prims[i, 0] < 0.0:
            continue
        wide, tall = 1.0, 1.0
        if prims[i, 0] == CAPSULE:
            tall = 1.0 + prims[i, 16]
        if prims[i, 0] == TORUS:
            wide, tall = 1.0 + prims[i, 16], prims[i, 16]
        behind = 0
        for corner in range(8):
            a = wide * prims[i, 13] * (1.0 if corner & 1 else -1.0)
            b = wide * prims[i, 14] * (1.0 if corner & 2 else -1.0)
            c = tall * prims[i, 15] * (1.0 if corner & 4 else -1.0)
            x = prims[i, 1] + prims[i, 4] * a + prims[i, 5] * b + prims[i, 6] * c - view[0]
            y = prims[i, 2] + prims[i, 7] * a + prims[i, 8] * b + prims[i, 9] * c - view[1]
            z = prims[i, 3] + prims[i, 10] * a + prims[i, 11] * b + prims[i, 12] * c - view[2]
            depth = view[5] * x + view[8] * y + view[11] * z
            if depth < 1e-3:
                behind += 1
                continue
            u = view[12] * (view[3] * x + view[6] * y + view[9] * z) / depth + view[14]
            v = view[13] * (view[4] * x + view[7] * y + view[10] * z) / depth + view[15]
            rects[i, 0], rects[i, 1] = min(rects[i, 0], u), min(rects[i, 1], v)
            rects[i, 2], rects[i, 3] = max(rects[i, 2], u), max(rects[i, 3], v)
        if 0 < behind < 8:  # it reaches through the plane of the camera: it may be seen anywhere
            rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3] = -np.inf, -np.inf, np.inf, np.inf


@exact_helper
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


@exact_kernel
def bound_tiles(start, end, width, height, s, code, position, spheres):
    """Bounding sphere (centre, radius; radius -1 where nothing is seen) of what each tile sees: float64 [tiles, 4].

    ``code`` and ``position``: of ``s`` samples per pixel.
    """
    for tile in range(start, end):
        _bound_tile(tile, width, height, s, code, position, spheres)


@exact_helper
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


@exact_helper
def _may_crowd(prims, i, sphere, crowding):
    """False only if primitive ``i`` cannot take ambient light from anything inside ``sphere``."""
    x, y, z = prims[i, 1] - sphere[0], prims[i, 2] - sphere[1], prims[i, 3] - sphere[2]
    return sphere[3] >= 0.0 and np.sqrt(x * x + y * y + z * z) < prims[i, 17] + sphere[3] + 2.0 * crowding


@exact_helper
def _append(lists, row, i):
    lists[row, 0] += 1
    lists[row, lists[row, 0]] = i


@exact_helper
def _list_tile(tile, rects, width, height, prims, first, lights, rim, crowding, spheres, near, shadow, crowd):
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    col1, row1 = min(width, col0 + TILE), min(height, row0 + TILE)
    near[tile, 0], shadow[tile, 0], crowd[tile, 0] = 0, 0, 0
    for i in range(first, len(prims)):
        if prims[i, 0] >= 0.0:
            if rects[i, 0] < col1 and rects[i, 2] > col0 and rects[i, 1] < row1 and rects[i, 3] > row0:
                _append(near, tile, i)
            sphere = spheres[tile]
            if _may_shadow(prims, i, sphere, lights[LAMP_CENTER], rim) or _may_shadow(
                prims, i, sphere, lights[SUN], 0.0
            ):
                _append(shadow, tile, i)
            if _may_crowd(prims, i, spheres[tile], crowding):
                _append(crowd, tile, i)


@exact_kernel
def list_tiles(start, end, rects, width, height, prims, first, lights, rim, crowding, spheres, near, shadow, crowd):
    """Per tile, lists (see ``trace``) of the primitives ``first``.. that it may show or that may take light from it.

    Conservative, so that a tile whose lists are empty looks exactly as it does without those primitives. ``rects``: from
    :func:`project_boxes`. ``rim``:
    radius of the lamp in metres; ``crowding``: the longest reach of ``trace.REACH``; ``spheres``: from
    :func:`bound_tiles`. Writes int16 [tiles, p + 1] each.
    """
    for tile in range(start, end):
        _list_tile(tile, rects, width, height, prims, first, lights, rim, crowding, spheres, near, shadow, crowd)


@exact_kernel
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
