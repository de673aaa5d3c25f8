"""Numba kernels that blend projected Gaussians into images, and their gradient.

Inside a tile one Gaussian after the other, front to back, is added to a flat run of whole pixel rows: short loops over
contiguous float32 without branches, which LLVM turns into vector instructions. Nothing is accumulated atomically: every
(tile, Gaussian) pair owns one slot for its gradient and a second pass sums each Gaussian's slots in a fixed order, so
results do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np

from fourdgs_ns.common.compiled import helper, kernel
from fourdgs_ns.kernels import blending
from fourdgs_ns.rasterization.cpu_tiles import TILE

_PIXELS = TILE * TILE
# Runs are multiples of 32 pixels: four vectors of 8 floats, to which LLVM unrolls the short loops; a shorter rest would
# be done pixel by pixel.
_RUN = 32

# Plain Python floats would make Numba compute in float64.
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_ALPHA_MAX, _ALPHA_MIN = np.float32(blending.ALPHA_MAX), np.float32(blending.ALPHA_MIN)
_TRANSMITTANCE_MIN = np.float32(blending.TRANSMITTANCE_MIN)
_MINUS_LOG2_E = np.float32(-1.0 / math.log(2.0))
_EXPONENT_MAX = np.float32(80.0)
_E1, _E2, _E3, _E4, _E5, _E6 = (np.float32(math.log(2.0) ** k / math.factorial(k)) for k in range(1, 7))
_MANTISSA_BITS, _EXPONENT_BIAS = np.int32(23), np.int32(127)

# Columns of a pair's gradient slot.
OPACITY, X, Y, A, B, C, FEATURES = range(7)


@helper
def _exp_minus(x):
    """exp(-x) for x >= 0 to about 5e-7: 2^(n + f) by Taylor's series in |f| <= 1/2; calls to exp would not vectorise."""
    t = min(x, _EXPONENT_MAX) * _MINUS_LOG2_E
    n = np.int32(t - _HALF)
    f = t - np.float32(n)
    p = _ONE + f * (_E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * _E6)))))
    return p * np.int32((n + _EXPONENT_BIAS) << _MANTISSA_BITS).view(np.float32)


@helper
def _run(rows):
    """First and end pixel of the run that holds a pair's rows. Unsigned: a signed index might count from the end of
    the array in Numba, and the test for that keeps loops from being vectorised."""
    first = rows[0] * TILE // _RUN * _RUN
    end = (rows[1] * TILE + _RUN - 1) // _RUN * _RUN
    return np.uint64(first), np.uint64(end)


@helper
def _fill_pixel_centers(x0, y0, px, py):
    for row in range(TILE):
        for column in range(TILE):
            px[row * TILE + column] = np.float32(x0 + column) + _HALF
            py[row * TILE + column] = np.float32(y0 + row) + _HALF


@helper
def _falloff(first, end, px, py, x, y, a, b, c, opacity, falloff):
    """Alpha before its clamp at every pixel; 0 where the conic is negative."""
    for i in range(first, end):
        dx, dy = x - px[i], y - py[i]
        sigma = _HALF * (a * dx * dx + c * dy * dy) + b * dx * dy
        value = opacity * _exp_minus(max(sigma, _ZERO))
        falloff[i] = value if sigma >= _ZERO else _ZERO


@helper
def _absorb(first, end, falloff, transmittance, weights):
    """Put one Gaussian in front of what is left. A finished pixel is marked by the sign of its transmittance."""
    for i in range(first, end):
        t = transmittance[i]
        alpha = min(falloff[i], _ALPHA_MAX)
        alpha = alpha if (alpha >= _ALPHA_MIN) & (t > _ZERO) else _ZERO
        left = t * (_ONE - alpha)
        goes_on = left > _TRANSMITTANCE_MIN
        weights[i] = alpha * t if goes_on else _ZERO
        transmittance[i] = left if goes_on else -abs(t)


@helper
def _note_last(first, end, k, weights, last):
    for i in range(first, end):
        last[i] = k if weights[i] > _ZERO else last[i]


@helper
def _add_scaled(first, end, value, weights, sums, channel):
    for i in range(first, end):
        sums[channel, i] += value * weights[i]


@helper
def _all_finished(transmittance):
    alive = 0
    for i in range(transmittance.shape[0]):
        alive += 1 if transmittance[i] > _ZERO else 0
    return alive == 0


