"""The fused slice of 4D Gaussians against the plain one: values, every gradient, static rows, rows that are broken."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.fourd import GEOMETRY, mark_alive, slice_rows
from fourdgs_ns.kernels.fourd_colors import COLORS, fold_colors
from tests.representation.fourd_rows import random_rows

from .device import DEVICE


def rows_in_float32(n: int, **options):
    representation, rows = random_rows(n, **options)
    return representation, {name: value.float().to(DEVICE) for name, value in rows.items()}


def plain(representation, rows, t, ids):
    """The twin: a t that is learned keeps the representation from its kernels."""
    return representation.at(rows, torch.tensor(t, dtype=rows["means"].dtype, device=DEVICE, requires_grad=True), ids)


def fused_slice(representation, rows, t, ids):
    options = representation.kernel_options()
    return *slice_rows(t, ids, rows, options), fold_colors(t, ids, rows, options)


def both(representation, rows, t, ids):
    """Outputs and gradients of the plain path in float64 and of the fused one, for the same random weights."""
    results = []
    for fused in (False, True):
        dtype = torch.float32 if fused else torch.float64
        leaves = {name: value.to(dtype).requires_grad_() for name, value in rows.items()}
        if fused:
            outputs = fused_slice(representation, leaves, t, ids)
        else:
            g = plain(representation, leaves, t, ids)
            outputs = (g.means, g.velocities, g.covariances, g.opacities, g.weights, g.features)
        generator = torch.Generator().manual_seed(2)
        learned = [outputs[k] for k in (0, 2, 3, 5)]
        sum((o * torch.randn(o.shape, generator=generator).to(o)).sum() for o in learned).backward()
        results.append(([o.detach() for o in outputs], {name: leaf.grad for name, leaf in leaves.items()}))
    return results


def assert_equal(results):
    (outputs, gradients), (fused_outputs, fused_gradients) = results
    for expected, found in zip(outputs, fused_outputs):
        torch.testing.assert_close(found.double(), expected, rtol=5e-5, atol=5e-6)
    for name, expected in gradients.items():
        if expected is None:
            assert fused_gradients[name] is None, name
        else:
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                fused_gradients[name].double(),
                expected,
                rtol=2e-4,
                atol=5e-6 * max(scale, 1.0),
                msg=name,
            )


@pytest.mark.parametrize("t", [0.0, 0.43])
@pytest.mark.parametrize("static", [0, 120])
def test_values_and_gradients(t, static):
    representation, rows = rows_in_float32(300, static=static)
    ids = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:219].to(DEVICE)
    assert_equal(both(representation, rows, t, ids))


@pytest.mark.parametrize(
    "options", [{"sh_degree": 0}, {"temporal_degree": 0}, {"sh_degree": 1, "temporal_degree": 1, "period": 0.7},
                {"sh_degree": 0, "temporal_degree": 0}]
)  # fmt: skip
def test_fewer_harmonics(options):
    representation, rows = rows_in_float32(60, static=9, **options)
    assert_equal(both(representation, rows, 0.6, torch.arange(3, 60, 2, device=DEVICE)))


@pytest.mark.parametrize("step", [0, 1500, 3500, 4500])
def test_degrees_not_reached_yet_get_no_gradient(step):
    representation, rows = rows_in_float32(50)
    representation.set_step(step)
    assert_equal(both(representation, rows, 0.3, torch.arange(50, device=DEVICE)))


def test_bounded_temporal_sizes_get_no_gradient():
    representation, rows = rows_in_float32(6)
    rows["temporal_scales"][:] = torch.tensor([-1.0, 4.9, 5.0, 5.1, 7.0, 9.9], device=DEVICE)[:, None]
    results = both(representation, rows, 0.5, torch.arange(6, device=DEVICE))
    assert results[1][1]["temporal_scales"][3:].abs().max() == 0 < results[1][1]["temporal_scales"][:2].abs().min()
    # Velocities are quotients of numbers up to 1e4 here: rounding is judged by them.
    for expected, found in zip(results[0][0], results[1][0]):
        torch.testing.assert_close(
            found.double(), expected, rtol=1e-3, atol=1e-3 * max(1.0, float(expected.abs().max()))
        )


def test_long_moving_gaussians_keep_positive_covariances():
    representation, rows = rows_in_float32(200)
    rows["temporal_scales"] += 4.0
    covariances = slice_rows(0.5, torch.arange(200, device=DEVICE), rows, representation.kernel_options())[2]
    assert float(torch.linalg.eigvalsh(covariances.double()).min()) > -1e-4 * float(covariances.abs().max())


def test_rows_left_out_get_zeros_and_an_empty_slice_is_one():
    representation, rows = rows_in_float32(40)
    leaves = {name: value.requires_grad_() for name, value in rows.items()}
    # An id of -1 stands for no row.
    outputs = fused_slice(representation, leaves, 0.5, torch.tensor([3, 7, -1], device=DEVICE))
    assert float(outputs[0][2].abs().min()) > 1e29, "out of every camera's sight"
    sum(outputs[k][:2].sum() for k in (0, 2, 3, 5)).backward()
    for name in {*GEOMETRY, *COLORS}:
        touched = torch.nonzero(leaves[name].grad.flatten(1).abs().sum(dim=1)).flatten().tolist()
        assert touched == [3, 7], name
    empty = fused_slice(representation, leaves, 0.5, torch.zeros(0, dtype=torch.long, device=DEVICE))
    assert [tuple(x.shape) for x in empty] == [(0, 3), (0, 3), (0, 3, 3), (0,), (0,), (0, 16, 3)]
    empty[0].sum().backward()


def test_broken_rows_are_invisible():
    representation, rows = rows_in_float32(8, static=1)
    rows["means"][1, 2], rows["scales"][2, 0] = float("nan"), float("inf")
    rows["left_quats"][3, 1], rows["temporal_centers"][4, 0] = float("nan"), float("nan")
    rows["features_time"][5, 1, 3, 1] = float("nan")
    rows["temporal_centers"][[0, 5, 6, 7]] = 0.5
    outputs = fused_slice(representation, rows, 0.5, torch.arange(8, device=DEVICE))
    assert outputs[3][1:5].tolist() == [0, 0, 0, 0] and float(outputs[3][[0, 5, 6, 7]].min()) > 0
    assert all(bool(torch.isfinite(x).all()) for x in outputs)
    assert float(outputs[5][5, 3, 1]) == 0


def test_alive_rows_are_those_of_the_lifespan():
    representation, rows = rows_in_float32(2000, static=50)
    rows["opacities"] *= 4
    rows["temporal_scales"][50:] -= 2.0
    rows["scales"][200:400] += 2.0
    rows["opacities"][60], rows["left_quats"][61, 2] = float("nan"), float("nan")
    for t in (0.0, 0.31, 1.0):
        marks = mark_alive(t, rows, representation.kernel_options())
        found, (start, stop) = marks.alive, representation.lifespan(rows)
        expected = (start <= t) & (t <= stop)
        counts = torch.tensor([int(part.sum()) for part in marks.alive.cpu().split(marks.run)])
        assert torch.equal(marks.counts.cpu().long(), counts)
        assert 0.2 < float(expected.float().mean()) < 0.9
        assert int((found != expected).sum()) <= 2, "rounding at the threshold"
        assert not bool(found[60:62].any()) and bool(found[:50].any())
