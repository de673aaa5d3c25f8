"""From 3D Gaussians to ellipses on the screen (EWA splatting), with its analytic gradient, on the CPU.

The formulas are those of gsplat 1.4 in "classic" mode, so that both backends agree to rounding:

* ``J W`` (2 x 3) with the camera's rotation W and the Jacobian J of the pinhole projection, taken at a point whose x/z and
  y/z are limited to the field of view plus a margin of 15 % of the image on each side;
* covariance on the screen ``U U^T + EPS_2D I`` with ``U = J W R S``, from the Gaussian's rotation R and scales S, or
  ``J W C (J W)^T + EPS_2D I`` where a covariance C states the shape; its inverse, the conic, is passed on. Of C only the upper
  triangle is read and receives a gradient, as in gsplat.

All is in one file on purpose: a kernel is compiled again when its own file changes, not when a helper in another one does (see
:mod:`fourdgs_ns.common.compiled`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.common.compiled import helper, kernel, spread
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.kernels.blending import EPS_2D, FAR

CHUNK = 2048  # Gaussians per unit of parallel work


@helper
def _load_rotation(quats, m, unit, rotation):
    """Normalise quaternion ``m`` into ``unit`` (w, x, y, z), fill ``rotation`` (3 x 3), return the quaternion's norm."""
    norm = 0.0
    for i in range(4):
        unit[i] = quats[m, i]
        norm += unit[i] * unit[i]
    norm = np.sqrt(norm)
    for i in range(4):
        unit[i] /= norm
    w, x, y, z = unit[0], unit[1], unit[2], unit[3]
    rotation[0, 0] = 1.0 - 2.0 * (y * y + z * z)
    rotation[0, 1] = 2.0 * (x * y - w * z)
    rotation[0, 2] = 2.0 * (x * z + w * y)
    rotation[1, 0] = 2.0 * (x * y + w * z)
    rotation[1, 1] = 1.0 - 2.0 * (x * x + z * z)
    rotation[1, 2] = 2.0 * (y * z - w * x)
    rotation[2, 0] = 2.0 * (x * z - w * y)
    rotation[2, 1] = 2.0 * (y * z + w * x)
    rotation[2, 2] = 1.0 - 2.0 * (x * x + y * y)
    return norm


@helper
def _rotation_gradient(unit, norm, v_rotation, m, v_quats):
    """Gradient of the raw quaternion ``m`` from that of its rotation matrix, through the normalisation."""
    w, x, y, z = unit[0], unit[1], unit[2], unit[3]
    g = v_rotation
    vw = 2.0 * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    vx = 2.0 * (y * (g[0, 1] + g[1, 0]) + z * (g[0, 2] + g[2, 0]) + w * (g[2, 1] - g[1, 2])) - 4.0 * x * (
        g[1, 1] + g[2, 2]
    )
    vy = 2.0 * (x * (g[0, 1] + g[1, 0]) + z * (g[1, 2] + g[2, 1]) + w * (g[0, 2] - g[2, 0])) - 4.0 * y * (
        g[0, 0] + g[2, 2]
    )
    vz = 2.0 * (x * (g[0, 2] + g[2, 0]) + y * (g[1, 2] + g[2, 1]) + w * (g[1, 0] - g[0, 1])) - 4.0 * z * (
        g[0, 0] + g[1, 1]
    )
    along = w * vw + x * vx + y * vy + z * vz
    v_quats[m, 0] = (vw - along * w) / norm
    v_quats[m, 1] = (vx - along * x) / norm
    v_quats[m, 2] = (vy - along * y) / norm
    v_quats[m, 3] = (vz - along * z) / norm


@helper
def _load_point(means, m, world_to_camera, point):
    """Centre ``m`` in camera coordinates."""
    for i in range(3):
        point[i] = world_to_camera[i, 3]
        for k in range(3):
            point[i] += world_to_camera[i, k] * float(means[m, k])


