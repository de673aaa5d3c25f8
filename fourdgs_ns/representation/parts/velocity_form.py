"""The exact identity between 4D Gaussians and 3D Gaussians that move on straight lines and fade.

A 4D covariance S = M M^T, M = R diag(s), with the last row r of M has, whatever the time at which it is conditioned,

    duration^2 = S_tt = |r|^2        velocity v = S_xt / S_tt = M_x r / |r|^2
    covariance = S_xx - S_xt S_tx / S_tt = A A^T with A = M_x - v r^T

The Schur complement is written as a product, so that rounding cannot make it indefinite. Both forms have 10 degrees of freedom:
4 sizes and 6 of rotation, or 6 of a covariance, 3 of a velocity and a duration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.representation.parts.rotations4d import quats_from_rotations_4d, rotation_matrices_4d


@dataclass
class VelocityForm:
    """Shapes of Gaussians in space and time as a constant covariance, a velocity and a duration."""

    covariances: Float[Tensor, "n 3 3"]
    """World units squared."""
    velocities: Float[Tensor, "n 3"]
    """World units per unit of t."""
    durations: Float[Tensor, "n 1"]
    """Standard deviation in t."""


@dataclass
class QuaternionForm:
    """The same shapes as four sizes along axes that two quaternions turn."""

    left: Float[Tensor, "n 4"]
    right: Float[Tensor, "n 4"]
    deviations: Float[Tensor, "n 4"]
    """Standard deviations along the axes; the last axis is the one nearest to time where this package chose the order."""


def velocity_form(shape: QuaternionForm) -> VelocityForm:
    """Conditions 4D Gaussians on time; differentiable."""
    factor = rotation_matrices_4d(shape.left, shape.right) * shape.deviations[:, None, :]
    space, row = factor[:, :3], factor[:, 3]
    variance = row.square().sum(dim=-1, keepdim=True)
    velocity = (space @ row[:, :, None]).squeeze(-1) / variance
    conditional = space - velocity[:, :, None] * row[:, None, :]
    return VelocityForm(conditional @ conditional.transpose(1, 2), velocity, variance.sqrt())


def quaternion_form(shape: VelocityForm) -> QuaternionForm:
    """Inverse of :func:`velocity_form`, in float64: axes and sizes are singular vectors and values of a factor of the covariance.

    The axis with the largest share of time comes last and points forward, so that a Gaussian at rest gets equal quaternions.
    """
    variances, axes = torch.linalg.eigh(shape.covariances.double())
    n = len(axes)
    velocities, durations = shape.velocities.double(), shape.durations.double()
    factor = variances.new_zeros(n, 4, 4)
    factor[:, :3, :3] = axes * variances.clamp_min(0.0).sqrt()[:, None, :]
    factor[:, :3, 3] = velocities * durations
    factor[:, 3, 3] = durations[:, 0]
    rotations, deviations, _ = torch.linalg.svd(factor)
    everyone = torch.arange(n, device=axes.device)
    last = rotations[:, 3].abs().argmax(dim=-1)
    order = torch.arange(4, device=axes.device).repeat(n, 1)
    order[everyone, last], order[:, 3] = 3, last
    rotations = rotations.gather(2, order[:, None, :].expand(n, 4, 4))
    deviations = deviations.gather(1, order)
    rotations[:, :, 3] *= torch.where(rotations[:, 3, 3] < 0, -1.0, 1.0)[:, None]
    rotations[:, :, 0] *= torch.linalg.det(rotations).sign()[:, None]
    left, right = quats_from_rotations_4d(rotations)
    return QuaternionForm(*(value.to(shape.covariances) for value in (left, right, deviations)))
