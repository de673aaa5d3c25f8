"""Quaternions, matrices and rotation vectors against each other and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from fourdgs_ns.geometry.rotations import (
    multiply_quats,
    quaternion_from_matrix,
    quats_from_matrices,
    quats_from_vectors,
    rotation_between,
    rotation_matrices,
)


def random_quats(n):
    quats = torch.randn(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(quats, dim=-1)


def test_rotation_vectors():
    vectors = torch.tensor([[0.0, 0.0, 0.0], [1e-5, 0.0, 0.0], [0.3, -0.2, 0.9], [0.0, math.pi, 0.0]])
    expected = torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_quat()[:, [3, 0, 1, 2]]).float()
    torch.testing.assert_close(quats_from_vectors(vectors), expected, rtol=1e-6, atol=1e-6)
    torch.autograd.gradcheck(quats_from_vectors, vectors[[0, 2]].double().requires_grad_())


def test_quaternions_of_matrices_invert_the_matrices_of_quaternions():
    quats = random_quats(300)
    quats[:4] = torch.eye(4, dtype=torch.float64)
    found = quats_from_matrices(rotation_matrices(quats))
    torch.testing.assert_close(found, torch.where(quats[:, :1] < 0, -quats, quats))


def test_products_turn_one_after_the_other():
    a, b = random_quats(20).split(10)
    product = rotation_matrices(multiply_quats(a, b))
    torch.testing.assert_close(product, rotation_matrices(a) @ rotation_matrices(b))


def test_one_matrix_and_many_give_the_same_quaternion_up_to_its_sign():
    for quat in random_quats(20):
        matrix = rotation_matrices(quat[None])
        one, many = quaternion_from_matrix(matrix[0].numpy()), quats_from_matrices(matrix)[0].float().numpy()
        assert abs(float(one @ many)) > 1 - 1e-6


def test_rotation_between_handles_opposite_vectors():
    z = np.array([0.0, 0.0, 1.0])
    for a in (z, -z, np.array([0.6, 0.0, 0.8])):
        rotation = rotation_between(a, z)
        np.testing.assert_allclose(rotation @ a, z, atol=1e-7)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-7)
        assert np.linalg.det(rotation) > 0
