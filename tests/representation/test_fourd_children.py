"""What densification makes of 4D Gaussians: copies, halves, scattered copies, static rows."""

from __future__ import annotations

import math

import pytest
import torch

from fourdgs_ns.representation.fourd import STATIC_MARK
from fourdgs_ns.representation.parts.rotations4d import rotation_matrices_4d

from .fourd_rows import random_rows

MANY = 10_000


def covariance_4d(rows: dict[str, torch.Tensor], i: int = 0) -> torch.Tensor:
    rotation = rotation_matrices_4d(rows["left_quats"][i : i + 1], rows["right_quats"][i : i + 1])[0]
    return rotation @ torch.diag(torch.exp(2 * torch.cat([rows["scales"][i], rows["temporal_scales"][i]]))) @ rotation.T


def one_row(seed: int = 3) -> tuple:
    """A short life in the middle of the clip: no child's centre is brought back from beyond."""
    representation, rows = random_rows(n=1, seed=seed, sh_degree=0, temporal_degree=0)
    rows["temporal_centers"][:] = 0.5
    rows["scales"] -= 2.0
    rows["temporal_scales"] -= 2.0
    return representation, rows


def places(child: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([child["means"], child["temporal_centers"]], dim=-1)


def test_clones_are_copies():
    representation, rows = random_rows(static=3)
    ids = torch.tensor([1, 5, 5])
    child = representation.children(rows, ids, "clone", torch.Generator())
    assert all(torch.equal(child[name], value[ids]) for name, value in rows.items())
    child["means"] += 1
    assert not torch.equal(child["means"], rows["means"][ids])


@pytest.mark.parametrize("axis", range(4))
def test_halves_lie_along_one_axis_in_space_and_time(axis):
    representation, rows = one_row()
    ids = torch.zeros(MANY, dtype=torch.long)
    child = representation.halves(rows, ids, torch.full((MANY,), axis), torch.Generator().manual_seed(0))
    offsets = places(child) - places(rows)
    direction = rotation_matrices_4d(rows["left_quats"], rows["right_quats"])[0, :, axis]
    size = torch.exp(torch.cat([rows["scales"][0], rows["temporal_scales"][0]]))[axis]
    along = offsets @ direction
    torch.testing.assert_close(offsets, along[:, None] * direction)
    assert abs(float(along.std() / size) - 1) < 0.03 and abs(float(along.mean() / size)) < 0.03
    shrunk = torch.cat([child["scales"], child["temporal_scales"]], dim=-1)[0]
    before = torch.cat([rows["scales"], rows["temporal_scales"]], dim=-1)[0]
    expected = torch.zeros(4, dtype=torch.float64)
    expected[axis] = math.log(1.6)
    torch.testing.assert_close(before - shrunk, expected)


def test_a_split_acts_on_the_longest_axis_with_time_weighted():
    representation, rows = random_rows(n=4, sh_degree=0, clip_length=0.1)
    rows["left_quats"][:] = rows["right_quats"][:] = torch.tensor([1.0, 0, 0, 0])
    rows["scales"][:] = torch.log(torch.tensor([0.01, 0.02, 0.015]))
    rows["temporal_scales"][:] = torch.log(torch.tensor([0.1, 0.19, 0.21, 2.0]))[:, None]
    child = representation.children(rows, torch.arange(4), "split", torch.Generator().manual_seed(0))
    in_time = (child["temporal_scales"] < rows["temporal_scales"] - 0.1)[:, 0]
    in_y = child["scales"][:, 1] < rows["scales"][:, 1] - 0.1
    assert in_time.tolist() == [False, False, True, True]
    assert in_y.tolist() == [True, True, False, False]


def test_halves_in_time_stay_on_the_path():
    """A long life on a straight line: wherever its halves are centred, they pass where their parent does."""
    representation, rows = one_row()
    rows["temporal_scales"] += 5.0
    shape = representation.at(rows, 0.5, torch.zeros(1, dtype=torch.long))
    longest = representation.axis_lengths(rows)[1].argmax().item()
    ids = torch.zeros(200, dtype=torch.long)
    child = representation.halves(rows, ids, torch.full((200,), longest), torch.Generator().manual_seed(0))
    moved = shape.means + (child["temporal_centers"] - 0.5) * shape.velocities
    size = float(torch.linalg.eigvalsh(shape.covariances)[0, -1].sqrt())
    assert float((child["means"] - moved).norm(dim=-1).max()) < 2 * size
    assert bool(((child["temporal_centers"] >= 0) & (child["temporal_centers"] <= 1)).all())
    assert float(child["temporal_centers"].std()) > 0.2


def test_scattered_copies_have_their_parents_mean_and_covariance_in_four_dimensions():
    representation, rows = one_row()
    ids = torch.zeros(MANY, dtype=torch.long)
    child = representation.children(rows, ids, "relocate", torch.Generator().manual_seed(1))
    sigma = covariance_4d(rows)
    offsets = places(child) - places(rows)
    mixture = torch.cov(offsets.T) + covariance_4d(child)
    largest = float(sigma.diagonal().sqrt().max())
    torch.testing.assert_close(mixture, sigma, rtol=0.06, atol=0.03 * largest**2)
    assert float(offsets.mean(0).abs().max()) < 0.03 * largest
    assert bool((child["opacities"] > rows["opacities"]).all())


@pytest.mark.parametrize("kind", ["clone", "split", "relocate"])
def test_static_parents_have_static_children(kind):
    representation, rows = random_rows(n=50, static=50, sh_degree=0)
    child = representation.children(rows, torch.arange(50), kind, torch.Generator().manual_seed(1))
    assert bool((child["temporal_scales"] == STATIC_MARK).all())
    assert torch.equal(child["temporal_centers"], rows["temporal_centers"])


def test_frozen_rows_are_their_own_slices_in_the_middle_of_the_clip():
    representation, rows = random_rows(n=60)
    ids = torch.arange(0, 60, 2)
    before = representation.at(rows, 0.5, ids)
    for name, value in representation.frozen(rows, ids).items():
        rows[name][ids] = value
    assert bool(representation.is_static(rows)[ids].all()) and int(representation.is_static(rows).sum()) == 30
    after = representation.at(rows, 0.5, ids)
    for name in ("means", "covariances", "features"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(after.opacities, before.opacities.clamp(1e-6, 1 - 1e-6))
    later = representation.at(rows, 0.9, ids)
    torch.testing.assert_close(later.means, after.means)
    torch.testing.assert_close(later.opacities, after.opacities)
