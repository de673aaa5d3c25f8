"""The identity: a 4D Gaussian is a 3D Gaussian that moves in a straight line and fades; both ways, and its axes."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.representation.parts.ellipsoids import axes_of, largest_deviation
from fourdgs_ns.representation.parts.rotations4d import rotation_matrices_4d
from fourdgs_ns.representation.parts.velocity_form import QuaternionForm, VelocityForm, quaternion_form, velocity_form

from .test_rotations4d import random_quats


def random_shapes(n: int = 60) -> QuaternionForm:
    left, right = random_quats(n)
    generator = torch.Generator().manual_seed(1)
    return QuaternionForm(left, right, torch.exp(torch.randn(n, 4, generator=generator, dtype=torch.float64)))


def covariances_4d(shape: QuaternionForm) -> torch.Tensor:
    factor = rotation_matrices_4d(shape.left, shape.right) * shape.deviations[:, None, :]
    return factor @ factor.transpose(1, 2)


def test_velocity_form_is_the_schur_complement():
    shape = random_shapes()
    sigma = covariances_4d(shape)
    cross, variance = sigma[:, :3, 3], sigma[:, 3, 3]
    form = velocity_form(shape)
    torch.testing.assert_close(form.velocities, cross / variance[:, None])
    torch.testing.assert_close(form.durations[:, 0], variance.sqrt())
    schur = sigma[:, :3, :3] - cross[:, :, None] * cross[:, None, :] / variance[:, None, None]
    torch.testing.assert_close(form.covariances, schur)


def test_quaternions_to_velocities_and_back_give_the_same_4d_covariance():
    shape = random_shapes()
    back = quaternion_form(velocity_form(shape))
    torch.testing.assert_close(covariances_4d(back), covariances_4d(shape))
    torch.testing.assert_close(back.left.norm(dim=-1), torch.ones(60, dtype=torch.float64))


def test_velocities_to_quaternions_and_back():
    generator = torch.Generator().manual_seed(2)
    factor = torch.randn(60, 3, 3, generator=generator, dtype=torch.float64)
    form = VelocityForm(
        factor @ factor.transpose(1, 2) * 1e-4,
        torch.randn(60, 3, generator=generator, dtype=torch.float64),
        torch.exp(torch.randn(60, 1, generator=generator, dtype=torch.float64)),
    )
    back = velocity_form(quaternion_form(form))
    torch.testing.assert_close(back.covariances, form.covariances, rtol=1e-6, atol=1e-14)
    torch.testing.assert_close(back.velocities, form.velocities)
    torch.testing.assert_close(back.durations, form.durations)


def test_conditional_covariance_stays_positive_in_single_precision():
    """A millimetre that lives a hundred clips and moves: a subtraction of squares would lose all of its digits."""
    form = VelocityForm(torch.eye(3)[None] * 1e-6, torch.tensor([[0.3, -0.5, 0.1]]), torch.tensor([[100.0]]))
    back = velocity_form(quaternion_form(form))
    assert bool((torch.linalg.eigvalsh(back.covariances.double()) > 0).all())
    torch.testing.assert_close(back.covariances, form.covariances, rtol=0.05, atol=1e-8)
    torch.testing.assert_close(back.velocities, form.velocities)


def test_gaussians_at_rest_get_equal_quaternions_and_time_as_their_last_axis():
    factor = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    durations = torch.logspace(-3, 2, 20, dtype=torch.float64)[:, None]
    zero = torch.zeros(20, 3, dtype=torch.float64)
    shape = quaternion_form(VelocityForm(factor @ factor.transpose(1, 2), zero, durations))
    torch.testing.assert_close(shape.deviations[:, 3:], durations)
    sign = (shape.left * shape.right).sum(-1, keepdim=True).sign()
    torch.testing.assert_close(shape.left, shape.right * sign)


def test_axes_rebuild_the_covariance_with_a_proper_rotation():
    factor = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    factor[0] = torch.diag(torch.tensor([1.0, 1.0, 1.0]))
    factor[1] = torch.diag(torch.tensor([2.0, 1e-4, 1.0]))
    covariances = factor @ factor.transpose(1, 2)
    quats, scales = axes_of(covariances)
    rotations = rotation_matrices(quats)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(50, dtype=torch.float64))
    rebuilt = rotations @ torch.diag_embed(scales**2) @ rotations.transpose(1, 2)
    torch.testing.assert_close(rebuilt, covariances)


def test_axes_of_flat_and_indefinite_matrices_are_finite_and_positive():
    flat = torch.diag_embed(torch.tensor([[1.0, 1e-3, 0.0], [0.0, 0.0, 0.0], [1.0, -1e-9, 1.0]]))
    quats, scales = axes_of(flat)
    assert bool(torch.isfinite(quats).all() and (scales > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_largest_deviation_is_the_largest_eigenvalue(dtype):
    factor = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    factor[0], factor[1] = torch.eye(3), torch.diag(torch.tensor([3.0, 3.0, 1e-3]))
    factor[2] = 1e-4 * torch.eye(3)
    covariances = factor @ factor.transpose(1, 2)
    expected = torch.linalg.eigvalsh(covariances)[:, -1].sqrt()
    found = largest_deviation(covariances.to(dtype))
    torch.testing.assert_close(found.double(), expected, rtol=1e-3 if dtype == torch.float32 else 1e-6, atol=0)
