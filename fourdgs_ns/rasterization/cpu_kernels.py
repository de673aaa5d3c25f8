"""Numba kernels that blend projected Gaussians into pictures, and their gradient.

The picture is cut into tiles of 16 x 16 pixels. Inside a tile one Gaussian after the other, front to back, is added to
a flat run of whole pixel rows: short loops over contiguous float32 without branches, which LLVM turns into vector
instructions. Nothing is accumulated atomically: every (tile, Gaussian) pair owns one slot for its gradient and a
second pass sums each Gaussian's slots in a fixed order, so results do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from fourdgs_ns.rasterization import types
from fourdgs_ns.rasterization.numba_runtime import kernel

TILE = types.TILE_SIZE
_PIXELS = TILE * TILE
# Rows of a tile are visited in pairs, so that every run is a multiple of 32 pixels: four vectors of 8 floats, which is
# what LLVM unrolls these loops to; a shorter rest would be done pixel by pixel.
_ROWS = 2

# Plain Python floats would make Numba compute in float64.
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_ALPHA_MAX, _ALPHA_MIN = np.float32(types.ALPHA_MAX), np.float32(types.ALPHA_MIN)
_TRANSMITTANCE_MIN = np.float32(types.TRANSMITTANCE_MIN)
_MINUS_LOG2_E = np.float32(-1.0 / math.log(2.0))
_EXPONENT_MAX = np.float32(80.0)
_EXP2 = [np.float32(math.log(2.0) ** k / math.factorial(k)) for k in range(1, 7)]
_E1, _E2, _E3, _E4, _E5, _E6 = _EXP2
_MANTISSA_BITS, _EXPONENT_BIAS = np.int32(23), np.int32(127)

# Columns of a pair's gradient slot.
_OPACITY, _X, _Y, _A, _B, _C, _FEATURES = range(7)


@kernel()
def _exp_minus(x):
    """exp(-x) for x >= 0 to about 5e-7: 2^(n + f) by Taylor's series in |f| <= 1/2; exact calls would not vectorise."""
    t = min(x, _EXPONENT_MAX) * _MINUS_LOG2_E
    n = np.int32(t - _HALF)
    f = t - np.float32(n)
    p = _ONE + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * _E6)))))
    return p * np.int32((n + _EXPONENT_BIAS) << _MANTISSA_BITS).view(np.float32)


@kernel(parallel=True)
def screen_extents(means2d, conics, radii, opacities, width, height, extents, tile_counts):
    """Pixels that each Gaussian can colour: ``extents`` [c, m, 4] = first x, end x, first y, end y, and the number of
    tiles they lie in.

    The rectangle is where gsplat looks (the tiles that the square of the radius touches) cut with the bounding box of
    the ellipse on which alpha falls to ALPHA_MIN, which loses nothing.
    """
    cameras, count = radii.shape
    for i in prange(cameras * count):
        c, m = i // count, i % count
        tile_counts[i] = 0
        opacity = float(opacities[m])
        if radii[c, m] <= 0 or not (opacities[m] >= _ALPHA_MIN):
            continue
        x, y, radius = float(means2d[c, m, 0]), float(means2d[c, m, 1]), float(radii[c, m])
        ca, cb, cc = float(conics[c, m, 0]), float(conics[c, m, 1]), float(conics[c, m, 2])
        determinant = ca * cc - cb * cb
        reach_x, reach_y = 2.0 * radius, 2.0 * radius
        if determinant > 0.0:
            level = 2.0 * math.log(opacity / types.ALPHA_MIN) / determinant
            # A hundredth of a pixel covers rounding of the conic to float32.
            reach_x, reach_y = math.sqrt(level * cc) * 1.001 + 0.01, math.sqrt(level * ca) * 1.001 + 0.01
        x0 = max(0.0, math.floor((x - radius) / TILE) * TILE, math.ceil(x - reach_x - 0.5))
        x1 = min(float(width), math.ceil((x + radius) / TILE) * TILE, math.floor(x + reach_x - 0.5) + 1.0)
        y0 = max(0.0, math.floor((y - radius) / TILE) * TILE, math.ceil(y - reach_y - 0.5))
        y1 = min(float(height), math.ceil((y + radius) / TILE) * TILE, math.floor(y + reach_y - 0.5) + 1.0)
        if x0 >= x1 or y0 >= y1:
            continue
        extents[c, m, 0], extents[c, m, 1] = int(x0), int(x1)
        extents[c, m, 2], extents[c, m, 3] = int(y0), int(y1)
        columns = (int(x1) - 1) // TILE - int(x0) // TILE + 1
        rows = (int(y1) - 1) // TILE - int(y0) // TILE + 1
        tile_counts[i] = columns * rows