@helper
def _load_jacobian(point, world_to_camera, intrinsics, width, height, jacobian, jw):
    """Fill J at the limited point and ``J W`` (2 x 3 each).

    Returns that point's x / z and y / z, and whether each was left as it is.
    """
    fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
    cx, cy = float(intrinsics[0, 2]), float(intrinsics[1, 2])
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    z = point[2]
    slope_x, slope_y = point[0] / z, point[1] / z
    limited_x = min((width - cx) / fx + margin_x, max(-cx / fx - margin_x, slope_x))
    limited_y = min((height - cy) / fy + margin_y, max(-cy / fy - margin_y, slope_y))
    jacobian[0, 0] = fx / z
    jacobian[0, 1] = 0.0
    jacobian[0, 2] = -fx * limited_x / z
    jacobian[1, 0] = 0.0
    jacobian[1, 1] = fy / z
    jacobian[1, 2] = -fy * limited_y / z
    for i in range(2):
        for k in range(3):
            total = 0.0
            for j in range(3):
                total += jacobian[i, j] * world_to_camera[j, k]
            jw[i, k] = total
    return limited_x, limited_y, limited_x == slope_x, limited_y == slope_y


@helper
def _write_ellipse(point, intrinsics, width, height, xx, xy, yy, c, m, means2d, conics, depths, radii):
    """Write what camera ``c`` sees of Gaussian ``m``, of screen covariance (xx, xy, yy); nothing when that is nothing."""
    z = point[2]
    x = intrinsics[0, 0] * point[0] / z + intrinsics[0, 2]
    y = intrinsics[1, 1] * point[1] / z + intrinsics[1, 2]
    determinant = xx * yy - xy * xy
    # A non-finite row fails one of these two, so nothing of it is written.
    if not (determinant > 0.0 and np.isfinite(determinant) and np.isfinite(x + y)):
        return
    half_trace = 0.5 * (xx + yy)
    largest = half_trace + np.sqrt(max(0.01, half_trace * half_trace - determinant))
    radius = min(np.ceil(3.0 * np.sqrt(largest)), 1e9)
    if x + radius <= 0.0 or x - radius >= width or y + radius <= 0.0 or y - radius >= height:
        return
    means2d[c, m, 0], means2d[c, m, 1], depths[c, m] = x, y, z
    conics[c, m, 0], conics[c, m, 1], conics[c, m, 2] = yy / determinant, -xy / determinant, xx / determinant
    radii[c, m] = np.int32(radius)


@helper
def _covariance_gradient(xx, xy, yy, v_conic):
    """Gradient of the screen covariance V from that of the conic Q = V^-1: dV = -Q dQ Q."""
    determinant = xx * yy - xy * xy
    a, b, c = yy / determinant, -xy / determinant, xx / determinant
    # The stored conic names its off-diagonal entry once.
    ga, gb, gc = float(v_conic[0]), 0.5 * v_conic[1], float(v_conic[2])
    v_xx = -(a * a * ga + 2.0 * a * b * gb + b * b * gc)
    v_xy = -(a * b * ga + (a * c + b * b) * gb + b * c * gc)
    v_yy = -(b * b * ga + 2.0 * b * c * gb + c * c * gc)
    return v_xx, v_xy, v_yy


@helper
def _add_center_gradient(
    point, cameras, intrinsics, limited_x, limited_y, free_x, free_y, c, m, v_means2d, v_depths, v_jw, v_jacobian, v_mean
):  # fmt: skip
    """Add to ``v_mean`` the gradient of a centre from those of its projection, its depth and ``J W``."""
    for i in range(2):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += v_jw[i, k] * cameras[c, j, k]
            v_jacobian[i, j] = total
    z = point[2]
    fx, fy = float(intrinsics[c, 0, 0]), float(intrinsics[c, 1, 1])
    vx, vy = float(v_means2d[c, m, 0]), float(v_means2d[c, m, 1])
    v_x = fx / z * vx
    v_y = fy / z * vy
    v_z = float(v_depths[c, m]) - (fx * point[0] * vx + fy * point[1] * vy) / (z * z)
    v_z -= (fx * v_jacobian[0, 0] + fy * v_jacobian[1, 1]) / (z * z)
    # J[0, 2] = -fx (x / z) / z: where x / z is limited it is a constant.
    v_z += (fx * limited_x * v_jacobian[0, 2] + fy * limited_y * v_jacobian[1, 2]) / (z * z)
    if free_x:
        v_x -= fx / (z * z) * v_jacobian[0, 2]
        v_z += fx * limited_x / (z * z) * v_jacobian[0, 2]
    if free_y:
        v_y -= fy / (z * z) * v_jacobian[1, 2]
        v_z += fy * limited_y / (z * z) * v_jacobian[1, 2]
    for k in range(3):
        v_mean[k] += cameras[c, 0, k] * v_x + cameras[c, 1, k] * v_y + cameras[c, 2, k] * v_z


