"""Covariance matrices as axes and sizes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.representation.types import GaussiansAtTime


def quats_from_matrices(rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 4"]:
    """Unit quaternions (w, x, y, z) of proper rotation matrices, w >= 0.

    q q^T is linear in the matrix; its row with the largest diagonal entry is q up to scale, without cancellation.
    """
    m = rotations
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    wx, wy, wz = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    rows = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], dim=-1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], dim=-1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], dim=-1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], dim=-1),
        ],
        dim=1,
    )
    best = rows.diagonal(dim1=1, dim2=2).argmax(dim=-1)
    quats = torch.nn.functional.normalize(rows[torch.arange(len(m), device=m.device), best], dim=-1)
    return torch.where(quats[:, :1] < 0, -quats, quats)


def axes_of(covariances: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
    """Unit quaternions (w, x, y, z) and standard deviations of symmetric matrices: C = R diag(s^2) R^T, det R = +1.

    Computed in float64. Variances that rounding made negative become tiny: at least 1e-14 of the largest, and positive.
    """
    variances, axes = torch.linalg.eigh(covariances.double())
    floor = (variances[:, -1:] * 1e-14).clamp_min(1e-30)
    axes = torch.cat([axes[:, :, :1] * torch.linalg.det(axes)[:, None, None], axes[:, :, 1:]], dim=-1)
    return quats_from_matrices(axes).to(covariances), variances.maximum(floor).sqrt().to(covariances)


def slice_axes(gaussians: GaussiansAtTime) -> tuple[Float[Tensor, "m 4"], Float[Tensor, "m 3"]]:
    """Unit quaternions and linear scales of a slice, whichever way it states its shapes."""
    if gaussians.covariances is None:
        assert gaussians.quats is not None and gaussians.scales is not None
        return gaussians.quats, gaussians.scales
    return axes_of(gaussians.covariances)


def largest_deviation(covariances: Float[Tensor, "n 3 3"]) -> Float[Tensor, " n"]:
    """Standard deviation along the longest axis, in closed form: eigen-decomposing a million small matrices is slow on a GPU.

    The eigenvalues of a symmetric matrix C are q + 2 p cos(phi + 2 pi k / 3) with q = tr C / 3, p^2 = |C - q I|^2 / 6 and
    cos(3 phi) = det((C - q I) / p) / 2; k = 0 is the largest.
    """
    mean = covariances.diagonal(dim1=1, dim2=2).mean(dim=-1)
    rest = covariances - mean[:, None, None] * torch.eye(3, dtype=covariances.dtype, device=covariances.device)
    spread = (rest.square().sum(dim=(1, 2)) / 6).sqrt()
    safe = spread.clamp_min(torch.finfo(spread.dtype).tiny ** 0.25)
    first, second, third = (rest / safe[:, None, None]).unbind(dim=1)
    cosine = (torch.linalg.cross(first, second) * third).sum(dim=-1) / 2
    angle = torch.acos(cosine.clamp(-1.0, 1.0)) / 3
    return (mean + 2 * spread * torch.cos(angle)).clamp_min(0.0).sqrt()
