"""Geometry kernels of the generator: which surface a ray meets, which lights it sees, how open its surroundings are.

World: metres, right-handed, z up. Rays are ``origin + depth * direction`` with camera-space z of ``direction`` equal to
1, so that the ray parameter *is* the depth along the optical axis. Everything is evaluated in float64 from closed
forms (the torus by bisection), so the ground truth is exact to rounding.

This module and ``shading`` share no compiled function on purpose: Numba's on-disk cache watches only the file of the
outermost function and would keep running old code when a helper in another file changes. For the same reason the helpers
that the three kernels at the end call stay in this file, long as it is. Kernels release Python's lock and work on the items
``start``..``end``, so that threads can share them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8, UInt16

from fourdgs_ns.common.compiled import exact_helper, exact_kernel

# The constants of this module are compiled into the kernels of the others too: whoever changes one deletes __pycache__.

ELLIPSOID, BOX, CYLINDER, CAPSULE, TORUS = range(5)
ABSENT = -1

# Columns of the table of primitives, float64 [p, COLUMNS].
KIND = 0
CENTER = 1  # 3: world position of the object's origin
ROTATION = 4  # 9: world_from_object, row by row
SCALE = 13  # 3: metres per object-space unit along the object's axes
SHAPE = 16  # capsule: half length of its segment; torus: minor radius (both in object-space units)
RADIUS = 17  # metres: bounding sphere about the centre
TO_OBJECT = 18  # 9: object axes and units from world axes and metres, row by row
COLUMNS = 27

# Which primitives matter where is told by lists, int16 [rows, p + 1]: in each row a count, then that many primitives.
# There is one row per tile or per primitive; functions take the lists and the number of the row.

NOTHING = -100
"""Code of a sample whose ray leaves the scene; codes -6..-1 are room faces, codes >= 0 rows of the table."""

LAMP_POINTS = 8
"""Lights 0..7 are points of the lamp, light 0 on its rim; light 8 is the sun, which shines only through the window."""
SUN = 8
LAMP_CENTER = 9
"""Row of the lights that is no light itself: the middle of the lamp."""
ALL_LIGHTS = 511

# The kernels' description of the surroundings, float64 [41]: the lights (10 x 3), the window (x, y0, y1, z0, z1) and the
# room (low corner, high corner). One array, because every array among the arguments makes a call slower.
WINDOW = 30
ROOM = 35

TILE = 8
"""Side in pixels of the squares that are traced again when something near them moves."""

REACH = (0.1, 0.3)  # metres along the normal at which crowding is measured
_CROWDING = (0.45, 0.4)  # share of the ambient light that full crowding at that reach takes away
_LIFT = 1e-4  # metres by which shadow rays leave their own surface


class Samples(NamedTuple):
    """What each sample of a view sees; n = height * width * samples per pixel, pixel by pixel."""

    depth: Float32[np.ndarray, " n"]
    """Metres along the optical axis."""
    code: Int8[np.ndarray, " n"]
    position: Float32[np.ndarray, "n 3"]
    """World position in metres."""
    local: Float32[np.ndarray, "n 3"]
    """Object-space position (primitives), or metres (u, v, 0) on the face (room)."""
    normal: Float32[np.ndarray, "n 3"]
    """World normal."""
    lights: UInt16[np.ndarray, " n"]
    """Bit i: light i is seen. Sample k of a pixel asks only for its share of the lamp: see :func:`_lights`."""
    openness: Float32[np.ndarray, " n"]
    """Share of the ambient light that arrives, 1 in the open."""


def allocate_samples(count: int) -> Samples:
    """Empty buffers for ``count`` samples."""
    return Samples(
        np.zeros(count, np.float32),
        np.full(count, NOTHING, np.int8),
        np.zeros((count, 3), np.float32),
        np.zeros((count, 3), np.float32),
        np.zeros((count, 3), np.float32),
        np.zeros(count, np.uint16),
        np.zeros(count, np.float32),
    )


@exact_helper
def _row(array, n):
    return np.float64(array[n, 0]), np.float64(array[n, 1]), np.float64(array[n, 2])


@exact_helper
def _to_object(prims, i, x, y, z):
    """A world vector in the axes and units of primitive ``i``."""
    return (
        prims[i, 18] * x + prims[i, 19] * y + prims[i, 20] * z,
        prims[i, 21] * x + prims[i, 22] * y + prims[i, 23] * z,
        prims[i, 24] * x + prims[i, 25] * y + prims[i, 26] * z,
    )


@exact_helper
def _hit_sphere(ox, oy, oz, dx, dy, dz):
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    disc = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
    if disc < 0.0:
        return np.inf
    root = np.sqrt(disc)
    near = (-b - root) / a
    if near > 0.0:
        return near
    far = (-b + root) / a
    return far if far > 0.0 else np.inf


@exact_helper
def _hit_slab(o, d):
    """Entry and exit of the slab |x| <= 1."""
    if abs(d) < 1e-12:
        return (-np.inf, np.inf) if abs(o) <= 1.0 else (np.inf, -np.inf)
    a = (-1.0 - o) / d
    b = (1.0 - o) / d
    return (a, b) if a < b else (b, a)


@exact_helper
def _hit_box(ox, oy, oz, dx, dy, dz):
    x0, x1 = _hit_slab(ox, dx)
    y0, y1 = _hit_slab(oy, dy)
    z0, z1 = _hit_slab(oz, dz)
    near = max(x0, y0, z0)
    far = min(x1, y1, z1)
    if near > far or far <= 0.0:
        return np.inf
    return near if near > 0.0 else far


@exact_helper
def _tube(ox, oy, dx, dy):
    """Entry and exit of the infinite cylinder x^2 + y^2 <= 1."""
    a = dx * dx + dy * dy
    c = ox * ox + oy * oy - 1.0
    if a < 1e-18:
        return (-np.inf, np.inf) if c <= 0.0 else (np.inf, -np.inf)
    b = ox * dx + oy * dy
    disc = b * b - a * c
    if disc < 0.0:
        return np.inf, -np.inf
    root = np.sqrt(disc)
    return (-b - root) / a, (-b + root) / a


@exact_helper
def _hit_cylinder(ox, oy, oz, dx, dy, dz):
    r0, r1 = _tube(ox, oy, dx, dy)
    z0, z1 = _hit_slab(oz, dz)
    near = max(r0, z0)
    far = min(r1, z1)
    if near > far or far <= 0.0:
        return np.inf
    return near if near > 0.0 else far


@exact_helper
def _hit_capsule(half, ox, oy, oz, dx, dy, dz):
    """Segment |z| <= half swept by the unit sphere."""
    best = np.inf
    r0, _ = _tube(ox, oy, dx, dy)
    if r0 > 0.0 and abs(oz + r0 * dz) <= half:
        best = r0
    for end in (-half, half):
        t = _hit_sphere(ox, oy, oz - end, dx, dy, dz)
        if abs(oz + t * dz) >= half and t < best:
            best = t
    return best


@exact_helper
def _torus_distance(minor, x, y, z):
    ring = np.sqrt(x * x + y * y) - 1.0
    return np.sqrt(ring * ring + z * z) - minor


@exact_helper
def _torus_along(minor, ox, oy, oz, dx, dy, dz, s):
    """Distance to the torus at arc length ``s`` of a ray of unit speed, and its derivative."""
    x, y, z = ox + s * dx, oy + s * dy, oz + s * dz
    axis = np.sqrt(x * x + y * y)
    ring = axis - 1.0
    tube = np.sqrt(ring * ring + z * z)
    return tube - minor, (ring * (x * dx + y * dy) / max(axis, 1e-12) + z * dz) / max(tube, 1e-12)


@exact_helper
def _hit_torus(minor, ox, oy, oz, dx, dy, dz):
    """Sphere tracing with Newton's steps where the ray grazes, ended by bisection."""
    speed = np.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / speed, dy / speed, dz / speed
    b = ox * dx + oy * dy + oz * dz
    disc = b * b - (ox * ox + oy * oy + oz * oz) + (1.0 + minor) ** 2
    if disc <= 0.0:
        return np.inf
    root = np.sqrt(disc)
    s, end = max(0.0, -b - root), -b + root
    gap, slope = _torus_along(minor, ox, oy, oz, dx, dy, dz, s)
    for _ in range(400):
        if s >= end:
            return np.inf
        if gap < 1e-10:
            return s / speed if s > 0.0 else np.inf
        step = gap if slope >= 0.0 else max(gap, min(0.1, -gap / slope))
        ahead, turned = _torus_along(minor, ox, oy, oz, dx, dy, dz, s + step)
        low, high = s, s + step
        if ahead > 0.0 and slope < 0.0 < turned:
            for _ in range(50):  # the nearest approach lies between
                middle = 0.5 * (low + high)
                if _torus_along(minor, ox, oy, oz, dx, dy, dz, middle)[1] < 0.0:
                    low = middle
                else:
                    high = middle
            low, high = s, 0.5 * (low + high)
        if _torus_along(minor, ox, oy, oz, dx, dy, dz, high)[0] < 0.0:
            for _ in range(50):
                middle = 0.5 * (low + high)
                if _torus_along(minor, ox, oy, oz, dx, dy, dz, middle)[0] < 0.0:
                    high = middle
                else:
                    low = middle
            return high / speed
        s, gap, slope = s + step, ahead, turned
    return np.inf


