"""The two backends against each other: gsplat on the GPU and the package's kernels on the CPU render the same scenes."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version

import pytest
import torch

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import Rendering, rasterize

from ..rasterization.random_scenes import NAMES, make_cameras, make_parameters, make_slice

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def to_device(cameras: PinholeCameras, device: str) -> PinholeCameras:
    return dataclasses.replace(
        cameras, camera_from_world=cameras.camera_from_world.to(device), intrinsics=cameras.intrinsics.to(device)
    )


def render(parameters, background, cameras, device, depth) -> tuple[Rendering, list[torch.Tensor]]:
    inputs = [
        t.detach().clone().to(device).requires_grad_() for t in (*(parameters[name] for name in NAMES), background)
    ]
    gaussians = make_slice(dict(zip(NAMES, inputs)))
    return rasterize(gaussians, to_device(cameras, device), background=inputs[-1], depth=depth), inputs


def error(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Absolute differences in units of the largest expected value."""
    return (found.detach().cpu().double() - expected.detach().double()).abs() / expected.abs().max().clamp(min=1e-12)


def radii_agree(theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """A radius is rounded up: the two may fall on different sides of a whole number. gsplat 1.5 does not see needles whose
    square of the radius touches the image but which themselves do not."""
    if not version("gsplat").startswith("1.4."):
        ours = torch.where(theirs > 0, ours, 0)
    radii_differ = (theirs - ours).abs()
    assert radii_differ.max() <= 1
    assert (radii_differ > 0).float().mean() < 0.005


@pytest.mark.parametrize("depth", [False, True])
@pytest.mark.parametrize(
    ("count", "channels", "views", "width", "height", "pixels", "opaque"),
    [
        (60, 3, 1, 48, 32, 3.0, False),
        (150, 9, 2, 45, 37, 6.0, False),
        (80, 3, 3, 33, 50, 12.0, False),
        (200, 3, 1, 40, 35, 15.0, True),
        (3000, 9, 2, 200, 120, 4.0, False),
        (90, (16, 3), 3, 33, 50, 6.0, False),
        (3000, (4, 3), 2, 200, 120, 4.0, False),
    ],
)
def test_backends_agree(count, channels, views, width, height, pixels, opaque, depth):
    cameras = make_cameras(views, width, height)
    parameters = make_parameters(count, channels, seed=count, pixels=pixels, width=width)
    channels = parameters["features"].shape[-1]
    if opaque:
        parameters["opacities"] = 0.9 + 0.1 * parameters["opacities"]
    generator = torch.Generator().manual_seed(1)
    background = torch.rand(views, channels, generator=generator)
    v_features = torch.randn(views, height, width, channels, generator=generator)
    v_alphas, v_depths = torch.randn(2, views, height, width, 1, generator=generator)

    renderings, gradients = [], []
    for device in ("cpu", "cuda"):
        rendering, inputs = render(parameters, background, cameras, device, depth)
        loss = (rendering.features * v_features.to(device)).sum() + (rendering.alphas * v_alphas.to(device)).sum()
        if depth:
            loss = loss + (rendering.depths * v_depths.to(device)).sum()
        loss.backward()
        renderings.append(rendering)
        gradients.append([t.grad for t in inputs])
    ours, theirs = renderings

    assert theirs.features.shape == ours.features.shape
    assert (theirs.depths is None) == (not depth)
    radii_agree(theirs.radii.cpu(), ours.radii)
    # One in a thousand pixels may hold an alpha on the other side of 1/255, or finish one Gaussian earlier: gsplat
    # computes with the GPU's fast exponential.
    compared = [("features", 1e-4, 2e-2), ("alphas", 1e-4, 1e-2), *([("depths", 1e-4, 2e-2)] if depth else [])]
    for name, usual, worst in compared:
        differences = error(getattr(theirs, name), getattr(ours, name))
        assert (differences > usual).float().mean() < 1e-3, name
        assert differences.max() < worst, name
    for name, found, expected in zip((*NAMES, "background"), gradients[1], gradients[0], strict=True):
        differences = error(found, expected)
        assert (differences > 1e-3).float().mean() < 5e-3, name
        assert differences.max() < 5e-2, name
    seen = (ours.radii > 0) & (theirs.radii.cpu() > 0)
    assert (theirs.means2d.detach().cpu() - ours.means2d.detach())[seen].abs().max() < 1e-2
    differences = error(theirs.screen_gradients().cpu()[seen], ours.screen_gradients()[seen])
    assert (differences > 1e-3).float().mean() < 5e-3
    assert differences.max() < 5e-2


def test_one_background_serves_all_cameras():
    cameras, parameters = make_cameras(2, 40, 30), make_parameters(50, 3, seed=2)
    background = torch.tensor([0.2, 0.5, 0.9])
    shared, _ = render(parameters, background, cameras, "cuda", True)
    each, _ = render(parameters, background.repeat(2, 1), cameras, "cuda", True)
    assert torch.equal(shared.features, each.features)


def test_without_gradients_and_background():
    cameras, parameters = make_cameras(2, 40, 30), make_parameters(50, 3, seed=2)
    with torch.no_grad():
        ours = rasterize(make_slice(parameters), cameras)
        on_gpu = {name: value.cuda() for name, value in parameters.items()}
        theirs = rasterize(make_slice(on_gpu), to_device(cameras, "cuda"))
    assert (error(theirs.features, ours.features) > 1e-4).float().mean() < 1e-3
    assert torch.equal(theirs.screen_gradients().cpu(), torch.zeros(2, 50, 2))


@pytest.mark.parametrize("count", [0, 5])
def test_nothing_visible_gives_the_background(count):
    parameters = make_parameters(5, 3, seed=0)
    parameters["means"][:, 2] = -4.0
    parameters = {name: value[:count] for name, value in parameters.items()}
    background = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    rendering, inputs = render(parameters, background, make_cameras(2, 20, 10), "cuda", True)
    assert torch.equal(rendering.features.cpu(), background[:, None, None].expand(2, 10, 20, 3))
    assert not rendering.alphas.any()
    assert not rendering.depths.any()
    (rendering.features.sum() + rendering.depths.sum()).backward()
    assert torch.equal(inputs[-1].grad.cpu(), torch.full((2, 3), 200.0))
    assert all(not t.grad.any() for t in inputs[:-1])
    assert rendering.radii.shape == (2, count)
    assert not rendering.radii.any()
