"""The fused opacity regulariser against the plain one."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.opacity import sum_of_opacities
from fourdgs_ns.training.losses import opacity_regularizer

from .device import DEVICE


@pytest.mark.parametrize("m", [0, 1, 2500])
def test_value_and_gradient(m):
    g = torch.Generator().manual_seed(m)
    logits = (3 * torch.randn(3000, 1, generator=g)).double().requires_grad_()
    ids, weights = torch.randperm(3000, generator=g)[:m], torch.rand(m + 5, generator=g)[:m]
    expected = opacity_regularizer(logits, ids, weights.double(), 0.3)
    (wanted,) = torch.autograd.grad(2 * expected, logits)
    ours = logits.detach().float().to(DEVICE).requires_grad_()
    found = sum_of_opacities(ours, ids.to(DEVICE), weights.to(DEVICE), 0.3)
    (got,) = torch.autograd.grad(2 * found, ours)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.cpu().double(), wanted, rtol=1e-5, atol=1e-8)
