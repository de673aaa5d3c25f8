"""Rotations of space-time: every rotation of four dimensions is v -> l v conj(r) for two unit quaternions l and r.

Axes are ordered (x, y, z, t) and a 4-vector is the quaternion t + z i + y j + x k. With this order the time axis is the
quaternions' real axis, so that l = +-r turns space only: the difference of the two is the motion (Yang et al., ICLR 2024, in the
convention of their code since September 2024).
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fourdgs_ns.geometry.rotations import multiply_quats


@cache
def _generators(device: torch.device, dtype: torch.dtype) -> Float[Tensor, "16 16"]:
    """Row 4 i + j: the matrix (flattened) of v -> e_i v conj(e_j) for the basis quaternions e. Made once per device."""
    basis = torch.eye(4)
    product = multiply_quats(basis.repeat_interleave(4, 0), basis.repeat(4, 1)).reshape(4, 4, 4)  # [a, b]: e_a e_b
    product = product.permute(2, 0, 1)
    conjugate = torch.tensor([1.0, -1.0, -1.0, -1.0])
    left = product.permute(1, 0, 2)  # left[i] v = e_i v
    right = product.permute(2, 0, 1) * conjugate[:, None, None]  # right[j] v = v conj(e_j)
    matrices = torch.einsum("iab,jbc->ijac", left, right)
    return matrices.flip(-1, -2).reshape(16, 16).to(device, dtype)


def _turns(left: Float[Tensor, "n 4"], right: Float[Tensor, "n 4"]) -> Float[Tensor, "n 16"]:
    """All products of a component of the one with a component of the other unit quaternion."""
    left, right = functional.normalize(left, dim=-1), functional.normalize(right, dim=-1)
    return (left[:, :, None] * right[:, None, :]).flatten(1)


def rotation_matrices_4d(left: Float[Tensor, "n 4"], right: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4 4"]:
    """Rotation matrices (x, y, z, t) of quaternions (real part first), which need not have unit length but must not be zero."""
    return (_turns(left, right) @ _generators(left.device, left.dtype)).reshape(-1, 4, 4)


def time_rows(left: Float[Tensor, "n 4"], right: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Last row of :func:`rotation_matrices_4d` alone: how much of time each of a Gaussian's axes has."""
    return _turns(left, right) @ _generators(left.device, left.dtype)[:, 12:]


def quats_from_rotations_4d(rotations: Float[Tensor, "n 4 4"]) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Inverse of :func:`rotation_matrices_4d`: unit quaternions, up to one sign that both share.

    The generators are orthogonal, so projecting on them gives the rank-one matrix of all products l_i r_j.
    """
    products = (rotations.flatten(1) @ _generators(rotations.device, rotations.dtype).T / 4).reshape(-1, 4, 4)
    best = products.norm(dim=-1).argmax(dim=-1)
    right = functional.normalize(products[torch.arange(len(products), device=best.device), best], dim=-1)
    return functional.normalize((products @ right[:, :, None]).squeeze(-1), dim=-1), right


def quats_of_static(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """The quaternion that, given on both sides, turns space as the ordinary (w, x, y, z) quaternion does; its own inverse."""
    w, x, y, z = quats.unbind(-1)
    return torch.stack([w, -z, -y, -x], dim=-1)


def other_convention(
    left: Float[Tensor, "n 4"], right: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Quaternions of the same rotations for a 4-vector read as x + y i + z j + t k, and back: files from before the change."""
    signs = left.new_tensor([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    return left * signs[0], right * signs[1]
