"""Appearance kernels of the generator: procedural textures, light and the averaging of samples into pixels.

All textures are functions of object-space metres, so they stick to what moves. Light is linear; pixels are 8-bit sRGB.
Like ``trace``, this module shares no compiled function with any other (see there why).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from fourdgs_ns.common.compiled import exact_helper, exact_kernel
from fourdgs_ns.synth.trace import BOX, LAMP_CENTER, LAMP_POINTS, NOTHING, SUN, TILE

PLANKS, BRICKS, PAPER, CHECKER, CELLS, MARBLE, STRIPES, DOTS, TEXT, PANE, FLAT = range(11)

# Rows of the table of light colours, float64 [7, 3], linear RGB (row FILL_TOWARDS is a unit vector).
AMBIENT_UP, AMBIENT_DOWN, FILL_TOWARDS, FILL, LAMP, SUNLIGHT, SKYLIGHT = range(7)

_LAMP_DISTANCE = 3.0  # metres at which the colour of the lamp is stated
_SHINE = 40.0  # Blinn-Phong exponent

# Odd multipliers of the lattice coordinates and of the seed.
_X, _Y, _Z, _SEED = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93


class Surfaces(NamedTuple):
    """Everything that decides the colour of a surface apart from light; m materials, p primitives, d decals."""

    pattern: Int64[np.ndarray, " m"]
    colors: Float64[np.ndarray, "m 4 3"]
    """Linear RGB."""
    size: Float64[np.ndarray, " m"]
    """Metres: the pattern's largest feature."""
    seed: Int64[np.ndarray, " m"]
    gloss: Float64[np.ndarray, " m"]
    """Strength of the highlight, 0 for matt."""
    label: Int64[np.ndarray, " m"]
    """Row of ``texts`` that a TEXT pattern writes."""
    texts: UInt8[np.ndarray, "t h w"]
    kind: Int64[np.ndarray, " p"]
    material: Int64[np.ndarray, " p"]
    extent: Float64[np.ndarray, "p 3"]
    """Metres per object-space unit at rest: textures stretch with a primitive that deforms."""
    room_material: Int64[np.ndarray, "6"]
    decal_face: Int64[np.ndarray, " d"]
    decal_rect: Float64[np.ndarray, "d 4"]
    """u0, v0, u1, v1 in metres on the face."""
    decal_material: Int64[np.ndarray, " d"]
    octaves: int
    """Octaves of noise: as many as a pixel can show."""


@exact_helper
def _row(array, n):
    return np.float64(array[n, 0]), np.float64(array[n, 1]), np.float64(array[n, 2])


@exact_helper
def _scramble(h):
    """A number in [0, 1) for 64 bits (mixing in the manner of MurmurHash3's finaliser)."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    return np.float64(np.int64(h >> np.uint64(11))) * (1.0 / 9007199254740992.0)


@exact_helper
def _hash(x, y, z, seed):
    """A number in [0, 1) for an integer lattice point."""
    h = np.uint64(x) * np.uint64(_X) ^ np.uint64(y) * np.uint64(_Y)
    return _scramble(h ^ np.uint64(z) * np.uint64(_Z) ^ np.uint64(seed) * np.uint64(_SEED))


@exact_helper
def _noise(x, y, z, seed):
    """Value noise in [0, 1) with cubic blending; its lattice is that of :func:`_hash`."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    x0 = np.uint64(np.int64(fx)) * np.uint64(_X)
    y0 = np.uint64(np.int64(fy)) * np.uint64(_Y)
    z0 = np.uint64(np.int64(fz)) * np.uint64(_Z)
    x1, y1, z1 = x0 + np.uint64(_X), y0 + np.uint64(_Y), z0 + np.uint64(_Z)
    s = np.uint64(seed) * np.uint64(_SEED)
    z0, z1 = z0 ^ s, z1 ^ s
    fx, fy, fz = x - fx, y - fy, z - fz
    fx, fy, fz = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy), fz * fz * (3.0 - 2.0 * fz)
    a = _mix(_scramble(x0 ^ y0 ^ z0), _scramble(x1 ^ y0 ^ z0), fx)
    b = _mix(_scramble(x0 ^ y1 ^ z0), _scramble(x1 ^ y1 ^ z0), fx)
    c = _mix(_scramble(x0 ^ y0 ^ z1), _scramble(x1 ^ y0 ^ z1), fx)
    d = _mix(_scramble(x0 ^ y1 ^ z1), _scramble(x1 ^ y1 ^ z1), fx)
    return _mix(_mix(a, b, fy), _mix(c, d, fy), fz)


