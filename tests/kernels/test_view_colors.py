"""Colours as cameras see them, from canonical rows, against folded harmonics evaluated by the plain functions in float64."""

from __future__ import annotations

import math

import pytest
import torch

from fourdgs_ns.kernels.view_colors import view_colors
from fourdgs_ns.representation.parts.spherical_harmonics import rgb_from_sh

from .device import DEVICE

N, STORED, WAVES, FREQUENCY = 90, 15, 2, 2 * math.pi / 0.8


def random_rows(seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = {
        "constant": (N, 3), "rest": (N, STORED, 3), "varying": (N, WAVES, STORED + 1, 3), "centers": (N, 1), "means": (N, 3),
    }  # fmt: skip
    rows = {name: (0.5 * torch.randn(shape, generator=g)).to(DEVICE) for name, shape in shapes.items()}
    rows["constant"] *= 4  # so that some colours are clamped
    return rows


def plain(rows, ids, eyes, t, used, waves):
    harmonics = torch.cat([rows["constant"][ids][:, None], rows["rest"][ids]], dim=1)[:, :used]
    for n in range(waves):
        wave = torch.cos((n + 1) * FREQUENCY * (t - rows["centers"][ids]))
        harmonics = harmonics + wave[:, :, None] * rows["varying"][ids][:, n, :used]
    return rgb_from_sh(harmonics, rows["means"][ids] - eyes[:, None]).transpose(0, 1)


@pytest.mark.parametrize("used", [1, 4, 9, 16])
@pytest.mark.parametrize("waves", [0, 1, 2])
@pytest.mark.parametrize("cameras", [1, 3])
def test_values_and_gradients(used, waves, cameras):
    ids = torch.randperm(N, generator=torch.Generator().manual_seed(3))[:40].to(DEVICE)
    eyes = 3 * torch.randn(cameras, 3, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    results = []
    for fused in (False, True):
        dtype = torch.float32 if fused else torch.float64
        leaves = {name: value.to(dtype).requires_grad_() for name, value in random_rows().items()}
        if fused:
            out = view_colors(
                0.3, ids, leaves["means"][ids], eyes, leaves["constant"], leaves["rest"], used,
                centers=leaves["centers"], varying=leaves["varying"], waves=waves, frequency=FREQUENCY,
            )  # fmt: skip
        else:
            out = plain(leaves, ids, eyes.double(), 0.3, used, waves)
        assert out.shape == (40, cameras, 3) and 0.02 < float((out == 0).float().mean()) < 0.9, (
            "some are clamped, some not"
        )
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
        gradients = torch.autograd.grad(
            (weights * out).sum(), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        results.append((out, *gradients))
    for name, expected, found in zip(("colours", *random_rows()), *results):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5, msg=name)


def test_no_row_gets_and_gives_nothing():
    rows = {name: value.requires_grad_() for name, value in random_rows().items()}
    ids = torch.tensor([4, -1], device=DEVICE)
    means = torch.tensor([[0.1, 0.2, 3.0], [1e30, 1.37e30, 1.74e30]], device=DEVICE, requires_grad=True)
    eyes = torch.zeros(1, 3, device=DEVICE)
    out = view_colors(0.3, ids, means, eyes, rows["constant"], rows["rest"], 16)
    out.backward(torch.ones_like(out))
    assert torch.isfinite(out[0]).all() and torch.equal(means.grad[1], torch.zeros(3, device=DEVICE))
    touched = torch.nonzero(rows["constant"].grad.abs().sum(dim=1)).flatten().tolist()
    assert touched == [4] and bool(torch.isfinite(rows["rest"].grad).all())


def test_what_is_not_a_number_counts_as_nothing():
    rows = random_rows()
    rows["rest"][2, 4, 1] = float("nan")
    ids, eyes = torch.tensor([2], device=DEVICE), torch.zeros(1, 3, device=DEVICE)
    out = view_colors(0.3, ids, rows["means"][ids], eyes, rows["constant"], rows["rest"], 16)
    rows["rest"][2, 4, 1] = 0.0
    assert torch.equal(out, view_colors(0.3, ids, rows["means"][ids], eyes, rows["constant"], rows["rest"], 16))
