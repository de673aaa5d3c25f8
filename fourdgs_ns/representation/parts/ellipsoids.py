"""Covariance matrices as axes and sizes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.geometry.rotations import quats_from_matrices
from fourdgs_ns.representation.types import GaussiansAtTime


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