@exact_helper
def _mix(a, b, share):
    return a + share * (b - a)


@exact_helper
def _fbm(x, y, z, seed, octaves):
    """Fractal noise, mean 0.5, stretched to use most of [0, 1]."""
    total, weight, norm = 0.0, 1.0, 0.0
    for k in range(octaves):
        total += weight * (_noise(x, y, z, seed + 1013 * k) - 0.5)
        norm += weight
        weight *= 0.65
        x, y, z = 2.03 * x + 17.3, 2.03 * y - 4.1, 2.03 * z + 9.7
    return min(1.0, max(0.0, 0.5 + 1.9 * total / norm))


@exact_helper
def _cells(x, y, z, seed):
    """Random number of the nearest feature point's cell, and how much nearer it is than the second."""
    ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    first, second, owner = 1e9, 1e9, 0.0
    for k in range(27):
        a, b, c = ix + k % 3 - 1, iy + (k // 3) % 3 - 1, iz + k // 9 - 1
        d = (a + _hash(a, b, c, seed) - x) ** 2 + (b + _hash(a, b, c, seed + 1) - y) ** 2
        d += (c + _hash(a, b, c, seed + 2) - z) ** 2
        if d < first:
            first, second, owner = d, first, _hash(a, b, c, seed + 3)
        elif d < second:
            second = d
    return owner, np.sqrt(second) - np.sqrt(first)


@exact_helper
def _paint(pattern, size, seed, octaves, x, y, z, u, v, face, s, t, texts, label):
    """Two palette entries, the share of the second, and a gain.

    (x, y, z): object-space metres; (u, v): metres on the face, (s, t): the same in [-1, 1] over the face.
    """
    if pattern == PLANKS:
        row = int(np.floor(u / size))
        along = v + 7.0 * size * _hash(row, 0, 0, seed)
        board = int(np.floor(along / (7.0 * size)))
        grain = _fbm(u * 5.0 / size, along * 0.7 / size + 31.0 * board, 0.5 + row, seed + 5, octaves)
        gap = u / size - row < 0.07 or along / (7.0 * size) - board < 0.012
        return 0, 1, 0.75 * _hash(row, board, 1, seed) + 0.4 * (grain - 0.3), (0.35 if gap else 0.6 + 0.8 * grain)
    if pattern == PANE:
        if abs(s) < 0.06 or abs(t) < 0.06 or max(abs(s), abs(t)) > 0.94:
            return 3, 3, 0.0, 1.0
        cloud = _fbm(u / 0.6, v / 0.3, 0.0, seed, octaves)
        return (2, 2, 0.0, 1.0) if t < -0.5 + 0.25 * cloud else (0, 1, cloud, 1.0)
    grit = _fbm(x / 0.25, y / 0.25, z / 0.25, seed, octaves)
    gain = 0.65 + 0.7 * grit
    if pattern == BRICKS:
        row = int(np.floor(v / (0.4 * size)))
        column = u / size + 0.5 * (row & 1)
        brick = int(np.floor(column))
        if column - brick < 0.05 or v / (0.4 * size) - row < 0.12:
            return 2, 2, 0.0, gain
        return 0, 1, _hash(brick, row, 0, seed), gain
    if pattern == PAPER:
        i, j = int(np.floor(u / size)), int(np.floor(v / size))
        a, b = u / size - i - 0.5, v / size - j - 0.5
        petal = np.sqrt(a * a + b * b) * (1.0 + 0.35 * np.cos(4.0 * np.arctan2(b, a)))
        if petal < 0.34:
            return 2, 3, _hash(i, j, 0, seed), gain
        return 0, 1, _fbm(u / 0.9, v / 0.9, 0.0, seed + 9, octaves), gain
    if pattern == CHECKER:
        i, j = int(np.floor(u / size)), int(np.floor(v / size))
        return (i + j) & 1, 2, 0.45 * _hash(i, j, face, seed), gain
    if pattern == CELLS:
        owner, margin = _cells(x / size, y / size, z / size, seed)
        if margin < 0.07:
            return 3, 3, 0.0, 0.25 * gain
        pick = int(owner * 4.0)
        return pick, (pick + 1) & 3, 0.5 * (owner * 4.0 - pick), gain
    if pattern == MARBLE:
        bend = 2.0 * _fbm(x / size + 5.2, y / size, z / size, seed + 3, octaves)
        level = 3.999 * _fbm(x / size + bend, y / size + bend, z / size, seed + 7, octaves)
        pick = min(2, int(level))
        return pick, pick + 1, min(1.0, max(0.0, 2.0 * (level - pick) - 0.5)), 0.55 + 0.5 * gain
    if pattern == STRIPES:
        band = (z + 0.5 * x) / size + 0.25 * _fbm(x / size, y / size, z / size, seed + 3, 2)
        share = band - np.floor(band)
        pick = 0 if share < 0.4 else (2 if share < 0.5 else (1 if share < 0.9 else 3))
        return pick, pick, 0.0, gain
    if pattern == DOTS:
        i, j, k = int(np.floor(x / size)), int(np.floor(y / size)), int(np.floor(z / size + 0.5))
        d = (x / size - i - 0.5) ** 2 + (y / size - j - 0.5) ** 2 + (z / size - k) ** 2
        if d < 0.2:
            return 1 + int(3.0 * _hash(i, j, k, seed)), 1, 0.0, gain
        return 0, 0, 0.0, gain
    if pattern == TEXT:
        rows, columns = texts.shape[1], texts.shape[2]
        column = int(np.floor((0.5 + 0.5 * s / 0.86) * columns))
        row = int(np.floor((0.5 - 0.5 * t / 0.78) * rows))
        border = max(abs(s), abs(t)) > 0.93
        if border or (0 <= row < rows and 0 <= column < columns and texts[label, row, column]):
            return 3, 3, 0.0, gain
        return face % 3, (face + 1) % 3, 0.35 * _fbm(x / 0.12, y / 0.12, z / 0.12, seed + 3, octaves), gain
    return 0, 1, grit, gain


@exact_helper
def _albedo(surfaces, code, x, y, z):
    """Material, linear RGB albedo at object-space point (x, y, z) of the surface ``code``."""
    face = 0
    if code < 0:
        u, v = x, y
        material = surfaces.room_material[-1 - code]
        s, t = 0.0, 0.0
        face = -code
        for d in range(len(surfaces.decal_face)):
            u0, v0, u1, v1 = surfaces.decal_rect[d]
            if surfaces.decal_face[d] == -1 - code and u0 < x < u1 and v0 < y < v1:
                material = surfaces.decal_material[d]
                # Seen from inside, u runs to the left on the faces x high and y low.
                u, v = x - (u0 + u1) / 2.0, y - (v0 + v1) / 2.0
                u = -u if code in (-2, -3) else u
                s, t = 2.0 * u / (u1 - u0), 2.0 * v / (v1 - v0)
                face = 0
    else:
        material = surfaces.material[code]
        a, b, c = x, y, z
        x, y, z = x * surfaces.extent[code, 0], y * surfaces.extent[code, 1], z * surfaces.extent[code, 2]
        if surfaces.kind[code] == BOX:
            # Right and up as seen from outside, so that text reads from left to right.
            if abs(c) >= abs(a) and abs(c) >= abs(b):
                face = 4 if c > 0.0 else 5
                u, v, s, t = x, (y if c > 0.0 else -y), a, (b if c > 0.0 else -b)
            elif abs(a) >= abs(b):
                face = 0 if a > 0.0 else 1
                u, v, s, t = (y if a > 0.0 else -y), z, (b if a > 0.0 else -b), c
            else:
                face = 2 if b > 0.0 else 3
                u, v, s, t = (-x if b > 0.0 else x), z, (-a if b > 0.0 else a), c
        else:
            around = np.arctan2(y, x)
            u, v, s, t = around * surfaces.extent[code, 0], z, around / np.pi, c
    one, two, share, gain = _paint(
        surfaces.pattern[material], surfaces.size[material], surfaces.seed[material], surfaces.octaves,
        x, y, z, u, v, face, s, t, surfaces.texts, surfaces.label[material],
    )  # fmt: skip
    share = min(1.0, max(0.0, share))
    colors = surfaces.colors
    r = gain * (colors[material, one, 0] * (1.0 - share) + colors[material, two, 0] * share)
    g = gain * (colors[material, one, 1] * (1.0 - share) + colors[material, two, 1] * share)
    b = gain * (colors[material, one, 2] * (1.0 - share) + colors[material, two, 2] * share)
    return material, r, g, b


@exact_helper
def _soft_channel(palette, k, up, fill, sky):
    ambient = palette[AMBIENT_UP, k] * up + palette[AMBIENT_DOWN, k] * (1.0 - up)
    return ambient + palette[FILL, k] * fill + palette[SKYLIGHT, k] * sky


@exact_helper
def _soft_light(palette, pane, x, y, z, nx, ny, nz):
    """Linear RGB that a matt white surface sends back of the light without shadows: ambient, fill, window."""
    fill = nx * palette[FILL_TOWARDS, 0] + ny * palette[FILL_TOWARDS, 1] + nz * palette[FILL_TOWARDS, 2]
    fill = max(0.0, fill)
    px, py, pz = pane[0] - x, 0.5 * (pane[1] + pane[2]) - y, 0.5 * (pane[3] + pane[4]) - z
    away = px * px + py * py + pz * pz
    sky = max(0.0, (px * nx + py * ny + pz * nz) / np.sqrt(away)) / (0.6 + away)
    up = 0.5 + 0.5 * nz
    return (
        _soft_channel(palette, 0, up, fill, sky),
        _soft_channel(palette, 1, up, fill, sky),
        _soft_channel(palette, 2, up, fill, sky),
    )


@exact_helper
def _hard_light(lights, x, y, z, nx, ny, nz):
    """Strength on a surface of the whole lamp and of the sun, before shadows."""
    lx, ly, lz = lights[LAMP_CENTER, 0] - x, lights[LAMP_CENTER, 1] - y, lights[LAMP_CENTER, 2] - z
    away = lx * lx + ly * ly + lz * lz
    lamp = max(0.0, (lx * nx + ly * ny + lz * nz) / np.sqrt(away)) * _LAMP_DISTANCE**2 / (1.0 + away)
    sx, sy, sz = lights[SUN, 0] - x, lights[SUN, 1] - y, lights[SUN, 2] - z
    return lamp, max(0.0, (sx * nx + sy * ny + sz * nz) / np.sqrt(sx * sx + sy * sy + sz * sz))


@exact_helper
def _lamp_share(seen, groups):
    count = 0
    for j in range(LAMP_POINTS):
        count += (seen >> j) & 1
    return count * groups / LAMP_POINTS


@exact_helper
def _highlight(lights, eye, x, y, z, nx, ny, nz):
    """Blinn-Phong highlight of the lamp's centre."""
    lx, ly, lz = lights[LAMP_CENTER, 0] - x, lights[LAMP_CENTER, 1] - y, lights[LAMP_CENTER, 2] - z
    ex, ey, ez = eye[0] - x, eye[1] - y, eye[2] - z
    size = np.sqrt(lx * lx + ly * ly + lz * lz)
    away = np.sqrt(ex * ex + ey * ey + ez * ez)
    hx, hy, hz = lx / size + ex / away, ly / size + ey / away, lz / size + ez / away
    return max(0.0, (hx * nx + hy * ny + hz * nz) / np.sqrt(hx * hx + hy * hy + hz * hz)) ** _SHINE


@exact_helper
def _display(x):
    """Linear light to 0..255 sRGB, with a shoulder above 0.6 instead of a clip."""
    if x > 0.6:
        x = 0.6 + 0.4 * (1.0 - np.exp(-(x - 0.6) / 0.4))
    x = 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1.0 / 2.4) - 0.055
    return 255.0 * x