@kernel()
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


@kernel(parallel=True)
def bin_by_tile(depth_bits, extents, slot_starts, tiles_x, tiles_y, pair_gaussians, pair_slots, tile_starts):
    """List the Gaussians of every tile front to back.

    ``slot_starts`` [c * m + 1] are running sums of ``tile_counts``: Gaussian i's pairs own the slots from its entry to
    the next. ``tile_starts`` [c * tiles + 1] are the ends of the tiles' lists in ``pair_gaussians``; equal depths keep
    the order of the rows.
    """
    cameras, count = depth_bits.shape
    tiles = tiles_x * tiles_y
    for c in prange(cameras):
        starts = slot_starts[c * count : (c + 1) * count + 1]
        seen = 0
        for m in range(count):
            seen += 1 if starts[m + 1] > starts[m] else 0
        order = np.empty(seen, np.int32)
        seen = 0
        for m in range(count):
            if starts[m + 1] > starts[m]:
                order[seen] = m
                seen += 1
        order = _sort_by_key(order, depth_bits[c])
        cursor = np.zeros(tiles + 1, np.int64)
        for i in range(seen):
            box = extents[c, order[i]]
            for ty in range(box[2] // TILE, (box[3] - 1) // TILE + 1):
                for tx in range(box[0] // TILE, (box[1] - 1) // TILE + 1):
                    cursor[ty * tiles_x + tx + 1] += 1
        cursor[0] = starts[0]
        for tile in range(tiles):
            cursor[tile + 1] += cursor[tile]
            tile_starts[c * tiles + tile + 1] = cursor[tile + 1]
        for i in range(seen):
            m = order[i]
            box = extents[c, m]
            slot = starts[m]
            for ty in range(box[2] // TILE, (box[3] - 1) // TILE + 1):
                for tx in range(box[0] // TILE, (box[1] - 1) // TILE + 1):
                    place = cursor[ty * tiles_x + tx]
                    cursor[ty * tiles_x + tx] += 1
                    pair_gaussians[place] = m
                    pair_slots[place] = slot
                    slot += 1


@kernel()
def _fill_pixel_centers(x0, y0, px, py):
    for row in range(TILE):
        for column in range(TILE):
            px[row * TILE + column] = np.float32(x0 + column) + _HALF
            py[row * TILE + column] = np.float32(y0 + row) + _HALF


@kernel()
def _falloff(px, py, x, y, a, b, c, opacity, out):
    """Alpha before its clamp at every pixel; 0 where the conic is negative."""
    for i in range(out.shape[0]):
        dx, dy = x - px[i], y - py[i]
        sigma = _HALF * (a * dx * dx + c * dy * dy) + b * dx * dy
        value = opacity * _exp_minus(max(sigma, _ZERO))
        out[i] = value if sigma >= _ZERO else _ZERO


@kernel()
def _absorb(falloff, transmittance, weights):
    """Put one Gaussian in front of what is left. A finished pixel is marked by the sign of its transmittance."""
    for i in range(weights.shape[0]):
        t = transmittance[i]
        alpha = min(falloff[i], _ALPHA_MAX)
        alpha = alpha if (alpha >= _ALPHA_MIN) & (t > _ZERO) else _ZERO
        left = t * (_ONE - alpha)
        goes_on = left > _TRANSMITTANCE_MIN
        weights[i] = alpha * t if goes_on else _ZERO
        transmittance[i] = left if goes_on else -abs(t)


@kernel()
def _note_last(k, weights, last):
    for i in range(last.shape[0]):
        last[i] = k if weights[i] > _ZERO else last[i]


@kernel()
def _add_scaled(value, weights, out):
    for i in range(out.shape[0]):
        out[i] += value * weights[i]


@kernel()
def _all_finished(transmittance):
    alive = 0
    for i in range(transmittance.shape[0]):
        alive += 1 if transmittance[i] > _ZERO else 0
    return alive == 0


@kernel(parallel=True)
def blend(
    means2d, conics, opacities, features, depths, with_depth, backgrounds, extents, pair_gaussians, tile_starts,
    tile_order, tiles_x, tiles_y, image, transmittances, lasts,
):  # fmt: skip
    """Draw. ``image`` [c, h, w, d or d + 1] (depth is one more channel, over background 0), ``transmittances`` and
    ``lasts`` [c, h, w]: what is left at each pixel, and the position in its tile's list of its last Gaussian (-1)."""
    _, height, width, channels = image.shape
    plain = channels - 1 if with_depth else channels
    tiles = tiles_x * tiles_y
    for i in prange(tile_order.shape[0]):
        task = tile_order[i]
        camera, tile = task // tiles, task % tiles
        x0, y0 = tile % tiles_x * TILE, tile // tiles_x * TILE
        rows, columns = min(TILE, height - y0), min(TILE, width - x0)
        px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        _fill_pixel_centers(x0, y0, px, py)
        falloff, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        sums = np.zeros((channels, _PIXELS), np.float32)
        last = np.full(_PIXELS, -1, np.int32)
        left = np.full(_PIXELS, -1.0, np.float32)
        for row in range(rows):
            left[row * TILE : row * TILE + columns] = _ONE
        first, end = tile_starts[task], tile_starts[task + 1]
        for k in range(first, end):
            m = pair_gaussians[k]
            r0 = max(extents[camera, m, 2] - y0, 0) // _ROWS * (_ROWS * TILE)
            r1 = (min(extents[camera, m, 3] - y0, TILE) + _ROWS - 1) // _ROWS * (_ROWS * TILE)
            _falloff(
                px[r0:r1], py[r0:r1], means2d[camera, m, 0], means2d[camera, m, 1],
                conics[camera, m, 0], conics[camera, m, 1], conics[camera, m, 2], opacities[m], falloff[: r1 - r0],
            )  # fmt: skip
            _absorb(falloff[: r1 - r0], left[r0:r1], weights[: r1 - r0])
            _note_last(np.int32(k - first), weights[: r1 - r0], last[r0:r1])
            for channel in range(plain):
                _add_scaled(features[m, channel], weights[: r1 - r0], sums[channel, r0:r1])
            if with_depth:
                _add_scaled(depths[camera, m], weights[: r1 - r0], sums[plain, r0:r1])
            if (k - first) % 16 == 15 and _all_finished(left):
                break
        for row in range(rows):
            for column in range(columns):
                p = row * TILE + column
                t = abs(left[p])
                transmittances[camera, y0 + row, x0 + column] = t
                lasts[camera, y0 + row, x0 + column] = last[p]
                for channel in range(plain):
                    image[camera, y0 + row, x0 + column, channel] = sums[channel, p] + t * backgrounds[camera, channel]
                if with_depth:
                    image[camera, y0 + row, x0 + column, plain] = sums[plain, p]


@kernel()
def _restore(k, falloff, last, transmittance, weights, odds):
    """Undo :func:`_absorb` for Gaussian ``k``: transmittance before it, its weight, and alpha / (1 - alpha)."""
    for i in range(falloff.shape[0]):
        alpha = min(falloff[i], _ALPHA_MAX)
        alpha = alpha if (alpha >= _ALPHA_MIN) & (k <= last[i]) else _ZERO
        inverse = _ONE / (_ONE - alpha)
        t = transmittance[i] * inverse
        transmittance[i] = t
        weights[i] = alpha * t
        odds[i] = alpha * inverse


@kernel()
def _channel_gradient(value, weights, v_image, shade):
    """Add value * v_image to ``shade``; return the gradient of ``value``."""
    total = _ZERO
    for i in range(shade.shape[0]):
        total += weights[i] * v_image[i]
        shade[i] += value * v_image[i]
    return total


@kernel()
def _exponent_gradient(falloff, weights, shade, behind, odds):
    """Overwrite ``odds`` with the gradient of sigma and move ``behind``, what lies behind times v_image, one forward.

    d image / d alpha = T c - behind / (1 - alpha), and d alpha / d sigma = -alpha; a clamped alpha has no gradient.
    """
    for i in range(odds.shape[0]):
        own = weights[i] * shade[i]
        v_sigma = odds[i] * behind[i] - own
        odds[i] = v_sigma if falloff[i] <= _ALPHA_MAX else _ZERO
        behind[i] += own


@kernel()
def _moments(px, py, x, y, v_sigma):
    """Sums of v_sigma times 1, dx, dy, dx^2, dx dy, dy^2."""
    s, sx, sy, sxx, sxy, syy = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    for i in range(v_sigma.shape[0]):
        dx, dy, v = x - px[i], y - py[i], v_sigma[i]
        vx, vy = v * dx, v * dy
        s += v
        sx += vx
        sy += vy
        sxx += vx * dx
        sxy += vx * dy
        syy += vy * dy
    return s, sx, sy, sxx, sxy, syy


@kernel(parallel=True)
def blend_backward(
    means2d, conics, opacities, features, depths, with_depth, backgrounds, extents, pair_gaussians, pair_slots,
    tile_starts, tile_order, tiles_x, tiles_y, transmittances, lasts, v_image, v_transmittances, slots,
):  # fmt: skip
    """Gradient of every (tile, Gaussian) pair into its row of ``slots`` [pairs, 6 + channels], back to front."""
    _, height, width, channels = v_image.shape
    plain = channels - 1 if with_depth else channels
    tiles = tiles_x * tiles_y
    for i in prange(tile_order.shape[0]):
        task = tile_order[i]
        camera, tile = task // tiles, task % tiles
        x0, y0 = tile % tiles_x * TILE, tile // tiles_x * TILE
        px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        _fill_pixel_centers(x0, y0, px, py)
        falloff, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        odds, shade = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        left = np.ones(_PIXELS, np.float32)
        behind = np.zeros(_PIXELS, np.float32)
        last = np.full(_PIXELS, -1, np.int32)
        v_sums = np.zeros((channels, _PIXELS), np.float32)
        final = -1
        for row in range(min(TILE, height - y0)):
            for column in range(min(TILE, width - x0)):
                p = row * TILE + column
                left[p] = transmittances[camera, y0 + row, x0 + column]
                last[p] = lasts[camera, y0 + row, x0 + column]
                final = max(final, last[p])
                # The background is the last layer; the accumulated alpha is 1 - transmittance.
                total = v_transmittances[camera, y0 + row, x0 + column]
                for channel in range(channels):
                    v_sums[channel, p] = v_image[camera, y0 + row, x0 + column, channel]
                for channel in range(plain):
                    total += v_sums[channel, p] * backgrounds[camera, channel]
                behind[p] = left[p] * total
        first, end = tile_starts[task], tile_starts[task + 1]
        for k in range(first + final + 1, end):
            slots[pair_slots[k]] = _ZERO
        for k in range(first + final, first - 1, -1):
            m = pair_gaussians[k]
            x, y, opacity = means2d[camera, m, 0], means2d[camera, m, 1], opacities[m]
            a, b, c = conics[camera, m, 0], conics[camera, m, 1], conics[camera, m, 2]
            r0 = max(extents[camera, m, 2] - y0, 0) // _ROWS * (_ROWS * TILE)
            r1 = (min(extents[camera, m, 3] - y0, TILE) + _ROWS - 1) // _ROWS * (_ROWS * TILE)
            n = r1 - r0
            slot = slots[pair_slots[k]]
            _falloff(px[r0:r1], py[r0:r1], x, y, a, b, c, opacity, falloff[:n])
            _restore(np.int32(k - first), falloff[:n], last[r0:r1], left[r0:r1], weights[:n], odds[:n])
            shade[:n] = _ZERO
            for channel in range(plain):
                slot[_FEATURES + channel] = _channel_gradient(
                    features[m, channel], weights[:n], v_sums[channel, r0:r1], shade[:n]
                )
            if with_depth:
                slot[_FEATURES + plain] = _channel_gradient(
                    depths[camera, m], weights[:n], v_sums[plain, r0:r1], shade[:n]
                )
            _exponent_gradient(falloff[:n], weights[:n], shade[:n], behind[r0:r1], odds[:n])
            s, sx, sy, sxx, sxy, syy = _moments(px[r0:r1], py[r0:r1], x, y, odds[:n])
            slot[_OPACITY] = -s / opacity
            slot[_X] = a * sx + b * sy
            slot[_Y] = b * sx + c * sy
            slot[_A] = _HALF * sxx
            slot[_B] = sxy
            slot[_C] = _HALF * syy


@kernel(parallel=True)
def gather_gradients(slots, slot_starts, v_means2d, v_conics, v_opacities, v_features, v_depths, with_depth):
    """Sum each Gaussian's slots in order: per camera for the screen quantities, over cameras for the shared ones."""
    cameras, count = v_depths.shape
    plain = v_features.shape[1]
    columns = slots.shape[1]
    chunk = 256
    for block in prange((count + chunk - 1) // chunk):
        totals = np.empty(columns, np.float64)
        for m in range(block * chunk, min(count, (block + 1) * chunk)):
            v_opacities[m] = _ZERO
            v_features[m] = _ZERO
            for c in range(cameras):
                totals[:] = 0.0
                for slot in range(slot_starts[c * count + m], slot_starts[c * count + m + 1]):
                    for column in range(columns):
                        totals[column] += slots[slot, column]
                v_opacities[m] += totals[_OPACITY]
                v_means2d[c, m, 0], v_means2d[c, m, 1] = totals[_X], totals[_Y]
                v_conics[c, m, 0], v_conics[c, m, 1], v_conics[c, m, 2] = totals[_A], totals[_B], totals[_C]
                for channel in range(plain):
                    v_features[m, channel] += totals[_FEATURES + channel]
                v_depths[c, m] = totals[_FEATURES + plain] if with_depth else 0.0
