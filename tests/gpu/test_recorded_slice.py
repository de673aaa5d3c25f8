"""Slices from a recording against slices made anew: images stay right when t, rows, degrees and their number change."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.bench.render import make_scene
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.rasterization.render import render_at
from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.parts import active_set as module
from fourdgs_ns.representation.parts.active_set import ActiveSet, RecordedSlice
from fourdgs_ns.representation.spacetime import SpacetimeConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CONFIGS = {
    "lite": SpacetimeConfig(variant="lite"), "full": SpacetimeConfig(variant="full"), "freetime": FreeTimeConfig(),
    "4dgs": FourDConfig(),
}  # fmt: skip


def make(name, rows=20_000):
    representation, params, cameras = make_scene(CONFIGS[name], rows, 0.3, (200, 150), torch.device("cuda"))
    for key, value in params.items():
        if key.startswith("features"):
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3)).to(value))
    return representation, params, cameras


def agree(representation, params, cameras, alive):
    for t in torch.linspace(0, 1, 7).tolist():
        _, rendering = render_at(representation, params, t, cameras, alive)
        expected = rasterize(representation.at(params, t, representation.active(params, t)), cameras)
        assert torch.equal(rendering.ids, expected.ids)
        torch.testing.assert_close(rendering.features, expected.features, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_images(name, monkeypatch):
    recorded = []
    monkeypatch.setattr(
        module, "RecordedSlice", lambda *arguments: recorded.append(RecordedSlice(*arguments)) or recorded[-1]
    )
    representation, params, cameras = make(name)
    alive = ActiveSet()
    agree(representation, params, cameras, alive)
    assert len(recorded) == 1
    params["means"] += 0.05  # in place, as optimizers do: the recording goes on
    params["opacities"] -= 0.5
    agree(representation, params, cameras, alive)
    assert len(recorded) == 1
    if representation.degrees:
        representation.set_step(0)
        agree(representation, params, cameras, alive)
        assert len(recorded) == 2
    grown = {key: torch.cat([value, value]) for key, value in params.items()}
    count = len(recorded)
    agree(representation, grown, cameras, alive)
    assert len(recorded) == count + 1


@torch.no_grad()
def test_more_alive_than_recorded():
    representation, params, cameras = make("freetime")
    alive = ActiveSet()
    agree(representation, params, cameras, alive)
    params["log_durations"] += 3.0
    agree(representation, params, cameras, alive)


def test_training_is_not_recorded():
    representation, params, cameras = make("freetime")
    alive = ActiveSet()
    leaves = {key: value.requires_grad_() for key, value in params.items()}
    for t in torch.linspace(0, 1, 7).tolist():
        render_at(representation, leaves, t, cameras, alive)[1].features.sum().backward()
    assert float(leaves["means"].grad.abs().sum()) > 0
    assert getattr(alive._of_thread, "recording", None) is None