@exact_helper
def _hit(prims, i, ox, oy, oz, dx, dy, dz):
    """Smallest positive ray parameter at which the ray meets primitive ``i``, or infinity."""
    x, y, z = prims[i, 1] - ox, prims[i, 2] - oy, prims[i, 3] - oz
    ahead = x * dx + y * dy + z * dz
    apart = x * x + y * y + z * z
    reach = prims[i, 17] * prims[i, 17]
    if apart > reach and (ahead < 0.0 or apart - ahead * ahead / (dx * dx + dy * dy + dz * dz) > reach):
        return np.inf
    ax, ay, az = _to_object(prims, i, -x, -y, -z)
    bx, by, bz = _to_object(prims, i, dx, dy, dz)
    kind = int(prims[i, 0])
    if kind == ELLIPSOID:
        return _hit_sphere(ax, ay, az, bx, by, bz)
    if kind == BOX:
        return _hit_box(ax, ay, az, bx, by, bz)
    if kind == CYLINDER:
        return _hit_cylinder(ax, ay, az, bx, by, bz)
    if kind == CAPSULE:
        return _hit_capsule(prims[i, 16], ax, ay, az, bx, by, bz)
    return _hit_torus(prims[i, 16], ax, ay, az, bx, by, bz)


@exact_helper
def _object_normal(prims, i, x, y, z):
    """Outward direction at object-space surface point (x, y, z), before the scale is undone."""
    kind = int(prims[i, 0])
    if kind == ELLIPSOID:
        return x, y, z
    if kind == BOX:
        if abs(x) >= abs(y) and abs(x) >= abs(z):
            return np.sign(x), 0.0, 0.0
        if abs(y) >= abs(z):
            return 0.0, np.sign(y), 0.0
        return 0.0, 0.0, np.sign(z)
    if kind == CYLINDER:
        if abs(z) * abs(z) >= x * x + y * y:
            return 0.0, 0.0, np.sign(z)
        return x, y, 0.0
    if kind == CAPSULE:
        half = prims[i, 16]
        return x, y, z - min(half, max(-half, z))
    ring = np.sqrt(x * x + y * y)
    return x - x / ring, y - y / ring, z