@kernel
def blend(
    start, end, means2d, conics, opacities, features, depths, with_depth, backgrounds, tiles_x, tiles_y,
    slot_rows, tile_starts, pair_gaussians, pair_slots, image, transmittances, lasts,
):  # fmt: skip
    """Blend ``features`` [1, m, d], the same for all cameras, or [c, m, d].

    Fills ``image`` [c, h, w, d or d + 1] (depth is one more channel, over background 0), ``transmittances`` and
    ``lasts`` [c, h, w]: what is left at each pixel, and the position in its tile's list of its last Gaussian (-1)."""
    _, height, width, channels = image.shape
    plain = channels - 1 if with_depth else channels
    shared = features.shape[0] == 1
    px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    falloff, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    sums = np.empty((channels, _PIXELS), np.float32)
    last, left = np.empty(_PIXELS, np.int32), np.empty(_PIXELS, np.float32)
    for task in range(start, end):
        camera, tile = task // (tiles_x * tiles_y), task % (tiles_x * tiles_y)
        look = 0 if shared else camera
        x0, y0 = tile % tiles_x * TILE, tile // tiles_x * TILE
        rows, columns = min(TILE, height - y0), min(TILE, width - x0)
        _fill_pixel_centers(x0, y0, px, py)
        sums[:] = _ZERO
        last[:] = -1
        left[:] = -_ONE  # pixels outside the image are finished before they begin
        for row in range(rows):
            for column in range(columns):
                left[row * TILE + column] = _ONE
        for k in range(tile_starts[task], tile_starts[task + 1]):
            m = pair_gaussians[k]
            i, j = _run(slot_rows[pair_slots[k]])
            _falloff(
                i, j, px, py, means2d[camera, m, 0], means2d[camera, m, 1],
                conics[camera, m, 0], conics[camera, m, 1], conics[camera, m, 2], opacities[m], falloff,
            )  # fmt: skip
            _absorb(i, j, falloff, left, weights)
            _note_last(i, j, np.int32(k - tile_starts[task]), weights, last)
            for channel in range(plain):
                _add_scaled(i, j, features[look, m, channel], weights, sums, channel)
            if with_depth:
                _add_scaled(i, j, depths[camera, m], weights, sums, plain)
            if (k - tile_starts[task]) % 16 == 15 and _all_finished(left):
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


@helper
def _restore(first, end, k, falloff, last, transmittance, weights, odds):
    """Undo :func:`_absorb` for Gaussian ``k``: transmittance before it, its weight, and alpha / (1 - alpha)."""
    for i in range(first, end):
        alpha = min(falloff[i], _ALPHA_MAX)
        alpha = alpha if (alpha >= _ALPHA_MIN) & (k <= last[i]) else _ZERO
        inverse = _ONE / (_ONE - alpha)
        t = transmittance[i] * inverse
        transmittance[i] = t
        weights[i] = alpha * t
        odds[i] = alpha * inverse


@helper
def _channel_gradient(first, end, value, weights, v_sums, channel, shade):
    """Add value * v_sums to ``shade``; return the gradient of ``value``."""
    total = _ZERO
    for i in range(first, end):
        total += weights[i] * v_sums[channel, i]
        shade[i] += value * v_sums[channel, i]
    return total


@helper
def _exponent_gradient(first, end, falloff, weights, shade, behind, odds):
    """Overwrite ``odds`` with the gradient of sigma and move ``behind``, what lies behind times v_sums, one forward.

    d image / d alpha = T c - behind / (1 - alpha), and d alpha / d sigma = -alpha; a clamped alpha has no gradient.
    """
    for i in range(first, end):
        own = weights[i] * shade[i]
        v_sigma = odds[i] * behind[i] - own
        odds[i] = v_sigma if falloff[i] <= _ALPHA_MAX else _ZERO
        behind[i] += own


@helper
def _moments(first, end, px, py, x, y, v_sigma):
    """Sums of v_sigma times 1, dx, dy, dx^2, dx dy, dy^2."""
    s, sx, sy, sxx, sxy, syy = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
    for i in range(first, end):
        dx, dy, v = x - px[i], y - py[i], v_sigma[i]
        vx, vy = v * dx, v * dy
        s += v
        sx += vx
        sy += vy
        sxx += vx * dx
        sxy += vx * dy
        syy += vy * dy
    return s, sx, sy, sxx, sxy, syy


@helper
def _fill_zeros(first, end, out):
    for i in range(first, end):
        out[i] = _ZERO


