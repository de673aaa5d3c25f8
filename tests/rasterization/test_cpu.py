"""The CPU backend against the dense twin, and what else it promises."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.rasterization.cpu import count_pixel_pairs
from fourdgs_ns.representation.types import ALPHA_THRESHOLD, GaussiansAtTime

from .dense_twin import dense_rasterize
from .random_scenes import NAMES, make_cameras, make_parameters, make_slice


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp(min=1e-12))


@pytest.mark.parametrize(
    ("count", "channels", "views", "width", "height", "pixels", "opaque"),
    [
        (1, 3, 1, 16, 16, 3.0, False),
        (60, 1, 1, 48, 32, 3.0, False),
        (120, 3, 3, 45, 37, 2.0, False),
        (120, 9, 1, 53, 19, 6.0, False),
        (80, 9, 3, 33, 50, 12.0, False),
        (300, 3, 1, 40, 40, 0.4, False),
        (200, 4, 2, 40, 35, 15.0, True),
        (90, (16, 3), 3, 33, 50, 6.0, False),
        (50, (1, 3), 2, 40, 32, 4.0, False),
    ],
)
def test_values_and_gradients_match_the_twin(count, channels, views, width, height, pixels, opaque):
    cameras = make_cameras(views, width, height)
    parameters = make_parameters(count, channels, seed=count, pixels=pixels, width=width)
    channels = parameters["features"].shape[-1]
    if opaque:
        parameters["opacities"] = 0.9 + 0.1 * parameters["opacities"]
    generator = torch.Generator().manual_seed(1)
    background = torch.rand(views, channels, generator=generator)
    v_features = torch.randn(views, height, width, channels, generator=generator)
    v_alphas, v_depths = torch.randn(2, views, height, width, 1, generator=generator)

    def gradients(inputs, rendering):
        loss = (
            (rendering.features * v_features).sum()
            + (rendering.alphas * v_alphas).sum()
            + (rendering.depths * v_depths).sum()
        )
        loss.backward()
        return [t.grad for t in inputs]

    exact_inputs = [t.double().requires_grad_() for t in (*(parameters[name] for name in NAMES), background)]
    exact = dense_rasterize(*exact_inputs, cameras)
    inputs = [t.clone().requires_grad_() for t in (*(parameters[name] for name in NAMES), background)]
    found = rasterize(make_slice(dict(zip(NAMES, inputs))), cameras, background=inputs[-1], depth=True)

    assert torch.equal(found.radii, exact.radii)
    if opaque:
        assert (exact.alphas > 0.999).float().mean() > 0.3, "the scene must finish pixels early"
    assert relative_error(found.features, exact.features) < 2e-5
    assert (found.alphas - exact.alphas).abs().max() < 2e-5
    # Expected depth divides by alpha, which may be as small as 1/255.
    assert relative_error(found.depths, exact.depths) < 2e-5
    expected_gradients = gradients(exact_inputs, exact)
    for name, gradient, expected in zip((*NAMES, "background"), gradients(inputs, found), expected_gradients):
        assert relative_error(gradient, expected) < 2e-4, name
    seen = found.radii > 0
    assert relative_error(found.means2d[seen], exact.means2d[seen]) < 1e-5
    assert relative_error(found.screen_gradients()[seen], exact.means2d.grad[seen]) < 2e-4


def test_defaults_are_a_black_background_and_no_depth():
    cameras, gaussians = make_cameras(2, 40, 30), make_slice(make_parameters(50, 3, seed=2))
    plain = rasterize(gaussians, cameras)
    full = rasterize(gaussians, cameras, background=torch.zeros(3), depth=True)
    assert plain.depths is None
    assert torch.equal(plain.features, full.features)
    assert torch.equal(plain.alphas, full.alphas)
    assert torch.equal(plain.screen_gradients(), torch.zeros(2, 50, 2))


def test_leaving_out_invisible_rows_changes_nothing():
    cameras, parameters = make_cameras(2, 50, 40), make_parameters(300, 3, seed=5)
    kept = parameters["opacities"] >= ALPHA_THRESHOLD
    assert 20 < (~kept).sum() < 250
    everything = rasterize(make_slice(parameters), cameras, depth=True)
    compacted = rasterize(make_slice({name: value[kept] for name, value in parameters.items()}), cameras, depth=True)
    assert torch.equal(everything.features, compacted.features)
    assert torch.equal(everything.alphas, compacted.alphas)
    assert torch.equal(everything.depths, compacted.depths)
    assert torch.equal(everything.radii[:, kept], compacted.radii)


def test_rows_of_one_depth_are_rendered_in_their_order():
    cameras, parameters = make_cameras(1, 32, 32), make_parameters(40, 3, seed=7)
    parameters["means"][:, 2] = 4.0
    parameters["opacities"][:] = 0.6
    exact = dense_rasterize(*(parameters[name].double() for name in NAMES), torch.zeros(3), cameras)
    assert relative_error(rasterize(make_slice(parameters), cameras).features, exact.features) < 2e-5


def test_two_runs_are_equal_bit_for_bit_whatever_the_number_of_threads():
    def run(threads):
        torch.set_num_threads(threads)
        parameters = {k: v.requires_grad_() for k, v in make_parameters(2000, 5, seed=8, width=128).items()}
        rendering = rasterize(make_slice(parameters), make_cameras(2, 128, 96), depth=True)
        (rendering.features.square().sum() + rendering.depths.sum()).backward()
        return [rendering.features, rendering.depths, rendering.means2d.grad, *(p.grad for p in parameters.values())]

    threads = torch.get_num_threads()
    try:
        first, second, third = run(2), run(2), run(1)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, third, strict=True))


def test_no_gaussians_give_the_background():
    parameters = {name: value[:0].requires_grad_() for name, value in make_parameters(2, 3, seed=0).items()}
    background = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], requires_grad=True)
    rendering = rasterize(make_slice(parameters), make_cameras(2, 20, 10), background=background, depth=True)
    assert torch.equal(rendering.features, background[:, None, None].expand(2, 10, 20, 3))
    assert rendering.alphas.shape == rendering.depths.shape == (2, 10, 20, 1)
    assert not rendering.alphas.any()
    assert not rendering.depths.any()
    rendering.features.sum().backward()
    assert torch.equal(background.grad, torch.full((2, 3), 200.0))
    assert rendering.screen_gradients().shape == (2, 0, 2)


def test_gaussians_that_no_camera_sees_give_the_background():
    parameters = make_parameters(5, 3, seed=0)
    parameters["means"][:, 2] = -4.0
    parameters = {name: value.requires_grad_() for name, value in parameters.items()}
    rendering = rasterize(make_slice(parameters), make_cameras(1, 20, 10), background=torch.full((3,), 0.5), depth=True)
    assert torch.equal(rendering.features, torch.full((1, 10, 20, 3), 0.5))
    (rendering.features.sum() + rendering.depths.sum()).backward()
    assert all(not p.grad.any() for p in parameters.values())


def test_rows_that_are_not_finite_are_not_rendered():
    cameras, parameters = make_cameras(2, 40, 30), make_parameters(60, 3, seed=4)
    spoilt = {name: value.clone() for name, value in parameters.items()}
    kept = torch.ones(60, dtype=torch.bool)
    for row, (name, value) in enumerate(
        [("means", math.nan), ("means", math.inf), ("quats", math.nan), ("quats", 0.0), ("scales", math.nan),
         ("scales", math.inf), ("opacities", math.nan)], start=20
    ):  # fmt: skip
        spoilt[name][row] = value
        kept[row] = False
    spoilt = {name: value.requires_grad_() for name, value in spoilt.items()}
    rendering = rasterize(make_slice(spoilt), cameras)
    expected = rasterize(make_slice({name: value[kept] for name, value in parameters.items()}), cameras)
    assert torch.equal(rendering.features, expected.features)
    rendering.features.sum().backward()
    assert all(p.grad[kept].isfinite().all() for p in spoilt.values())
    assert spoilt["means"].grad[kept].any()


def test_two_threads_rasterize_their_own_images():
    cameras = make_cameras(1, 96, 64)
    slices = [make_slice(make_parameters(800, 3, seed=seed, width=96)) for seed in (1, 2)]
    expected = [rasterize(s, cameras).features for s in slices]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(15) if not torch.equal(rasterize(slices[i], cameras).features, expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_one_round_gaussian_has_the_known_profile():
    size, focal, depth, scale, opacity = 33, 40.0, 5.0, 0.4, 0.8
    intrinsics = torch.tensor([[[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]]])
    cameras = PinholeCameras(torch.eye(4)[None], intrinsics, size, size)
    gaussian = GaussiansAtTime(
        ids=torch.tensor([7]),
        means=torch.tensor([[0.0, 0.0, depth]]),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        scales=torch.full((1, 3), scale),
        opacities=torch.tensor([opacity]),
        features=torch.tensor([[2.0]]),
        velocities=torch.zeros(1, 3),
        weights=torch.ones(1),
    )
    rendering = rasterize(gaussian, cameras, background=torch.tensor([1.0]), depth=True)
    offsets = torch.arange(size) - size // 2
    squares = (offsets[:, None] ** 2 + offsets[None, :] ** 2).float()
    variance = (focal * scale / depth) ** 2 + 0.3
    alpha = opacity * torch.exp(-0.5 * squares / variance)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0)
    assert torch.allclose(rendering.alphas[0, ..., 0], alpha, atol=1e-6)
    assert torch.allclose(rendering.features[0, ..., 0], 1 + alpha, atol=1e-6)
    assert torch.allclose(rendering.depths[0, ..., 0], torch.where(alpha > 0, depth, 0.0), atol=1e-4)
    assert rendering.radii.tolist() == [[math.ceil(3 * math.sqrt(variance + 0.1))]]
    assert rendering.ids.tolist() == [7]
    assert rendering.means2d.tolist() == [[[size / 2, size / 2]]]


def test_alpha_stops_at_its_clamp():
    parameters = make_parameters(1, 1, seed=0)
    parameters["means"] = torch.tensor([[0.0, 0.0, 4.0]])
    parameters["opacities"] = torch.ones(1, requires_grad=True)
    parameters["scales"] = torch.full((1, 3), 1000.0)
    rendering = rasterize(make_slice(parameters), make_cameras(1, 8, 8))
    assert torch.allclose(rendering.alphas, torch.tensor(0.999), atol=1e-6)
    rendering.alphas.sum().backward()
    assert parameters["opacities"].grad.item() == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("means", torch.zeros(5, 2)),
        ("opacities", torch.zeros(5, 1)),
        ("features", torch.zeros(4, 3)),
        ("scales", torch.zeros(5, 3, dtype=torch.float64)),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused_at_the_door(name, value):
    gaussians = make_slice(make_parameters(5, 3, seed=0))
    setattr(gaussians, name, value)
    with pytest.raises(AssertionError):
        rasterize(gaussians, make_cameras(1, 16, 16))


def test_pixel_pairs_are_whole_rows_of_what_can_be_seen():
    # A round Gaussian in the middle of the first of 2 x 2 tiles, then opaque ones in front of it.
    focal, depth, size = 40.0, 4.0, 0.1
    cameras = PinholeCameras(
        torch.eye(4)[None], torch.tensor([[[focal, 0.0, 8.0], [0.0, focal, 8.0], [0.0, 0.0, 1.0]]]), 32, 32, near=0.1
    )
    variance = (focal * size / depth) ** 2 + 0.3
    reach = math.sqrt(2 * math.log(255) * variance)
    rows = math.floor(8 + reach + 0.5) - math.ceil(8 - reach - 0.5)
    assert 6 < rows < 10

    def pairs(depths: list[float], sizes: list[float]) -> int:
        m = len(depths)
        means = torch.tensor([[0.0, 0.0, z] for z in depths])
        parameters = {
            "means": means,
            "quats": torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(m, 1),
            "scales": torch.tensor(sizes)[:, None].repeat(1, 3),
            "opacities": torch.ones(m),
            "features": torch.ones(m, 3),
        }
        return count_pixel_pairs(make_slice(parameters), cameras)

    assert pairs([depth], [size]) == rows * 16
    assert pairs([depth, depth], [size, size]) == 2 * rows * 16
    # Two layers of alpha 0.999 end every pixel; what is behind them is not counted: a third one would bring 1e-4 and less.
    wide = [100.0, 100.0]
    assert pairs([2.0, 2.5, depth], [*wide, size]) == pairs([2.0, 2.5], wide)
