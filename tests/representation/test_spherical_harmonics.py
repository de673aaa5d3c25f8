"""Spherical harmonics: an orthonormal basis in the order of 3DGS, and their rotation."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0, rgb_from_sh, rotate_sh, sh_basis, sh_from_rgb


def random_directions(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, dtype=torch.float64, generator=generator), dim=-1)


def test_basis_is_the_real_form_of_the_complex_harmonics():
    """3DGS takes the Condon-Shortley phase out of the complex harmonics and puts (-1)^m on the real ones."""
    directions = random_directions(50)
    found = sh_basis(directions, 3).numpy()
    x, y, z = directions.numpy().T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), theta, phi)
            real = value.real if order == 0 else math.sqrt(2) * (value.imag if order < 0 else value.real)
            np.testing.assert_allclose(found[:, degree * degree + degree + order], real, atol=1e-12)


def test_colour_of_a_constant_and_of_a_linear_term():
    colors = torch.rand(5, 3)
    torch.testing.assert_close(rgb_from_sh(sh_from_rgb(colors)[:, None], torch.randn(5, 3)), colors)
    coefficients = torch.zeros(1, 4, 3)
    coefficients[0, 2, 1] = 1.0
    torch.testing.assert_close(
        rgb_from_sh(coefficients, torch.tensor([[0.0, 0.0, 7.0]]))[0, 1], torch.tensor(0.98860251)
    )
    # Negative colours are cut at 0 and the constant term is the average of the two sides.
    assert rgb_from_sh(-3 * coefficients, torch.tensor([[0.0, 0.0, 1.0]]))[0, 1] == 0
    assert math.isclose(SH_C0, 0.5 / math.sqrt(math.pi))


def test_rotated_coefficients_look_the_same_from_turned_directions():
    rotation = torch.from_numpy(Rotation.random(random_state=3).as_matrix())
    coefficients = torch.randn(6, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    directions = random_directions(6, seed=2)
    turned = rotate_sh(coefficients, rotation)
    torch.testing.assert_close(
        rgb_from_sh(turned, directions @ rotation.T), rgb_from_sh(coefficients, directions), rtol=1e-9, atol=1e-9
    )
    assert float((turned[:, 1:] - coefficients[:, 1:]).abs().max()) > 0.1


def test_gradient_to_directions_and_coefficients():
    coefficients = 0.1 * torch.randn(4, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    directions = 2 * random_directions(4, seed=5)
    assert torch.autograd.gradcheck(rgb_from_sh, (coefficients.requires_grad_(), directions.requires_grad_()))
