"""The fused slice against the plain one, both variants."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.spacetime import slice_rows
from fourdgs_ns.representation.spacetime import SpacetimeConfig

from .device import DEVICE


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_values_and_gradients(variant):
    representation = SpacetimeConfig(variant=variant).setup()
    g = torch.Generator().manual_seed(0)
    rows = {name: torch.randn(600, *spec.shape, generator=g) for name, spec in representation.parameters.items()}
    rows["log_durations"] = torch.log(0.05 + 0.3 * torch.rand(600, 1, generator=g))
    ids = torch.randperm(600, generator=g)[:411].to(DEVICE)
    results = []
    for fused in (False, True):
        leaves = {name: value.to(DEVICE).clone().requires_grad_() for name, value in rows.items()}
        if fused:
            means, velocities, scales, quats, features, opacities, weights = slice_rows(0.4, ids, leaves)
        else:
            s = representation.at(leaves, 0.4, ids)
            means, velocities, scales, quats = s.means, s.velocities, s.scales, s.quats
            features, opacities, weights = s.features, s.opacities, s.weights
        outputs = (means, scales, quats, features, opacities)
        generator = torch.Generator().manual_seed(2)
        sum((o * torch.randn(o.shape, generator=generator).to(o)).sum() for o in outputs).backward()
        results.append((*outputs, velocities, weights, *(x.grad for x in leaves.values())))
    for plain, fused in zip(*results):
        torch.testing.assert_close(fused, plain, rtol=3e-5, atol=3e-6)


def test_broken_rows_are_invisible():
    representation = SpacetimeConfig().setup()
    g = torch.Generator().manual_seed(0)
    rows = {n: torch.randn(5, *spec.shape, generator=g).to(DEVICE) for n, spec in representation.parameters.items()}
    rows["motion"][1, 8], rows["features_dc"][2, 0] = float("inf"), float("nan")
    rows["temporal_centers"][:], rows["log_durations"][:] = 0.5, 0.0
    opacities = slice_rows(0.6, torch.arange(5, device=DEVICE), rows)[5]
    assert opacities[1:3].tolist() == [0, 0] and float(opacities[[0, 3, 4]].min()) > 0