@exact_helper
def _normal(prims, i, x, y, z):
    """World normal at object-space surface point (x, y, z)."""
    a, b, c = _object_normal(prims, i, x, y, z)
    a, b, c = a / prims[i, 13], b / prims[i, 14], c / prims[i, 15]
    nx = prims[i, 4] * a + prims[i, 5] * b + prims[i, 6] * c
    ny = prims[i, 7] * a + prims[i, 8] * b + prims[i, 9] * c
    nz = prims[i, 10] * a + prims[i, 11] * b + prims[i, 12] * c
    size = np.sqrt(nx * nx + ny * ny + nz * nz)
    return nx / size, ny / size, nz / size


@exact_helper
def _distance(prims, i, x, y, z):
    """Distance in metres from a world point to primitive ``i`` (first order for ellipsoids)."""
    px, py, pz = _to_object(prims, i, x - prims[i, 1], y - prims[i, 2], z - prims[i, 3])
    sx, sy, sz = prims[i, 13], prims[i, 14], prims[i, 15]
    kind = int(prims[i, 0])
    if kind == ELLIPSOID:
        size = np.sqrt(px * px + py * py + pz * pz)
        slope = np.sqrt((px / sx) ** 2 + (py / sy) ** 2 + (pz / sz) ** 2)
        return size * (size - 1.0) / max(slope, 1e-9)
    if kind == BOX:
        qx, qy, qz = (abs(px) - 1.0) * sx, (abs(py) - 1.0) * sy, (abs(pz) - 1.0) * sz
        return np.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2) + min(max(qx, qy, qz), 0.0)
    if kind == CYLINDER:
        qx, qz = (np.sqrt(px * px + py * py) - 1.0) * sx, (abs(pz) - 1.0) * sz
        return np.sqrt(max(qx, 0.0) ** 2 + max(qz, 0.0) ** 2) + min(max(qx, qz), 0.0)
    if kind == CAPSULE:
        half = prims[i, 16]
        pz -= min(half, max(-half, pz))
        return (np.sqrt(px * px + py * py + pz * pz) - 1.0) * sx
    return _torus_distance(prims[i, 16], px, py, pz) * sx


