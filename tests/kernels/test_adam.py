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


def test_rows_that_are_left_out_stay_as_they_are():
    """Rows of any width, among them some wider than a program's block; the others as without selection."""
    g = torch.Generator().manual_seed(1)
    n, shapes = 700, [(700, 3), (700, 1), (700, 15, 3), (700,)]
    rows = torch.rand(n, generator=g) < 0.3
    values = [torch.randn(s, generator=g) for s in shapes]
    moments = [(torch.randn(s, generator=g), torch.rand(s, generator=g)) for s in shapes]
    gradients = [torch.randn(s, generator=g) for s in shapes]
    results = []
    for chosen in (None, rows.to(DEVICE)):
        tensors = [
            AdamTensor(v.clone().to(DEVICE), d.to(DEVICE), m.clone().to(DEVICE), s.clone().to(DEVICE), 0.01, 7)
            for v, d, (m, s) in zip(values, gradients, moments)
        ]
        adam_step(tensors, chosen)
        results.append([(x.value.cpu(), x.mean.cpu(), x.square.cpu()) for x in tensors])
    for everywhere, selected, value, (mean, square) in zip(*results, values, moments):
        for full, found, before in zip(everywhere, selected, (value, mean, square)):
            assert torch.equal(found[rows], full[rows]) and torch.equal(found[~rows], before[~rows])
            assert not torch.equal(full[~rows], before[~rows])