@exact_helper
def _terms(surfaces, palette, lights, pane, samples, n, eye, shiny):
    """What sample ``n`` sends to ``eye``: linear RGB per unit of openness, of the lamp and of the sun."""
    x, y, z = _row(samples.local, n)
    stuff, r, g, b = _albedo(surfaces, int(samples.code[n]), x, y, z)
    x, y, z = _row(samples.position, n)
    nx, ny, nz = _row(samples.normal, n)
    er, eg, eb = _soft_light(palette, pane, x, y, z, nx, ny, nz)
    lamp, sun = _hard_light(lights, x, y, z, nx, ny, nz)
    glow = 1.0
    if surfaces.pattern[stuff] == PANE:  # the sky behind it shines by itself
        er, eg, eb, lamp, sun = glow, glow, glow, 0.0, 0.0
    shine = surfaces.gloss[stuff] if shiny else 0.0
    if shine > 0.0:
        shine *= _highlight(lights, eye, x, y, z, nx, ny, nz)
    return (
        (r * er, g * eg, b * eb),
        (
            r * lamp * palette[LAMP, 0] + shine,
            g * lamp * palette[LAMP, 1] + shine,
            b * lamp * palette[LAMP, 2] + shine,
        ),
        (r * sun * palette[SUNLIGHT, 0], g * sun * palette[SUNLIGHT, 1], b * sun * palette[SUNLIGHT, 2]),
    )