@exact_helper
def _openness_factor(distance, k):
    crowd = (REACH[k] - distance) / REACH[k]
    return 1.0 - _CROWDING[k] * min(1.0, max(0.0, crowd))


@exact_helper
def _openness(prims, lists, which, world, indoors, x, y, z, nx, ny, nz):
    """Product over the listed primitives, and the room if ``indoors``, of the ambient light they leave."""
    result = 1.0
    for k in range(2):
        h = REACH[k]
        px, py, pz = x + h * nx, y + h * ny, z + h * nz
        if indoors:
            walls = min(px - world[ROOM], world[ROOM + 3] - px, py - world[ROOM + 1], world[ROOM + 4] - py)
            result *= _openness_factor(min(walls, pz - world[ROOM + 2], world[ROOM + 5] - pz), k)
        for q in range(1, lists[which, 0] + 1):
            i = lists[which, q]
            ax, ay, az = px - prims[i, 1], py - prims[i, 2], pz - prims[i, 3]
            if ax * ax + ay * ay + az * az < (h + prims[i, 17]) ** 2:
                result *= _openness_factor(_distance(prims, i, px, py, pz), k)
    return result


@exact_helper
def _lights(prims, lists, which, world, seen, group, groups, x, y, z, nx, ny, nz):
    """The bits of ``seen`` whose lights the listed primitives (and, for the sun, the window's frame) let through.

    Of the lamp, only the points ``group``, ``group + groups``, ... are considered; the others' bits come back 0. The
    samples of a pixel deal the points among themselves: together they see all of the lamp.
    """
    x, y, z = x + _LIFT * nx, y + _LIFT * ny, z + _LIFT * nz
    sx, sy, sz = world[3 * SUN] - x, world[3 * SUN + 1] - y, world[3 * SUN + 2] - z
    if (seen >> SUN) & 1:
        # The pane is a rectangle at x = world[WINDOW]; two bars divide it in four.
        k = (world[WINDOW] - x) / sx
        u = (y + k * sy - world[WINDOW + 1]) / (world[WINDOW + 2] - world[WINDOW + 1])
        v = (z + k * sz - world[WINDOW + 3]) / (world[WINDOW + 4] - world[WINDOW + 3])
        inside = 0.0 < k < 1.0 and 0.0 < u < 1.0 and 0.0 < v < 1.0 and abs(u - 0.5) > 0.03 and abs(v - 0.5) > 0.03
        if not inside or sx * nx + sy * ny + sz * nz <= 0.0:
            seen &= ~(1 << SUN)
    cx, cy, cz = world[3 * LAMP_CENTER] - x, world[3 * LAMP_CENTER + 1] - y, world[3 * LAMP_CENTER + 2] - z
    if cx * nx + cy * ny + cz * nz <= 0.0:
        seen &= 1 << SUN
    lamp = 0
    for j in range(group, LAMP_POINTS, groups):
        lamp |= 1 << j
    seen &= lamp | (1 << SUN)
    far = 1.0 / (cx * cx + cy * cy + cz * cz)
    rx, ry, rz = world[0] - x - cx, world[1] - y - cy, world[2] - z - cz
    rim = np.sqrt(rx * rx + ry * ry + rz * rz)
    # The rays to the lamp fill a cone; beside a primitive it is at most slope * k + growth * radius wide.
    slope = rim / (1.0 - rim * np.sqrt(far))
    growth = slope * np.sqrt(far)
    for q in range(1, lists[which, 0] + 1):
        if seen == 0:
            break
        i = lists[which, q]
        if (seen >> SUN) & 1 and _hit(prims, i, x, y, z, sx, sy, sz) < 1.0:
            seen &= ~(1 << SUN)
        if seen & lamp == 0:
            continue
        ax, ay, az = prims[i, 1] - x, prims[i, 2] - y, prims[i, 3] - z
        k = min(1.0, max(0.0, (ax * cx + ay * cy + az * cz) * far))
        gap = (ax - k * cx) ** 2 + (ay - k * cy) ** 2 + (az - k * cz) ** 2
        if gap > (prims[i, 17] + min(rim, slope * k + growth * prims[i, 17])) ** 2:
            continue
        for j in range(group, LAMP_POINTS, groups):
            if (seen >> j) & 1:
                t = _hit(prims, i, x, y, z, world[3 * j] - x, world[3 * j + 1] - y, world[3 * j + 2] - z)
                if t < 1.0:
                    seen &= ~(1 << j)
    return seen


