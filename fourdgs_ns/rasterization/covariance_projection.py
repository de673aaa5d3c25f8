"""Projection of Gaussians that are stated by covariance matrices, with its analytic gradient, on the CPU.

The same formulas as in :mod:`fourdgs_ns.rasterization.projection` with ``T = J W`` (2 x 3): the covariance on the screen is
``T C T^T + EPS_2D I``. Only the upper triangle of C is read, and only it receives a gradient, as in gsplat.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.common.compiled import helper, kernel
from fourdgs_ns.rasterization.projection import (
    Projection,
    covariance_gradient,
    load_camera_point,
    load_jacobian,
    outline,
    point_gradient,
)
from fourdgs_ns.rasterization.types import EPS_2D, PinholeCameras


@helper
def _load_screen_covariance(jacobian, world_to_camera, covariances, m, jw, symmetric, spread):
    """Fill ``J W``, the full matrix C and ``J W C``, and return the screen covariance J W C (J W)^T + EPS_2D I."""
    for i in range(3):
        for j in range(i, 3):
            symmetric[i, j] = symmetric[j, i] = float(covariances[m, i, j])
    for i in range(2):
        for k in range(3):
            total = 0.0
            for j in range(3):
                total += jacobian[i, j] * world_to_camera[j, k]
            jw[i, k] = total
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
def _project(
    start, end, means, covariances, cameras, intrinsics, width, height, near, far, means2d, conics, depths, radii
):  # fmt: skip
    point, symmetric = np.empty(3), np.empty((3, 3))
    jacobian, jw, spread = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    for m in range(start, end):
        for c in range(cameras.shape[0]):
            means2d[c, m, 0] = means2d[c, m, 1] = depths[c, m] = 0.0
            conics[c, m, 0] = conics[c, m, 1] = conics[c, m, 2] = 0.0
            radii[c, m] = 0
            load_camera_point(means, m, cameras[c], point)
            if not (near <= point[2] <= far):
                continue
            load_jacobian(point, intrinsics[c], width, height, jacobian)
            xx, xy, yy = _load_screen_covariance(jacobian, cameras[c], covariances, m, jw, symmetric, spread)
            z = point[2]
            x = intrinsics[c, 0, 0] * point[0] / z + intrinsics[c, 0, 2]
            y = intrinsics[c, 1, 1] * point[1] / z + intrinsics[c, 1, 2]
            determinant, radius = outline(x, y, xx, xy, yy, width, height)
            if radius == 0.0:
                continue
            means2d[c, m, 0], means2d[c, m, 1], depths[c, m] = x, y, z
            conics[c, m, 0], conics[c, m, 1], conics[c, m, 2] = yy / determinant, -xy / determinant, xx / determinant
            radii[c, m] = np.int32(radius)


@kernel
def _project_backward(
    start, end, means, covariances, cameras, intrinsics, width, height, radii, v_means2d, v_conics, v_depths,
    v_means, v_covariances,
):  # fmt: skip
    point, symmetric, v_mean, v_point = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty(3)
    jacobian, jw, spread = np.empty((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    v_screen, v_jw, v_jacobian, v_full = np.empty((2, 2)), np.empty((2, 3)), np.empty((2, 3)), np.empty((3, 3))
    for m in range(start, end):
        v_mean[:] = 0.0
        v_full[:] = 0.0
        for c in range(cameras.shape[0]):
            if radii[c, m] <= 0:
                continue
            load_camera_point(means, m, cameras[c], point)
            limited_x, limited_y, free_x, free_y = load_jacobian(point, intrinsics[c], width, height, jacobian)
            xx, xy, yy = _load_screen_covariance(jacobian, cameras[c], covariances, m, jw, symmetric, spread)
            v_xx, v_xy, v_yy = covariance_gradient(xx, xy, yy, v_conics[c, m])
            v_screen[0, 0], v_screen[0, 1], v_screen[1, 0], v_screen[1, 1] = v_xx, v_xy, v_xy, v_yy
            for i in range(2):
                for k in range(3):
                    v_jw[i, k] = 2.0 * (v_screen[i, 0] * spread[0, k] + v_screen[i, 1] * spread[1, k])
            for i in range(3):
                for j in range(3):
                    for k in range(2):
                        v_full[i, j] += jw[k, i] * (v_screen[k, 0] * jw[0, j] + v_screen[k, 1] * jw[1, j])
            for i in range(2):
                for j in range(3):
                    total = 0.0
                    for k in range(3):
                        total += v_jw[i, k] * cameras[c, j, k]
                    v_jacobian[i, j] = total
            v_point[0], v_point[1], v_point[2] = point_gradient(
                point, v_jacobian, limited_x, limited_y, free_x, free_y, float(intrinsics[c, 0, 0]),
                float(intrinsics[c, 1, 1]), float(v_means2d[c, m, 0]), float(v_means2d[c, m, 1]), float(v_depths[c, m]),
            )  # fmt: skip
            for k in range(3):
                for j in range(3):
                    v_mean[k] += cameras[c, j, k] * v_point[j]
        for i in range(3):
            v_means[m, i] = v_mean[i]
            v_covariances[m, i, i] = v_full[i, i]
            for j in range(i):
                v_covariances[m, i, j] = 0.0
                v_covariances[m, j, i] = v_full[i, j] + v_full[j, i]


def project_covariances(
    means: Float[Tensor, "m 3"], covariances: Float[Tensor, "m 3 3"], cameras: PinholeCameras
) -> tuple[Float[Tensor, "c m 2"], Float[Tensor, "c m 3"], Float[Tensor, "c m"], Int[Tensor, "c m"]]:
    """As :func:`fourdgs_ns.rasterization.projection.project`, for world covariances."""
    return Projection.apply((_project, _project_backward), cameras, means, covariances)  # type: ignore[no-any-return]