@exact_helper
def _paint_sample(n, surfaces, palette, lights, pane, samples, eye, paint):
    if samples.code[n] != NOTHING:
        soft, lamp, sun = _terms(surfaces, palette, lights, pane, samples, n, eye, True)
        for k in range(3):
            paint[n, k], paint[n, 3 + k], paint[n, 6 + k] = soft[k], lamp[k], sun[k]


@exact_kernel
def paint_samples(start, end, surfaces, palette, lights, pane, samples, eye, paint):
    """What every sample sends to ``eye`` before shadows; float32 [n, 9], linear RGB of soft light, lamp and sun."""
    for n in range(start, end):
        _paint_sample(n, surfaces, palette, lights, pane, samples, eye, paint)


@exact_helper
def _shade_pixel(row, col, start, s, eye, surfaces, palette, lights, pane, first, samples, paint, image):
    red, green, blue, filled = 0.0, 0.0, 0.0, 0
    groups = min(s, LAMP_POINTS)
    for n in range(start, start + s):
        code = int(samples.code[n])
        if code == NOTHING:
            continue
        filled += 1
        seen = int(samples.lights[n])
        a, b, c = np.float64(samples.openness[n]), _lamp_share(seen, groups), (seen >> SUN) & 1
        if code >= first:
            soft, lamp, sun = _terms(surfaces, palette, lights, pane, samples, n, eye, True)
            red += a * soft[0] + b * lamp[0] + c * sun[0]
            green += a * soft[1] + b * lamp[1] + c * sun[1]
            blue += a * soft[2] + b * lamp[2] + c * sun[2]
        else:
            red += a * paint[n, 0] + b * paint[n, 3] + c * paint[n, 6]
            green += a * paint[n, 1] + b * paint[n, 4] + c * paint[n, 7]
            blue += a * paint[n, 2] + b * paint[n, 5] + c * paint[n, 8]
    count = max(1, filled)
    image[row, col, 0] = np.uint8(_display(red / count) + 0.5)
    image[row, col, 1] = np.uint8(_display(green / count) + 0.5)
    image[row, col, 2] = np.uint8(_display(blue / count) + 0.5)


