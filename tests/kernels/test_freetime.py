"""The fused slice against the plain one: values, every gradient, and rows that are broken."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels import slicing as row_kernels
from fourdgs_ns.kernels.freetime import NAMES, slice_rows
from fourdgs_ns.representation.freetime import FreeTimeConfig

from .device import DEVICE


def random_rows(n: int, seed: int = 0, sh_degree: int = 3) -> dict[str, torch.Tensor]:
    representation = FreeTimeConfig(sh_degree=sh_degree).setup()
    g = torch.Generator().manual_seed(seed)
    rows = {name: torch.randn(n, *spec.shape, generator=g) for name, spec in representation.parameters.items()}
    rows["temporal_centers"] = torch.rand(n, 1, generator=g)
    rows["log_durations"] = torch.log(0.05 + 0.3 * torch.rand(n, 1, generator=g))
    return {name: value.to(DEVICE) for name, value in rows.items()}


@pytest.mark.parametrize("t", [0.0, 0.43])
def test_values_and_gradients(t):
    representation, rows = FreeTimeConfig().setup(), random_rows(700)
    ids = torch.randperm(700, generator=torch.Generator().manual_seed(1))[:519].to(DEVICE)
    results = []
    for fused in (False, True):
        leaves = {name: value.clone().requires_grad_() for name, value in rows.items()}
        if fused:
            means, velocities, scales, quats, opacities, weights = slice_rows(t, ids, leaves)
        else:
            g = representation.at(leaves, t, ids)
            means, velocities, scales, quats = g.means, g.velocities, g.scales, g.quats
            opacities, weights = g.opacities, g.weights
        outputs = (means, scales, quats, opacities)
        generator = torch.Generator().manual_seed(2)
        sum((o * torch.randn(o.shape, generator=generator).to(o)).sum() for o in outputs).backward()
        results.append((*outputs, velocities, weights, *(leaves[name].grad for name in NAMES)))
    for plain, fused in zip(*results):
        torch.testing.assert_close(fused, plain, rtol=2e-5, atol=2e-6)


def test_rows_without_gradient_get_zeros():
    leaves = {name: value.requires_grad_() for name, value in random_rows(40).items()}
    # An id of -1 stands for no row.
    means = slice_rows(0.5, torch.tensor([3, -1, 7], device=DEVICE), leaves)[0]
    assert float(means[1].abs().min()) > 1e29 > float(means[[0, 2]].abs().max()), "out of every camera's sight"
    means.sum().backward()
    touched = torch.nonzero(leaves["means"].grad.abs().sum(dim=1)).flatten().tolist()
    assert touched == [3, 7]
    empty = slice_rows(0.5, torch.zeros(0, dtype=torch.long, device=DEVICE), leaves)
    assert [tuple(x.shape) for x in empty] == [(0, 3), (0, 3), (0, 3), (0, 4), (0,), (0,)]


def test_broken_rows_are_invisible():
    rows = random_rows(6)
    rows["means"][1, 2], rows["scales"][2, 0], rows["quats"][3, 1] = float("nan"), float("inf"), float("nan")
    opacities = slice_rows(0.5, torch.arange(6, device=DEVICE), rows)[4]
    assert opacities[1:4].tolist() == [0, 0, 0] and float(opacities[[0, 4, 5]].min()) > 0
    rows["features_rest"][4, 3, 1] = float("nan")
    harmonics = row_kernels.gather_harmonics(
        torch.arange(6, device=DEVICE), rows["features_dc"], rows["features_rest"], 16
    )
    assert float(harmonics[4, 4, 1]) == 0 and bool(torch.isfinite(harmonics).all())


def test_alive_rows_are_those_of_the_lifespan():
    representation, rows = FreeTimeConfig().setup(), random_rows(2000)
    rows["opacities"] *= 4
    rows["opacities"][5] = float("nan")
    for t in (0.0, 0.31, 1.0):
        marks = row_kernels.mark_alive(t, rows["opacities"], rows["temporal_centers"], rows["log_durations"], 0.5)
        found, (start, stop) = marks.alive, representation.lifespan(rows)
        expected = (start <= t) & (t <= stop)
        counts = torch.tensor([int(part.sum()) for part in marks.alive.cpu().split(marks.run)])
        assert torch.equal(marks.counts.cpu().long(), counts)
        assert 0.2 < float(expected.float().mean()) < 0.99
        assert int((found != expected).sum()) <= 1, "rounding at the threshold"
        assert not bool(found[5])


@pytest.mark.parametrize("count", [1, 4, 9, 16])
def test_harmonics(count):
    rows, ids = random_rows(90), torch.tensor([5, 0, 89, 31], device=DEVICE)
    constant, rest = rows["features_dc"].requires_grad_(), rows["features_rest"].requires_grad_()
    out = row_kernels.gather_harmonics(ids, constant, rest, count)
    expected = torch.cat([constant[ids][:, None], rest[ids]], dim=1)[:, :count]
    assert torch.equal(out, expected)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    found = torch.autograd.grad((out * weights).sum(), (constant, rest), allow_unused=True, materialize_grads=True)
    wanted = torch.autograd.grad(
        (expected * weights).sum(), (constant, rest), allow_unused=True, materialize_grads=True
    )
    for a, b in zip(found, wanted):
        torch.testing.assert_close(a, b)
