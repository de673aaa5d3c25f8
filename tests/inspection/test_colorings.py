"""Colourings and hiding in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from fourdgs_ns.common.palette import ANCHORS, NEUTRAL, ValueRange, palette
from fourdgs_ns.inspection.colorings import COLORINGS, InspectedSlice, recolored, visible
from fourdgs_ns.representation.types import Clip, GaussiansAtTime

INFINITY = math.inf


def inspected(start, stop, speeds, t=0.5, depths=None, seconds=2.0) -> InspectedSlice:
    m = len(start)
    velocities = torch.zeros(m, 3)
    velocities[:, 1] = -torch.tensor(speeds)
    gaussians = GaussiansAtTime(
        ids=torch.arange(m), means=torch.zeros(m, 3), quats=torch.ones(m, 4), scales=torch.ones(m, 3),
        opacities=torch.ones(m), features=torch.zeros(m, 9), velocities=velocities, weights=torch.ones(m),
    )  # fmt: skip
    z = torch.tensor(depths if depths is not None else [1.0] * m)
    return InspectedSlice(
        gaussians, t, torch.tensor(start), torch.tensor(stop), z, Clip(11, seconds), ValueRange(0.0, 4.0), ValueRange(1.0, 3.0)
    )  # fmt: skip


def test_palette_hits_its_anchors_and_is_linear_between():
    torch.testing.assert_close(palette(torch.linspace(0, 1, 5)), torch.tensor(ANCHORS))
    middle = (torch.tensor(ANCHORS[1]) + torch.tensor(ANCHORS[2])) / 2
    torch.testing.assert_close(palette(torch.tensor([0.375]))[0], middle)
    torch.testing.assert_close(palette(torch.tensor([-3.0, 7.0])), torch.tensor([ANCHORS[0], ANCHORS[-1]]))
    torch.testing.assert_close(palette(torch.tensor([math.nan]))[0], torch.tensor(NEUTRAL))


def test_an_empty_range_maps_to_its_low_end():
    assert ValueRange(2.0, 2.0).share(torch.tensor([1.0, 2.0, 3.0])).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "coloring, expected",
    [
        ("motion speed", [0.0, 0.25, 1.0]),
        ("duration", [0.4, 0.7, 1.0]),
        ("temporal centre", [0.5, 0.25, math.nan]),
        ("age", [0.5, 5 / 7, 0.5]),
        ("depth", [0.0, 0.5, 1.5]),
    ],
)
def test_shares_of_the_palette(coloring, expected):
    """One inside the clip, one that started before it, one that lives for ever."""
    view = inspected([0.3, -0.2, -INFINITY], [0.7, 0.7, INFINITY], [0.0, 1.0, 4.0], depths=[1.0, 2.0, 4.0])
    torch.testing.assert_close(COLORINGS[coloring](view), torch.tensor(expected), equal_nan=True)


def test_recoloring_keeps_everything_but_the_features():
    view = inspected([0.3, 0.1], [0.7, 0.6], [2.0, 4.0])
    shown = recolored(view, "motion speed")
    torch.testing.assert_close(shown.features, palette(torch.tensor([0.5, 1.0])))
    for name, value in vars(view.gaussians).items():
        if name != "features":
            assert getattr(shown, name) is value


def test_hiding_short_lives_and_static_ones():
    view = inspected([0.3, 0.45, -1.0], [0.7, 0.55, 2.0], [0.0, 1.0, 4.0])  # 0.8 s, 0.2 s, all 2 s
    assert visible(view, 0.0, 0.0).tolist() == [True, True, True]
    assert visible(view, 0.5, 0.0).tolist() == [True, False, True]
    assert visible(view, 2.0, 0.0).tolist() == [False, False, True]
    # 1 and 4 units per t are 0.5 and 2 units per second.
    assert visible(view, 0.0, 0.5).tolist() == [False, True, True]
    assert visible(view, 0.0, 0.6).tolist() == [False, False, True]
    assert visible(view, 0.5, 0.5).tolist() == [False, False, True]