@helper
def _load_spread(jw, rotation, scales, m, jwr, spread):
    """Fill ``J W R`` and the spread ``U = J W R S`` (2 x 3 each), and return the screen covariance U U^T + EPS_2D I."""
    for i in range(2):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += jw[i, k] * rotation[k, j]
            jwr[i, j] = total
            spread[i, j] = total * float(scales[m, j])
    xx, xy, yy = EPS_2D, 0.0, EPS_2D
    for j in range(3):
        xx += spread[0, j] * spread[0, j]
        xy += spread[0, j] * spread[1, j]
        yy += spread[1, j] * spread[1, j]
    return xx, xy, yy


@kernel
def _project(
    start, end, means, quats, scales, cameras, intrinsics, width, height, near, far, means2d, conics, depths, radii
):  # fmt: skip
    unit, rotation, point = np.empty(4), np.empty((3, 3)), np.empty(3)
    jacobian, jw, jwr, spread = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    for m in range(start, end):
        _load_rotation(quats, m, unit, rotation)
        for c in range(cameras.shape[0]):
            means2d[c, m, 0] = means2d[c, m, 1] = depths[c, m] = 0.0
            conics[c, m, 0] = conics[c, m, 1] = conics[c, m, 2] = 0.0
            radii[c, m] = 0
            _load_point(means, m, cameras[c], point)
            if near <= point[2] <= far:
                _load_jacobian(point, cameras[c], intrinsics[c], width, height, jacobian, jw)
                xx, xy, yy = _load_spread(jw, rotation, scales, m, jwr, spread)
                _write_ellipse(point, intrinsics[c], width, height, xx, xy, yy, c, m, means2d, conics, depths, radii)


@kernel
def _project_backward(
    start, end, means, quats, scales, cameras, intrinsics, width, height, radii, v_means2d, v_conics, v_depths,
    v_means, v_quats, v_scales,
):  # fmt: skip
    unit, rotation, point = np.empty(4), np.empty((3, 3)), np.empty(3)
    jacobian, jw, jwr, spread = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    v_spread, v_jw, v_jacobian = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    v_rotation, v_mean, v_scale = np.empty((3, 3)), np.empty(3), np.empty(3)
    for m in range(start, end):
        norm = _load_rotation(quats, m, unit, rotation)
        v_rotation[:] = 0.0
        v_mean[:] = 0.0
        v_scale[:] = 0.0
        seen = False
        for c in range(cameras.shape[0]):
            if radii[c, m] <= 0:
                continue
            seen = True
            _load_point(means, m, cameras[c], point)
            limited_x, limited_y, free_x, free_y = _load_jacobian(
                point, cameras[c], intrinsics[c], width, height, jacobian, jw
            )
            xx, xy, yy = _load_spread(jw, rotation, scales, m, jwr, spread)
            v_xx, v_xy, v_yy = _covariance_gradient(xx, xy, yy, v_conics[c, m])
            for j in range(3):
                v_spread[0, j] = 2.0 * (v_xx * spread[0, j] + v_xy * spread[1, j])
                v_spread[1, j] = 2.0 * (v_xy * spread[0, j] + v_yy * spread[1, j])
                v_scale[j] += v_spread[0, j] * jwr[0, j] + v_spread[1, j] * jwr[1, j]
            for k in range(3):
                v_jw[0, k] = 0.0
                v_jw[1, k] = 0.0
                for j in range(3):
                    sa, sb = v_spread[0, j] * float(scales[m, j]), v_spread[1, j] * float(scales[m, j])
                    v_jw[0, k] += sa * rotation[k, j]
                    v_jw[1, k] += sb * rotation[k, j]
                    v_rotation[k, j] += jw[0, k] * sa + jw[1, k] * sb
            _add_center_gradient(
                point, cameras, intrinsics, limited_x, limited_y, free_x, free_y, c, m, v_means2d, v_depths,
                v_jw, v_jacobian, v_mean,
            )  # fmt: skip
        for k in range(3):
            v_means[m, k] = v_mean[k]
            v_scales[m, k] = v_scale[k]
        if seen:
            _rotation_gradient(unit, norm, v_rotation, m, v_quats)
        else:
            v_quats[m, 0] = v_quats[m, 1] = v_quats[m, 2] = v_quats[m, 3] = 0.0