@kernel
def blend_backward(
    start, end, means2d, conics, opacities, features, depths, with_depth, backgrounds, tiles_x, tiles_y,
    slot_rows, tile_starts, pair_gaussians, pair_slots, transmittances, lasts, v_image, v_transmittances, slots,
):  # fmt: skip
    """Gradient of every (tile, Gaussian) pair into its row of ``slots`` [pairs, 6 + channels], back to front."""
    _, height, width, channels = v_image.shape
    plain = channels - 1 if with_depth else channels
    shared = features.shape[0] == 1
    px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    falloff, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    odds, shade = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    left, behind = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    last = np.empty(_PIXELS, np.int32)
    v_sums = np.empty((channels, _PIXELS), np.float32)
    for task in range(start, end):
        camera, tile = task // (tiles_x * tiles_y), task % (tiles_x * tiles_y)
        look = 0 if shared else camera
        x0, y0 = tile % tiles_x * TILE, tile // tiles_x * TILE
        _fill_pixel_centers(x0, y0, px, py)
        left[:] = _ONE
        behind[:] = _ZERO
        v_sums[:] = _ZERO
        last[:] = -1
        final = -1
        for row in range(min(TILE, height - y0)):
            for column in range(min(TILE, width - x0)):
                p = row * TILE + column
                left[p] = transmittances[camera, y0 + row, x0 + column]
                last[p] = lasts[camera, y0 + row, x0 + column]
                final = max(final, last[p])
                for channel in range(channels):
                    v_sums[channel, p] = v_image[camera, y0 + row, x0 + column, channel]
                # The background is the last layer.
                total = v_transmittances[camera, y0 + row, x0 + column]
                for channel in range(plain):
                    total += v_sums[channel, p] * backgrounds[camera, channel]
                behind[p] = left[p] * total
        first = tile_starts[task]
        for k in range(first + final + 1, tile_starts[task + 1]):
            for column in range(slots.shape[1]):
                slots[pair_slots[k], column] = _ZERO
        for k in range(first + final, first - 1, -1):
            m, slot = pair_gaussians[k], pair_slots[k]
            x, y, opacity = means2d[camera, m, 0], means2d[camera, m, 1], opacities[m]
            a, b, c = conics[camera, m, 0], conics[camera, m, 1], conics[camera, m, 2]
            i, j = _run(slot_rows[slot])
            _falloff(i, j, px, py, x, y, a, b, c, opacity, falloff)
            _restore(i, j, np.int32(k - first), falloff, last, left, weights, odds)
            _fill_zeros(i, j, shade)
            for channel in range(plain):
                slots[slot, FEATURES + channel] = _channel_gradient(
                    i, j, features[look, m, channel], weights, v_sums, channel, shade
                )
            if with_depth:
                slots[slot, FEATURES + plain] = _channel_gradient(
                    i, j, depths[camera, m], weights, v_sums, plain, shade
                )
            _exponent_gradient(i, j, falloff, weights, shade, behind, odds)
            s, sx, sy, sxx, sxy, syy = _moments(i, j, px, py, x, y, odds)
            slots[slot, OPACITY] = -s / opacity
            slots[slot, X] = a * sx + b * sy
            slots[slot, Y] = b * sx + c * sy
            slots[slot, A] = _HALF * sxx
            slots[slot, B] = sxy
            slots[slot, C] = _HALF * syy


@kernel
def gather_gradients(
    start, end, slots, slot_starts, v_means2d, v_conics, v_opacities, v_features, v_depths, with_depth
):
    """Sum each Gaussian's slots in order: per camera for the screen quantities, over cameras for the shared ones."""
    cameras, count = v_depths.shape
    one_look, plain, columns = v_features.shape[0] == 1, v_features.shape[2], slots.shape[1]
    sums, shared = np.empty(columns, np.float64), np.empty(columns, np.float64)
    for m in range(start, end):
        shared[:] = 0.0
        for camera in range(cameras):
            sums[:] = 0.0
            for slot in range(slot_starts[camera * count + m], slot_starts[camera * count + m + 1]):
                for column in range(columns):
                    sums[column] += slots[slot, column]
            v_means2d[camera, m, 0], v_means2d[camera, m, 1] = sums[X], sums[Y]
            v_conics[camera, m, 0], v_conics[camera, m, 1], v_conics[camera, m, 2] = sums[A], sums[B], sums[C]
            v_depths[camera, m] = sums[FEATURES + plain] if with_depth else 0.0
            for column in range(columns):
                shared[column] += sums[column]
            if not one_look:
                for channel in range(plain):
                    v_features[camera, m, channel] = sums[FEATURES + channel]
        v_opacities[m] = shared[OPACITY]
        if one_look:
            for channel in range(plain):
                v_features[0, m, channel] = shared[FEATURES + channel]
