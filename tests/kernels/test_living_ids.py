"""Ids of living rows without waiting for their number, against torch.nonzero."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.alive import AliveMarks
from fourdgs_ns.kernels.slicing import list_alive

from .device import DEVICE


@pytest.mark.parametrize("n,share", [(1, 1.0), (1, 0.0), (3000, 0.3), (3000, 0.0), (3000, 1.0)])
@pytest.mark.parametrize("room", [0.5, 1.0, 1.2, 100.0])
@pytest.mark.parametrize("run", [256, 1024])
def test_living_rows_come_first_in_their_order(n, share, room, run):
    alive = torch.rand(n, generator=torch.Generator().manual_seed(n)) < share
    counts = torch.tensor([int(part.sum()) for part in alive.split(run)], dtype=torch.int32)
    expected = torch.nonzero(alive).squeeze(-1)
    capacity = max(min(int(room * len(expected)), n), 1)
    total = torch.full((1,), -1, dtype=torch.int32, pin_memory=DEVICE.type == "cuda")
    ids = list_alive(AliveMarks(alive.to(DEVICE), counts.to(DEVICE), run), capacity, total).cpu()
    assert int(total) == len(expected)
    fit = min(capacity, len(expected))
    assert torch.equal(ids[:fit], expected[:fit])
    assert ids.shape == (capacity,) and bool((ids[fit:] == -1).all())
