"""One launch for all groups does what torch's Adam does to each."""

from __future__ import annotations

import torch

from fourdgs_ns.kernels.adam import AdamTensor, adam_step

from .device import DEVICE


def test_several_groups_and_steps_as_torch():
    g = torch.Generator().manual_seed(0)
    shapes, rates = [(1000, 3), (7,), (5000, 15, 3), (0, 4)], [1e-2, 3e-3, 1e-4, 1.0]
    ours = [torch.randn(s, generator=g).to(DEVICE) for s in shapes]
    theirs = [x.clone().requires_grad_() for x in ours]
    reference = torch.optim.Adam([{"params": [x], "lr": r} for x, r in zip(theirs, rates)], eps=1e-15)
    moments = [(torch.zeros_like(x), torch.zeros_like(x)) for x in ours]
    for step in range(1, 6):
        for x in theirs:
            x.grad = torch.randn(x.shape, generator=g).to(DEVICE) * 10.0 ** (step - 3)
        reference.step()
        adam_step([AdamTensor(x, y.grad, *m, r, step) for x, y, m, r in zip(ours, theirs, moments, rates)])
    for x, y, (mean, square) in zip(ours, theirs, moments):
        torch.testing.assert_close(x, y.detach(), rtol=1e-5, atol=1e-6)
        if y.numel():
            torch.testing.assert_close(mean, reference.state[y]["exp_avg"], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(square, reference.state[y]["exp_avg_sq"], rtol=1e-5, atol=1e-6)


def test_a_row_without_gradient_moves_by_its_momentum_only():
    value, zeros = torch.ones(4, device=DEVICE), torch.zeros(4, device=DEVICE)
    adam_step([AdamTensor(value, zeros.clone(), zeros.clone(), zeros.clone(), 0.1, 1)])
    assert torch.equal(value, torch.ones(4, device=DEVICE))
