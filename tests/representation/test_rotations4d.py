"""Two quaternions as rotations of space-time, against quaternion products written out in numpy."""

from __future__ import annotations

import numpy as np
import torch

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.representation.parts.rotations4d import (
    other_convention,
    quats_from_rotations_4d,
    quats_of_static,
    rotation_matrices_4d,
    time_rows,
)


def random_quats(n: int = 50, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
    left, right = torch.nn.functional.normalize(pair, dim=-1)
    return left, right


def product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton product, by the rule for scalar and vector parts."""
    vector = p[0] * q[1:] + q[0] * p[1:] + np.cross(p[1:], q[1:])
    return np.concatenate([[p[0] * q[0] - p[1:] @ q[1:]], vector])


def test_matrices_turn_as_quaternion_products_do():
    left, right = random_quats()
    for matrix, a, b in zip(rotation_matrices_4d(left, right).numpy(), left.numpy(), right.numpy()):
        v = np.array([0.3, -1.2, 0.7, 2.0])  # x, y, z, t
        turned = product(product(a, v[::-1]), b * [1, -1, -1, -1])[::-1]
        np.testing.assert_allclose(matrix @ v, turned, atol=1e-12)


def test_matrices_are_rotations_whatever_the_length_of_the_quaternions():
    left, right = random_quats()
    matrices = rotation_matrices_4d(left * 3.0, right * 0.1)
    identity = torch.eye(4, dtype=torch.float64).expand(50, 4, 4)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), identity)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(time_rows(left, right), matrices[:, 3])


def test_inverse_gives_the_quaternions_up_to_a_common_sign():
    left, right = random_quats()
    # Half turns and identities, where a branch on one component would divide by nothing.
    left[:4] = right[:4] = torch.eye(4, dtype=torch.float64)
    left[4:8], right[4:8] = torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64).flip(0)
    found_left, found_right = quats_from_rotations_4d(rotation_matrices_4d(left, right))
    sign = (found_left * left).sum(-1, keepdim=True).sign()
    torch.testing.assert_close(found_left * sign, left)
    torch.testing.assert_close(found_right * sign, right)


def test_equal_quaternions_turn_space_only():
    quats, _ = random_quats()
    both = quats_of_static(quats)
    for right in (both, -both):
        matrices = rotation_matrices_4d(both, right)
        torch.testing.assert_close(matrices[:, 3, :3], torch.zeros(50, 3, dtype=torch.float64))
        torch.testing.assert_close(matrices[:, :3, 3], torch.zeros(50, 3, dtype=torch.float64))
    torch.testing.assert_close(rotation_matrices_4d(both, both)[:, :3, :3], rotation_matrices(quats))
    torch.testing.assert_close(quats_of_static(both), quats)


def test_older_files_turn_vectors_read_in_the_opposite_order():
    left, right = random_quats()
    old_left, old_right = other_convention(left, right)
    v = np.array([0.3, -1.2, 0.7, 2.0])
    for matrix, a, b in zip(rotation_matrices_4d(left, right).numpy(), old_left.numpy(), old_right.numpy()):
        np.testing.assert_allclose(matrix @ v, product(product(a, v), b * [1, -1, -1, -1]), atol=1e-12)
    again = other_convention(old_left, old_right)
    assert torch.equal(again[0], left) and torch.equal(again[1], right)
