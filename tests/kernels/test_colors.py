"""Fused colours per camera against the plain ones."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.colors import camera_colors

from .device import DEVICE


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 70, 60)])
def test_value_and_gradients(shape):
    g = torch.Generator().manual_seed(0)
    image = torch.rand(*shape, 3, generator=g).to(DEVICE).requires_grad_()
    matrices = torch.randn(4, 3, 3, generator=g).to(DEVICE).requires_grad_()
    offsets = torch.randn(4, 3, generator=g).to(DEVICE).requires_grad_()
    cameras = torch.tensor([2, 0, 3])[: shape[0]].to(DEVICE)
    upstream = torch.randn(*shape, 3, generator=g).to(DEVICE)
    expected = image + torch.einsum("bij,bhwj->bhwi", matrices[cameras], image) + offsets[cameras][:, None, None]
    found = camera_colors(image, matrices, offsets, cameras)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad((expected * upstream).sum(), (image, matrices, offsets))
    got = torch.autograd.grad((found * upstream).sum(), (image, matrices, offsets))
    for a, b in zip(got, wanted):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert bool((got[1][1] == 0).all()), "a camera outside the batch learns nothing"
