"""Priors on motion: closed forms."""

from __future__ import annotations

import torch

from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.training.regularizers import (
    MOST_GAUSSIANS,
    paths,
    sample_gaussians,
    temporal_consistency,
    trajectory_smoothness,
    velocity_smoothness,
)


def rows_of(config, n=20):
    representation = config.setup()
    g = torch.Generator().manual_seed(0)
    rows = {k: torch.randn(n, *s.shape, generator=g, dtype=torch.float64) for k, s in representation.parameters.items()}
    rows["log_durations"] = torch.zeros(n, 1, dtype=torch.float64)
    return representation, rows


def test_paths_of_lines_and_cubics():
    ids = torch.arange(20)
    representation, rows = rows_of(FreeTimeConfig())
    _, velocity, acceleration = paths(representation, rows, 0.4, ids, 0.01)
    torch.testing.assert_close(velocity, rows["velocities"])
    assert float(trajectory_smoothness(acceleration)) < 1e-9
    representation, rows = rows_of(SpacetimeConfig())
    _, _, acceleration = paths(representation, rows, 0.4, ids, 1e-3)
    dt = 0.4 - rows["temporal_centers"]
    _, m2, m3 = rows["motion"].split(3, dim=-1)
    torch.testing.assert_close(acceleration, 2 * m2 + 6 * m3 * dt, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trajectory_smoothness(acceleration), acceleration.norm(dim=-1).mean())


def test_what_moves_together_costs_nothing():
    positions = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    together = torch.ones(50, 3) * torch.tensor([1.0, -2.0, 0.5])
    assert float(velocity_smoothness(positions, together)) == 0
    # Two groups far apart that move differently do not see each other; mixed ones do.
    groups = torch.where(torch.arange(50)[:, None] < 25, together, -together)
    far = positions + torch.where(torch.arange(50)[:, None] < 25, 0.0, 100.0)
    assert float(velocity_smoothness(far, groups)) < 1e-6
    assert float(velocity_smoothness(positions, groups)) > 1
    assert float(velocity_smoothness(positions[:1], together[:1])) == 0


def test_gradient_pulls_velocities_together():
    positions = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    velocities = torch.randn(30, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    before = velocity_smoothness(positions, velocities)
    before.backward()
    with torch.no_grad():
        after = velocity_smoothness(positions, velocities - 0.05 * velocities.grad / velocities.grad.norm())
    assert float(after) < float(before)


def test_true_change_is_consistent_and_flicker_is_not():
    truth, other = torch.rand(2, 1, 6, 5, 3, generator=torch.Generator().manual_seed(0))
    assert float(temporal_consistency(truth + 0.1, other + 0.1, truth, other)) < 1e-6
    assert abs(float(temporal_consistency(truth, truth + 0.2, truth, truth)) - 0.2) < 1e-6


def test_samples_are_bounded_and_reproducible():
    ids = torch.arange(3 * MOST_GAUSSIANS)
    picks = sample_gaussians(ids, 5)
    assert len(picks.unique()) == MOST_GAUSSIANS and torch.equal(picks, sample_gaussians(ids, 5))
    assert torch.equal(sample_gaussians(ids[:7], 5), ids[:7])