@exact_helper
def _unchanged(start, s, samples, still):
    for n in range(start, start + s):
        same = samples.code[n] == still.code[n] and samples.lights[n] == still.lights[n]
        if not same or samples.openness[n] != still.openness[n]:
            return False
    return True


@exact_helper
def _shade_tile(
    tile, width, height, s, eye, surfaces, palette, lights, pane, first, subject, samples, still, paint, image, matte
):
    across = (width + TILE - 1) // TILE
    col0, row0 = (tile % across) * TILE, (tile // across) * TILE
    for row in range(row0, min(height, row0 + TILE)):
        for col in range(col0, min(width, col0 + TILE)):
            start = (row * width + col) * s
            if len(still.code) and _unchanged(start, s, samples, still):
                continue
            covered = 0
            for n in range(start, start + s):
                if samples.code[n] >= subject:
                    covered += 1
            matte[row, col] = np.uint8(255.0 * covered / s + 0.5)
            _shade_pixel(row, col, start, s, eye, surfaces, palette, lights, pane, first, samples, paint, image)


@exact_kernel
def shade_tiles(
    start, end, tiles, width, height, s, eye, surfaces, palette, lights, pane, first, subject,
    samples, still, paint, image, matte,
):  # fmt: skip
    """Average the samples of the listed tiles into pixels.

    ``first``: primitives from this one on move and are painted here; the others come from ``paint``. ``subject``:
    primitives from this one on count for ``matte``, their share of each pixel. Pixels whose samples equal those of
    ``still`` are left alone (none if it is empty). Colours are averaged over the samples that see something (straight,
    not premultiplied). Writes uint8 [h, w, 3] and [h, w].
    """
    for index in range(start, end):
        _shade_tile(
            tiles[index], width, height, s, eye, surfaces, palette, lights, pane, first, subject,
            samples, still, paint, image, matte,
        )  # fmt: skip


@exact_helper
def _shade_point(n, surfaces, palette, lights, pane, samples, colors):
    soft, lamp, sun = _terms(surfaces, palette, lights, pane, samples, n, lights[0], False)
    seen = int(samples.lights[n])
    a, b, c = np.float64(samples.openness[n]), _lamp_share(seen, 1), (seen >> SUN) & 1
    for k in range(3):
        colors[n, k] = np.uint8(_display(a * soft[k] + b * lamp[k] + c * sun[k]) + 0.5)


@exact_kernel
def shade_points(start, end, surfaces, palette, lights, pane, samples, colors):
    """Colour of surface points without highlights, uint8 [n, 3] sRGB."""
    for n in range(start, end):
        _shade_point(n, surfaces, palette, lights, pane, samples, colors)
