"""Slices that state covariances, on the CPU: against the dense twin, and against the same slices with axes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.types import GaussiansAtTime

from .dense_twin import dense_rasterize_covariances, world_covariances
from .random_scenes import make_cameras, make_parameters, make_slice
from .test_cpu import relative_error

NAMES = ("means", "covariances", "opacities", "features")


def covariance_parameters(count: int, channels: int | tuple[int, int], seed: int, **options) -> dict[str, Tensor]:
    parameters = make_parameters(count, channels, seed, **options)
    exact = world_covariances(parameters["quats"].double(), parameters["scales"].double())
    return {
        "means": parameters["means"],
        "covariances": exact.float(),
        "opacities": parameters["opacities"],
        "features": parameters["features"],
    }


def covariance_slice(parameters: dict[str, Tensor]) -> GaussiansAtTime:
    means = parameters["means"]
    return GaussiansAtTime(
        ids=torch.arange(len(means), device=means.device), quats=None, scales=None, **parameters,
        velocities=torch.zeros_like(means), weights=torch.ones_like(means[:, 0]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("count", "channels", "views", "width", "height", "pixels"),
    [(1, 3, 1, 16, 16, 3.0), (120, 3, 3, 45, 37, 2.0), (80, 9, 2, 33, 50, 12.0), (300, 1, 1, 40, 40, 0.4)],
)
def test_values_and_gradients_match_the_twin(count, channels, views, width, height, pixels):
    cameras = make_cameras(views, width, height)
    parameters = covariance_parameters(count, channels, seed=count, pixels=pixels, width=width)
    generator = torch.Generator().manual_seed(1)
    v_features = torch.randn(views, height, width, channels, generator=generator)
    v_alphas, v_depths = torch.randn(2, views, height, width, 1, generator=generator)
    background = torch.rand(views, channels, generator=generator)

    def gradients(inputs, rendering):
        loss = (rendering.features * v_features).sum() + (rendering.alphas * v_alphas).sum()
        (loss + (rendering.depths * v_depths).sum()).backward()
        return [t.grad for t in inputs]

    exact_inputs = [parameters[name].double().requires_grad_() for name in NAMES]
    exact = dense_rasterize_covariances(*exact_inputs, background.double(), cameras)
    inputs = [parameters[name].clone().requires_grad_() for name in NAMES]
    found = rasterize(covariance_slice(dict(zip(NAMES, inputs))), cameras, background=background, depth=True)
    assert torch.equal(found.radii, exact.radii)
    assert relative_error(found.features, exact.features) < 2e-5
    assert (found.alphas - exact.alphas).abs().max() < 2e-5
    expected_gradients = dict(zip(NAMES, gradients(exact_inputs, exact)))
    found_gradients = dict(zip(NAMES, gradients(inputs, found)))
    for each in (expected_gradients, found_gradients):
        # The kernel reads the upper triangle: its gradient stands for both halves.
        full = each["covariances"]
        each["covariances"] = torch.triu(full) + torch.tril(full, -1).transpose(1, 2)
    for name in NAMES:
        assert relative_error(found_gradients[name], expected_gradients[name]) < 2e-4, name


def test_axes_and_their_covariances_give_the_same_image():
    cameras, parameters = make_cameras(2, 60, 40), make_parameters(150, 3, seed=9)
    axes = rasterize(make_slice(parameters), cameras, depth=True)
    covariances = rasterize(covariance_slice(covariance_parameters(150, 3, seed=9)), cameras, depth=True)
    assert (axes.radii - covariances.radii).abs().max() <= 1
    torch.testing.assert_close(covariances.features, axes.features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(covariances.depths, axes.depths, rtol=1e-4, atol=1e-4)


def test_the_lower_triangle_is_not_read():
    cameras, parameters = make_cameras(1, 40, 30), covariance_parameters(50, 3, seed=2)
    spoilt = {**parameters, "covariances": torch.triu(parameters["covariances"])}
    a, b = (rasterize(covariance_slice(p), cameras).features for p in (parameters, spoilt))
    assert torch.equal(a, b)


def test_rows_that_are_not_finite_are_not_rendered():
    cameras, parameters = make_cameras(1, 40, 30), covariance_parameters(60, 3, seed=4)
    spoilt = {name: value.clone() for name, value in parameters.items()}
    kept = torch.ones(60, dtype=torch.bool)
    for row, value in enumerate((float("nan"), float("inf")), start=20):
        spoilt["covariances"][row, 0, 1] = value
        kept[row] = False
    rendering = rasterize(covariance_slice(spoilt), cameras)
    expected = rasterize(covariance_slice({name: value[kept] for name, value in parameters.items()}), cameras)
    assert torch.equal(rendering.features, expected.features)


def test_shapes_are_stated_once():
    parameters = covariance_parameters(5, 3, seed=0)
    both = covariance_slice(parameters)
    both.quats, both.scales = torch.zeros(5, 4), torch.zeros(5, 3)
    neither = covariance_slice(parameters)
    neither.covariances = None
    for wrong in (both, neither):
        with pytest.raises(AssertionError, match="stated once"):
            rasterize(wrong, make_cameras(1, 16, 16))


def test_no_gaussians_give_the_background():
    parameters = {name: value[:0].requires_grad_() for name, value in covariance_parameters(2, 3, seed=0).items()}
    rendering = rasterize(covariance_slice(parameters), make_cameras(1, 20, 10), background=torch.full((3,), 0.5))
    assert torch.equal(rendering.features, torch.full((1, 10, 20, 3), 0.5))
    rendering.features.sum().backward()


def test_selecting_keeps_the_way_shapes_are_stated():
    chosen = covariance_slice(covariance_parameters(6, 3, seed=0)).select(torch.arange(6) < 2)
    assert chosen.quats is None and chosen.covariances is not None and chosen.covariances.shape == (2, 3, 3)
