"""Renderings that do not wait for the number of living rows, against exact ones."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.bench.render import make_scene
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.rasterization.render import render_at
from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.parts import active_set as module
from fourdgs_ns.representation.parts.active_set import ActiveSet
from fourdgs_ns.representation.spacetime import SpacetimeConfig

from .device import DEVICE

CONFIGS = {
    "lite": SpacetimeConfig(variant="lite"), "full": SpacetimeConfig(variant="full"), "freetime": FreeTimeConfig(),
    "4dgs": FourDConfig(),
}  # fmt: skip


def scene(name, monkeypatch, rows=400):
    representation, params, cameras = make_scene(CONFIGS[name], rows, 0.3, (48, 32), DEVICE)
    # The interpreter runs the kernels where there is no GPU.
    monkeypatch.setattr(type(representation), "fused", lambda self, params, t: not getattr(t, "requires_grad", False))
    generator = torch.Generator().manual_seed(3)
    for key, value in params.items():
        if key.startswith("features"):
            params[key] = value + 0.1 * torch.randn(value.shape, generator=generator).to(value)
    return representation, params, cameras


def exact(representation, params, t, cameras):
    return rasterize(representation.at(params, t, representation.active(params, t)), cameras)


def same_image(found, expected):
    assert torch.equal(found.ids, expected.ids) and torch.equal(found.radii, expected.radii)
    torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_same_images_as_by_exact_lists(name, monkeypatch):
    representation, params, cameras = scene(name, monkeypatch)
    alive = ActiveSet()
    with torch.no_grad():
        for t in torch.linspace(0, 1, 9).tolist():
            gaussians, rendering = render_at(representation, params, t, cameras, alive)
            assert len(gaussians.ids) >= len(rendering.ids) > 0
            same_image(rendering, exact(representation, params, t, cameras))


@pytest.mark.parametrize("name", ["full", "freetime", "4dgs"])
def test_same_gradients(name, monkeypatch):
    representation, params, cameras = scene(name, monkeypatch)
    alive, results = ActiveSet(), []
    alive.lately = 300.0
    for found in (True, False):
        leaves = {key: value.clone().requires_grad_() for key, value in params.items()}
        rendering = (
            render_at(representation, leaves, 0.4, cameras, alive)[1] if found
            else exact(representation, leaves, 0.4, cameras)
        )  # fmt: skip
        weights = torch.randn(rendering.features.shape, generator=torch.Generator().manual_seed(0))
        (rendering.features * weights.to(rendering.features)).sum().backward()
        results.append(({key: leaf.grad for key, leaf in leaves.items()}, rendering.screen_gradients()))
    for key, expected in results[1][0].items():
        torch.testing.assert_close(
            results[0][0][key], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()), msg=key
        )
    assert results[0][1].shape == results[1][1].shape


def test_a_list_that_is_too_short_is_made_again(monkeypatch):
    representation, params, cameras = scene("freetime", monkeypatch)
    monkeypatch.setattr(module, "ROOM", (1.0, 0))
    alive = ActiveSet()
    alive.lately = 10.0
    expected = exact(representation, params, 0.5, cameras)
    with torch.no_grad():
        _, rendering = render_at(representation, params, 0.5, cameras, alive)
    assert len(expected.ids) > 10
    same_image(rendering, expected)
    assert alive.lately == len(expected.ids)


def test_an_edit_meets_living_rows_only(monkeypatch):
    representation, params, cameras = scene("freetime", monkeypatch)
    alive, seen = ActiveSet(), []
    alive.lately = 400.0

    def edit(gaussians, cameras):
        seen.append(gaussians.ids)
        return gaussians.select(gaussians.ids % 2 == 0)

    with torch.no_grad():
        _, rendering = render_at(representation, params, 0.5, cameras, alive, edit=edit)
    assert torch.equal(seen[0], representation.active(params, 0.5))
    assert torch.equal(rendering.ids, seen[0][seen[0] % 2 == 0])


def test_inference_mode_and_others_may_alternate(monkeypatch):
    representation, params, cameras = scene("freetime", monkeypatch)
    alive, images = ActiveSet(), []
    for mode in (torch.inference_mode, torch.inference_mode, torch.no_grad) * 3:
        with mode():
            images.append(render_at(representation, params, 0.5, cameras, alive)[1].features.clone())
    for image in images[1:]:
        torch.testing.assert_close(image, images[0], rtol=1e-4, atol=1e-5)
