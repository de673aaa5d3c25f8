"""The fused loss against the plain one."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels import photometric
from fourdgs_ns.kernels.photometric import photometric_loss
from fourdgs_ns.training import losses

from .device import DEVICE


@pytest.fixture(autouse=True)
def short_strips(monkeypatch):
    """Images of several strips are slow in Triton's interpreter; on a GPU the strips are what they are."""
    if DEVICE == "cpu":
        monkeypatch.setattr(photometric, "_ROWS", 8)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("shape", [(1, 13, 37, 3), (2, 9, 16, 3), (1, 7, 5, 3), (1, 5, 50, 3)])
def test_value_and_gradient(shape, weight):
    g = torch.Generator().manual_seed(0)
    target = torch.rand(shape, generator=g).to(DEVICE)
    image = (target + 0.2 * torch.randn(shape, generator=g).to(DEVICE)).requires_grad_()
    expected = losses.photometric_loss(image, target, weight)
    (wanted,) = torch.autograd.grad(3 * expected, image)
    found = photometric_loss(image, target, weight)
    (got,) = torch.autograd.grad(3 * found, image)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_equal_images_lose_nothing():
    image = torch.rand(1, 12, 12, 3, generator=torch.Generator().manual_seed(1)).to(DEVICE).requires_grad_()
    loss = photometric_loss(image, image.detach().clone(), 0.2)
    loss.backward()
    assert abs(float(loss)) < 1e-6
    assert float(image.grad.abs().max()) < 1e-6
