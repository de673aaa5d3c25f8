"""Rotations as quaternions (w, x, y, z), matrices and vectors."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor


def rotation_matrices(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of ``quats``, which need not have unit length but must not be zero."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


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


def quats_from_vectors(vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """Unit quaternions of rotation vectors (axis times angle in radians); smooth at zero."""
    squared = (vectors**2).sum(dim=-1, keepdim=True)
    # sin(a / 2) / a and cos(a / 2), the former by its series where a is tiny.
    angle = squared.clamp_min(1e-12).sqrt()
    factor = torch.where(squared < 1e-8, 0.5 - squared / 48, torch.sin(angle / 2) / angle)
    return torch.cat([torch.where(squared < 1e-8, 1 - squared / 8, torch.cos(angle / 2)), factor * vectors], dim=-1)


def multiply_quats(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "m 4"]:
    """Hamilton product a b of (w, x, y, z) quaternions."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def identity_quats(n: int) -> Float[Tensor, "n 4"]:
    """``n`` identity rotations."""
    return torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)


def quaternion_from_matrix(rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "4"]:
    """Unit quaternion (w, x, y, z) of a rotation matrix."""
    x, y, z, w = Rotation.from_matrix(rotation.astype(np.float64)).as_quat()
    return np.array([w, x, y, z], dtype=np.float32)


def rotation_between(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that turns unit vector ``a`` into unit vector ``b`` (Rodrigues)."""
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-8:
        # Opposite vectors: turn by 180 degrees about any perpendicular axis.
        helper = np.eye(3)[int(np.argmin(np.abs(a)))]
        axis = np.cross(a, helper) / np.linalg.norm(np.cross(a, helper))
        return 2 * np.outer(axis, axis) - np.eye(3)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