@exact_helper
def _hit_room(world, ox, oy, oz, dx, dy, dz):
    """Ray parameter and face (0..5: x low, x high, y low, ...) where a ray from inside leaves the room."""
    best = np.inf
    face = 0
    for axis in range(3):
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        if abs(d) < 1e-12:
            continue
        side = 1 if d > 0.0 else 0
        t = (world[ROOM + 3 * side + axis] - o) / d
        if t < best:
            best = t
            face = 2 * axis + side
    return best, face


@exact_helper
def _ray(view, u, v):
    a, b = (u - view[14]) / view[12], (v - view[15]) / view[13]
    return (
        view[3] * a + view[4] * b + view[5],
        view[6] * a + view[7] * b + view[8],
        view[9] * a + view[10] * b + view[11],
    )


@exact_helper
def _store_primitive(prims, shaders, world, indoors, lit, group, groups, out, n, i, t, x, y, z):
    """Fill sample ``n``, which sees primitive ``i`` at world point (x, y, z)."""
    lx, ly, lz = _to_object(prims, i, x - prims[i, 1], y - prims[i, 2], z - prims[i, 3])
    nx, ny, nz = _normal(prims, i, lx, ly, lz)
    out.depth[n] = t
    out.code[n] = i
    out.position[n, 0], out.position[n, 1], out.position[n, 2] = x, y, z
    out.local[n, 0], out.local[n, 1], out.local[n, 2] = lx, ly, lz
    out.normal[n, 0], out.normal[n, 1], out.normal[n, 2] = nx, ny, nz
    if lit:
        out.lights[n] = _lights(prims, shaders, i, world, ALL_LIGHTS, group, groups, x, y, z, nx, ny, nz)
        out.openness[n] = _openness(prims, shaders, i, world, indoors, x, y, z, nx, ny, nz)


@exact_helper
def _store_face(prims, everything, world, lit, group, groups, out, n, face, t, x, y, z):
    """Fill sample ``n``, which sees a face of the room at world point (x, y, z)."""
    axis = face // 2
    side = -1.0 if face % 2 else 1.0
    nx = side if axis == 0 else 0.0
    ny = side if axis == 1 else 0.0
    nz = side if axis == 2 else 0.0
    out.depth[n] = t
    out.code[n] = -1 - face
    out.position[n, 0], out.position[n, 1], out.position[n, 2] = x, y, z
    out.normal[n, 0], out.normal[n, 1], out.normal[n, 2] = nx, ny, nz
    out.local[n, 0] = y if axis == 0 else x
    out.local[n, 1] = y if axis == 2 else z
    out.local[n, 2] = 0.0
    if lit:
        out.lights[n] = _lights(prims, everything, 0, world, ALL_LIGHTS, group, groups, x, y, z, nx, ny, nz)
        out.openness[n] = _openness(prims, everything, 0, world, True, x, y, z, nx, ny, nz)


@exact_helper
def _nearest(prims, lists, which, view, dx, dy, dz, best):
    """Depth and row of the nearest listed primitive in front of ``best``, or ``best`` and NOTHING."""
    code = NOTHING
    for q in range(1, lists[which, 0] + 1):
        i = int(lists[which, q])
        t = _hit(prims, i, view[0], view[1], view[2], dx, dy, dz)
        if t < best:
            best, code = t, i
    return best, code


@exact_helper
def _trace_sample(n, u, v, near, tile, view, prims, shaders, everything, world, indoors, lit, group, groups, out):
    dx, dy, dz = _ray(view, u, v)
    wall, face = np.inf, 0
    if indoors:
        wall, face = _hit_room(world, view[0], view[1], view[2], dx, dy, dz)
    depth, code = _nearest(prims, near, tile, view, dx, dy, dz, wall)
    x, y, z = view[0] + depth * dx, view[1] + depth * dy, view[2] + depth * dz
    if code != NOTHING:
        _store_primitive(prims, shaders, world, indoors, lit, group, groups, out, n, code, depth, x, y, z)
    elif indoors:
        _store_face(prims, everything, world, lit, group, groups, out, n, face, depth, x, y, z)
    else:
        out.depth[n] = np.inf
        out.code[n] = NOTHING


