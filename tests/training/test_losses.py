"""Losses against independent implementations and closed forms."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import correlate1d

from fourdgs_ns.training.losses import opacity_regularizer, photometric_loss, psnr, random_crops, ssim


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Per channel with scipy's filters, zero padding."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            image = correlate1d(image, window, axis=axis, mode="constant")
        return image

    total = []
    for c in range(x.shape[-1]):
        a, b = x[..., c], y[..., c]
        ma, mb = blur(a), blur(b)
        va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        total.append(((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(total))


def test_ssim_equals_a_scipy_reference():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 23, 31, 3))
    got = ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
    np.testing.assert_allclose(float(got), reference_ssim(x, y), rtol=1e-10)


def test_ssim_of_a_batch_is_the_mean():
    x, y = torch.rand(2, 3, 16, 18, 3, dtype=torch.float64)
    each = torch.stack([ssim(x[k : k + 1], y[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(ssim(x, y), each.mean())
    torch.testing.assert_close(ssim(x, x), torch.tensor(1.0, dtype=torch.float64))


def test_photometric_loss_gradient():
    x = torch.rand(1, 13, 12, 3, dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, 13, 12, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda image: photometric_loss(image, y, 0.2), (x,))


def test_psnr_closed_form():
    x = torch.zeros(4, 5, 3)
    torch.testing.assert_close(psnr(x, x + 0.1), torch.tensor(20.0))


def test_opacity_regularizer_pulls_on_peaks_only():
    """Gradient in the logit: weight * o (1 - o) / count (FreeTimeGS, eq. 6), none in the temporal weight."""
    logits = torch.randn(9, 1, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(7, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([8, 0, 3, 2, 6, 5, 1])
    loss = opacity_regularizer(logits, ids, weights, 1 / 20)
    loss.backward()
    o = torch.sigmoid(logits.detach())[ids, 0]
    torch.testing.assert_close(logits.grad[ids, 0], weights.detach() * o * (1 - o) / 20)
    assert logits.grad[4] == logits.grad[7] == 0
    assert weights.grad is None
    torch.testing.assert_close(loss.detach(), (o * weights).sum().detach() / 20)


def test_crops_are_the_same_window_of_both():
    image = torch.rand(2, 30, 20, 3)
    a, b = random_crops(image, image + 1, 8, seed=3)
    assert a.shape == (2, 8, 8, 3)
    torch.testing.assert_close(b, a + 1)
    whole, _ = random_crops(image, image, 64, seed=3)
    assert torch.equal(whole, image)
