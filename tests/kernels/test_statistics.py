"""Fused densification statistics against the plain ones."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.statistics import add_view_statistics

from .device import DEVICE


@pytest.mark.parametrize("cameras,m", [(1, 5), (4, 700), (2, 0)])
def test_adds_norms_and_views_by_row(cameras, m):
    g = torch.Generator().manual_seed(0)
    ids = torch.randperm(1000, generator=g)[:m].to(DEVICE)
    gradients = torch.randn(cameras, m, 2, generator=g).to(DEVICE)
    radii = torch.randint(0, 3, (cameras, m), generator=g, dtype=torch.int32).to(DEVICE)
    # What a row that no camera sees holds is undefined.
    gradients[radii == 0] = float("nan")
    sums, views = torch.rand(1000, generator=g).to(DEVICE), torch.rand(1000, generator=g).to(DEVICE)
    expected_sums, expected_views = sums.clone(), views.clone()
    norms = (gradients * torch.tensor([30.0, 20.0], device=DEVICE)).norm(dim=-1)
    expected_sums.index_add_(0, ids, torch.where(radii > 0, norms, 0.0).sum(0))
    expected_views.index_add_(0, ids, (radii > 0).sum(0).float())
    add_view_statistics(ids, gradients, radii, (30.0, 20.0), sums, views)
    torch.testing.assert_close(sums, expected_sums, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(views, expected_views)