@exact_helper
def _trace_tile(tile, near, view, width, height, offsets, prims, shaders, everything, world, indoors, lit, out):
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    groups = min(len(offsets), LAMP_POINTS)
    for row in range(row0, min(height, row0 + TILE)):
        for col in range(col0, min(width, col0 + TILE)):
            for k in range(len(offsets)):
                n = (row * width + col) * len(offsets) + k
                u, v = col + offsets[k, 0], row + offsets[k, 1]
                g = k % groups
                _trace_sample(
                    n, u, v, near, tile, view, prims, shaders, everything, world, indoors, lit, g, groups, out
                )


@exact_helper
def _retrace_tile(tile, near, shadow, crowd, view, width, height, offsets, prims, shaders, world, indoors, still, out):
    # One long loop: a call with this many arrays costs more than the work for most samples.
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    s = len(offsets)
    groups = min(s, LAMP_POINTS)
    for row in range(row0, min(height, row0 + TILE)):
        for n in range((row * width + col0) * s, (row * width + min(width, col0 + TILE)) * s):
            if near[tile, 0]:
                u, v = n // s - row * width + offsets[n % s, 0], row + offsets[n % s, 1]
                dx, dy, dz = _ray(view, u, v)
                depth, code = _nearest(prims, near, tile, view, dx, dy, dz, np.float64(still.depth[n]))
                if code != NOTHING:
                    x, y, z = view[0] + depth * dx, view[1] + depth * dy, view[2] + depth * dz
                    _store_primitive(
                        prims, shaders, world, indoors, True, n % s % groups, groups, out, n, code, depth, x, y, z
                    )
                    continue
            out.code[n] = still.code[n]
            out.lights[n] = still.lights[n]
            out.openness[n] = still.openness[n]
            if still.code[n] == NOTHING:
                continue
            x, y, z = _row(still.position, n)
            nx, ny, nz = _row(still.normal, n)
            seen = int(still.lights[n])
            if seen and shadow[tile, 0]:
                out.lights[n] = _lights(prims, shadow, tile, world, seen, n % s % groups, groups, x, y, z, nx, ny, nz)
            if crowd[tile, 0]:
                out.openness[n] *= _openness(prims, crowd, tile, world, False, x, y, z, nx, ny, nz)


@exact_kernel
def trace_all(start, end, near, view, width, height, offsets, prims, shaders, everything, world, indoors, lit, out):
    """Trace every sample of a view against ``prims`` and, if ``indoors``, the room.

    ``view``: float64 [16], origin (3), world_from_camera rotation by rows (9), fx, fy, cx, cy. ``offsets``: float64
    [s, 2], sample positions inside a pixel. Lists: ``near``, what each tile may show; ``shaders``, what may shade each
    primitive; ``everything``, one row. ``lit``: also find lights and openness. Writes ``out`` (:class:`Samples`).
    """
    for tile in range(start, end):
        _trace_tile(tile, near, view, width, height, offsets, prims, shaders, everything, world, indoors, lit, out)


@exact_kernel
def trace_tiles(
    start, end, tiles, near, shadow, crowd, view, width, height, offsets, prims, shaders, world, indoors, still, out
):
    """Trace the listed tiles again, with the moving primitives in front of ``still`` (what is seen without them).

    Lists per tile: ``near`` of what it may show, ``shadow`` and ``crowd`` of what may take light from what it shows.
    Where ``still`` remains in front, only code, lights and openness of ``out`` are written.
    """
    for index in range(start, end):
        tile = tiles[index]
        _retrace_tile(
            tile, near, shadow, crowd, view, width, height, offsets, prims, shaders, world, indoors, still, out
        )


@exact_helper
def _light_point(n, prims, everything, world, indoors, out):
    x, y, z = _row(out.position, n)
    nx, ny, nz = _row(out.normal, n)
    out.lights[n] = _lights(prims, everything, 0, world, ALL_LIGHTS, 0, 1, x, y, z, nx, ny, nz)
    out.openness[n] = _openness(prims, everything, 0, world, indoors, x, y, z, nx, ny, nz)


@exact_kernel
def light_points(start, end, prims, everything, world, indoors, out):
    """Lights and openness of surface points: reads ``out.position`` and ``out.normal``, writes the other two."""
    for n in range(start, end):
        _light_point(n, prims, everything, world, indoors, out)
