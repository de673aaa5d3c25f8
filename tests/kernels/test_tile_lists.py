"""Lists of Gaussians per tile against a search over all pixels."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.kernels.tile_lists import tile_lists

from .device import DEVICE

WIDTH, HEIGHT = 77, 50


def projections(c: int, n: int, seed: int = 0):
    """Ellipses of all sizes, shapes and opacities, some of them unseen; gsplat's radius for each."""
    g = torch.Generator().manual_seed(seed)
    means = torch.rand(c, n, 2, generator=g) * torch.tensor([WIDTH + 40.0, HEIGHT + 40.0]) - 20
    long = 0.4 + 12 * torch.rand(c, n, generator=g) ** 3
    short = 0.4 + (long - 0.4) * torch.rand(c, n, generator=g)
    angle = 3.2 * torch.rand(c, n, generator=g)
    axes = torch.stack([torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], -2)
    covariance = axes @ torch.diag_embed(torch.stack([long, short], -1) ** 2) @ axes.mT
    inverse = torch.linalg.inv(covariance)
    conics = torch.stack([inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]], -1)
    radii = torch.ceil(3 * long).int()
    radii[torch.rand(c, n, generator=g) < 0.1] = 0
    opacities = torch.rand(n, generator=g) ** 3
    opacities[:5] = torch.tensor([0.5, 0.0, 1 / 255 - 1e-5, 1 / 255 + 1e-5, 1.0])[:n]
    return means, conics, 1 + torch.rand(c, n, generator=g), opacities, radii


def in_square(means, radii, side):
    """Whether gsplat's square touches the tile of 16 pixels that each tile of ``side`` is in, [c, n, y, x]."""
    tiles_x, tiles_y = -(-WIDTH // side), -(-HEIGHT // side)
    x, y = torch.arange(tiles_x) * side // 16, torch.arange(tiles_y) * side // 16
    mx, my, r = means[..., 0, None], means[..., 1, None], radii[..., None].float()
    across = (x >= torch.floor((mx - r) / 16)) & (x < torch.ceil((mx + r) / 16))
    down = (y >= torch.floor((my - r) / 16)) & (y < torch.ceil((my + r) / 16))
    return down[..., :, None] & across[..., None, :] & (radii > 0)[..., None, None]


def colored_tiles(means, conics, opacities, side):
    """Whether each projection has alpha of 1/255 or more at a pixel of each tile, [c, n, y, x]."""
    tiles_x, tiles_y = -(-WIDTH // side), -(-HEIGHT // side)
    py, px = torch.meshgrid(torch.arange(side * tiles_y) + 0.5, torch.arange(side * tiles_x) + 0.5, indexing="ij")
    dx, dy = px - means[..., 0, None, None], py - means[..., 1, None, None]
    a, b, c = (conics[..., i, None, None] for i in range(3))
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    return (alpha >= 1 / 255).unflatten(-1, (tiles_x, side)).unflatten(-3, (tiles_y, side)).any(-1).any(-2)


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize(("c", "n"), [(1, 300), (3, 120), (1, 1)])
def test_all_that_colours_a_tile_nearest_first_and_little_else(c, n, side):
    means, conics, depths, opacities, radii = projections(c, n)
    screen = (x.to(DEVICE) for x in (means, conics, depths, opacities, radii))
    found, begins, rows = tile_lists(*screen, WIDTH, HEIGHT, [side])
    begins, rows = begins.cpu(), rows.cpu()
    assert found == side
    assert begins.dtype == rows.dtype == torch.int32
    square = in_square(means, radii, side)
    needed = colored_tiles(means, conics, opacities, side) & square
    ends = torch.cat([begins.flatten()[1:], torch.tensor([len(rows)])]).view_as(begins)
    listed = torch.zeros_like(square)
    for camera, y, x in torch.cartesian_prod(*(torch.arange(s) for s in begins.shape)).tolist():
        part = rows[begins[camera, y, x] : ends[camera, y, x]].long()
        assert bool((part // n == camera).all()) and len(part.unique()) == len(part)
        assert torch.equal(depths.flatten()[part], depths.flatten()[part].sort().values)
        listed[camera, part % n, y, x] = True
    assert bool((needed <= listed).all()), "nothing that colours a pixel is missing"
    assert bool((listed <= square).all()), "nothing that gsplat would not list"
    if n > 1:
        assert int(needed.sum()) <= int(listed.sum()) < 1.15 * int(needed.sum()) + 20 < 0.9 * int(square.sum())


def test_more_tiles_than_two_bytes_count():
    """500 x 500 tiles: numbered by four bytes, and each Gaussian found where it is."""
    g = torch.Generator().manual_seed(0)
    means = 16 * torch.randint(500, (1, 50, 2), generator=g) + 8.0
    conics, depths = torch.tensor([1.0, 0.0, 1.0]).expand(1, 50, 3), torch.rand(1, 50, generator=g)
    screen = means, conics, depths, torch.full((50,), 0.5), torch.full((1, 50), 3)
    _, begins, rows = tile_lists(*(x.to(DEVICE) for x in screen), 8000, 8000, [16])
    begins, rows = begins.cpu(), rows.cpu()
    begins, tiles = begins.flatten(), (means[0, :, 1] // 16 * 500 + means[0, :, 0] // 16).int()
    for tile in tiles.unique().tolist():
        end = int(begins[tile + 1]) if tile + 1 < len(begins) else len(rows)
        expected = (tiles == tile).nonzero()[:, 0]
        assert rows[int(begins[tile]) : end].tolist() == expected[depths[0, expected].argsort()].tolist()
    assert len(rows) == 50


def test_too_many_entries_for_small_tiles(monkeypatch):
    screen = [x.to(DEVICE) for x in projections(1, 100)]
    assert tile_lists(*screen, WIDTH, HEIGHT)[0] == 8
    monkeypatch.setattr("fourdgs_ns.kernels.tile_lists.MANY", 300)
    side, begins, rows = tile_lists(*screen, WIDTH, HEIGHT)
    _, expected_begins, expected_rows = tile_lists(*screen, WIDTH, HEIGHT, [16])
    assert side == 16 and torch.equal(begins, expected_begins) and torch.equal(rows, expected_rows)


def test_more_entries_than_can_be_numbered():
    """400 Gaussians over all of 400 megapixels: 2.5 thousand million pairs, of which none is written."""
    n = 400
    means, depths = torch.full((1, n, 2), 1e4), torch.ones(1, n)
    conics = torch.tensor([1e-9, 0.0, 1e-9]).expand(1, n, 3)
    screen = means, conics, depths, torch.full((n,), 0.9), torch.full((1, n), 100_000)
    with pytest.raises(torch.OutOfMemoryError, match="2500000000 pairs"):
        tile_lists(*(x.to(DEVICE) for x in screen), 20_000, 20_000, [8])


def test_nothing_in_sight():
    means, conics, depths, opacities, radii = (x.to(DEVICE) for x in projections(2, 40))
    _, begins, rows = tile_lists(means, conics, depths, opacities, torch.zeros_like(radii), WIDTH, HEIGHT)
    assert len(rows) == 0 and not bool(begins.any())
    depths[0, 3] = float("nan")  # of what is not seen, anything may stand there
    _, begins, rows = tile_lists(means, conics, depths, opacities, torch.zeros_like(radii), WIDTH, HEIGHT)
    assert len(rows) == 0