@helper
def _load_screen_covariance(jw, covariances, m, symmetric, spread):
    """Fill the full matrix C and ``J W C``, and return the screen covariance J W C (J W)^T + EPS_2D I."""
    for i in range(3):
        for j in range(i, 3):
            symmetric[i, j] = symmetric[j, i] = float(covariances[m, i, j])
    for i in range(2):
        for j in range(3):
            total = 0.0
            for k in range(3):
                total += jw[i, k] * symmetric[k, j]
            spread[i, j] = total
    xx, xy, yy = EPS_2D, 0.0, EPS_2D
    for j in range(3):
        xx += spread[0, j] * jw[0, j]
        xy += spread[0, j] * jw[1, j]
        yy += spread[1, j] * jw[1, j]
    return xx, xy, yy


@kernel
def _project_covariances(
    start, end, means, covariances, cameras, intrinsics, width, height, near, far, means2d, conics, depths, radii
):  # fmt: skip
    point, symmetric = np.empty(3), np.empty((3, 3))
    jacobian, jw, spread = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    for m in range(start, end):
        for c in range(cameras.shape[0]):
            means2d[c, m, 0] = means2d[c, m, 1] = depths[c, m] = 0.0
            conics[c, m, 0] = conics[c, m, 1] = conics[c, m, 2] = 0.0
            radii[c, m] = 0
            _load_point(means, m, cameras[c], point)
            if near <= point[2] <= far:
                _load_jacobian(point, cameras[c], intrinsics[c], width, height, jacobian, jw)
                xx, xy, yy = _load_screen_covariance(jw, covariances, m, symmetric, spread)
                _write_ellipse(point, intrinsics[c], width, height, xx, xy, yy, c, m, means2d, conics, depths, radii)


@kernel
def _project_covariances_backward(
    start, end, means, covariances, cameras, intrinsics, width, height, radii, v_means2d, v_conics, v_depths,
    v_means, v_covariances,
):  # fmt: skip
    point, symmetric, v_mean, v_full = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty((3, 3))
    jacobian, jw, spread = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    v_screen, v_jw, v_jacobian = np.empty((2, 2)), np.empty((2, 3)), np.empty((2, 3))
    for m in range(start, end):
        v_mean[:] = 0.0
        v_full[:] = 0.0
        for c in range(cameras.shape[0]):
            if radii[c, m] <= 0:
                continue
            _load_point(means, m, cameras[c], point)
            limited_x, limited_y, free_x, free_y = _load_jacobian(
                point, cameras[c], intrinsics[c], width, height, jacobian, jw
            )
            xx, xy, yy = _load_screen_covariance(jw, covariances, m, symmetric, spread)
            v_xx, v_xy, v_yy = _covariance_gradient(xx, xy, yy, v_conics[c, m])
            v_screen[0, 0], v_screen[0, 1], v_screen[1, 0], v_screen[1, 1] = v_xx, v_xy, v_xy, v_yy
            for i in range(2):
                for k in range(3):
                    v_jw[i, k] = 2.0 * (v_screen[i, 0] * spread[0, k] + v_screen[i, 1] * spread[1, k])
            for i in range(3):
                for j in range(3):
                    for k in range(2):
                        v_full[i, j] += jw[k, i] * (v_screen[k, 0] * jw[0, j] + v_screen[k, 1] * jw[1, j])
            _add_center_gradient(
                point, cameras, intrinsics, limited_x, limited_y, free_x, free_y, c, m, v_means2d, v_depths,
                v_jw, v_jacobian, v_mean,
            )  # fmt: skip
        for i in range(3):
            v_means[m, i] = v_mean[i]
            v_covariances[m, i, i] = v_full[i, i]
            for j in range(i):
                v_covariances[m, i, j] = 0.0
                v_covariances[m, j, i] = v_full[i, j] + v_full[j, i]


