"""Real spherical harmonics up to degree 3, with the order and signs that 3DGS files and rasterizers share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.geometry.world import WorldFromCapture

SH_C0 = 0.28209479177387814
"""The constant harmonic: 1 / (2 sqrt(pi))."""
MAX_DEGREE = 3


def num_harmonics(degree: int) -> int:
    """Harmonics of all degrees up to ``degree``."""
    return (degree + 1) ** 2


def sh_basis(directions: Float[Tensor, "*b 3"], degree: int) -> Float[Tensor, "*b k"]:
    """Values of the k = (degree + 1)^2 harmonics for unit ``directions`` (from the camera to the Gaussian).

    Index l^2 + l + m for degree l and order m, as in Ramamoorthi and Hanrahan (2001) with the signs of 3DGS.
    """
    assert 0 <= degree <= MAX_DEGREE, degree
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        c = 0.4886025119029199
        values += [-c * y, c * z, -c * x]
    if degree >= 2:
        c = 1.0925484305920792
        values += [
            c * x * y,
            -c * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            -c * x * z,
            0.5 * c * (x * x - y * y),
        ]
    if degree >= 3:
        a, b, c = 0.5900435899266435, 2.890611442640554, 0.4570457994644658
        values += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            -c * x * (5 * z * z - 1),
            0.5 * b * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, dim=-1)


def rgb_from_sh(coefficients: Float[Tensor, "*#b k 3"], directions: Float[Tensor, "*#b 3"]) -> Float[Tensor, "*#b 3"]:
    """Colour seen along ``directions`` (any length): max(0, 1/2 + sum of coefficients times harmonics), as 3DGS.

    Directions from several cameras share the coefficients: [c, n, 3] with [n, k, 3].
    """
    degree = round(coefficients.shape[-2] ** 0.5) - 1
    basis = sh_basis(torch.nn.functional.normalize(directions, dim=-1), degree)
    return ((basis[..., None] * coefficients).sum(dim=-2) + 0.5).clamp_min(0.0)


def sh_from_rgb(rgb: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Coefficient of the constant harmonic for a colour that is the same from everywhere."""
    return (rgb - 0.5) / SH_C0


def rotate_sh(coefficients: Float[Tensor, "n k 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "n k 3"]:
    """Coefficients of the same appearance after the scene was turned: new(R d) = old(d).

    Harmonics of one degree only mix among themselves under a rotation R. Their mixing matrix is the one that explains the turned
    basis at more directions than there are harmonics; it is exact, because the basis is closed under rotation.
    """
    degree = round(coefficients.shape[1] ** 0.5) - 1
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 3, dtype=torch.float64, generator=generator), dim=-1)
    matrix = rotation.double().cpu()
    before, after = sh_basis(directions, degree), sh_basis(directions @ matrix.T, degree)
    rotated = torch.empty_like(coefficients)
    for l in range(degree + 1):  # noqa: E741  (the degree's usual letter)
        block = slice(l * l, (l + 1) ** 2)
        mixing = torch.linalg.lstsq(after[:, block], before[:, block]).solution
        rotated[:, block] = torch.einsum("ij,njc->nic", mixing.to(coefficients), coefficients[:, block])
    return rotated


def harmonics_to_capture(coefficients: Float[Tensor, "n k 3"], world: WorldFromCapture) -> Float[Tensor, "n k 3"]:
    """Coefficients for directions of the training's world -> for those of the capture's."""
    return rotate_sh(coefficients, torch.from_numpy(world.rotation.T.copy()))