class _Projection(torch.autograd.Function):
    """Ties a pair of kernels into autograd; ``rows`` are the centres and whatever states the shapes."""

    @staticmethod
    def forward(ctx: Any, kernels: tuple[Any, Any], cameras: PinholeCameras, *rows: Tensor) -> tuple[Tensor, ...]:
        means, m, c = rows[0], rows[0].shape[0], len(cameras)
        means2d, conics, depths = means.new_empty(c, m, 2), means.new_empty(c, m, 3), means.new_empty(c, m)
        radii = torch.empty(c, m, dtype=torch.int32)
        inputs = [t.detach().contiguous() for t in rows]
        inputs += [t.to(means).contiguous() for t in (cameras.camera_from_world, cameras.intrinsics)]
        spread(
            torch.get_num_threads(),
            kernels[0], m, CHUNK,
                *(t.numpy() for t in inputs), cameras.width, cameras.height, float(cameras.near), FAR,
                *(t.numpy() for t in (means2d, conics, depths, radii)),
            )  # fmt: skip
        ctx.save_for_backward(*inputs, radii)
        ctx.kernel, ctx.size = kernels[1], (cameras.width, cameras.height)
        ctx.mark_non_differentiable(radii)
        return means2d, conics, depths, radii

    @staticmethod
    def backward(ctx: Any, v_means2d: Tensor, v_conics: Tensor, v_depths: Tensor, _: Tensor) -> tuple:  # type: ignore[override]
        *inputs, radii = ctx.saved_tensors
        gradients = tuple(torch.empty_like(t) for t in inputs[:-2])  # the last two are the cameras
        spread(
            torch.get_num_threads(),
            ctx.kernel, radii.shape[1], CHUNK,
                *(t.numpy() for t in inputs), *ctx.size, radii.numpy(),
                *(t.contiguous().numpy() for t in (v_means2d, v_conics, v_depths)), *(t.numpy() for t in gradients),
            )  # fmt: skip
        return None, None, *gradients


def project(
    means: Float[Tensor, "m 3"], quats: Float[Tensor, "m 4"], scales: Float[Tensor, "m 3"], cameras: PinholeCameras
) -> tuple[Float[Tensor, "c m 2"], Float[Tensor, "c m 3"], Float[Tensor, "c m"], Int[Tensor, "c m"]]:
    """Project Gaussians into every camera; differentiable in the Gaussians, not in the cameras.

    Returns:
        Centres in pixels; conics (xx, xy, yy of the inverse screen covariance, 1 / pixel^2); depths (z in the camera,
        world units); radii in whole pixels (3 standard deviations along the longest axis, rounded up). A Gaussian that
        is nearer than ``cameras.near``, does not reach the image or is not finite has radius 0 and zeros elsewhere.
    """
    return _Projection.apply((_project, _project_backward), cameras, means, quats, scales)  # type: ignore[no-any-return]


def project_covariances(
    means: Float[Tensor, "m 3"], covariances: Float[Tensor, "m 3 3"], cameras: PinholeCameras
) -> tuple[Float[Tensor, "c m 2"], Float[Tensor, "c m 3"], Float[Tensor, "c m"], Int[Tensor, "c m"]]:
    """As :func:`project`, for shapes stated by world covariances, of which the upper triangle is read."""
    kernels = _project_covariances, _project_covariances_backward
    return _Projection.apply(kernels, cameras, means, covariances)  # type: ignore[no-any-return]
