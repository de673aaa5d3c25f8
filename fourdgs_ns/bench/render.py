"""What does rendering at time t cost beyond rasterizing a frozen slice? Every representation, in one run with the rasterizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fourdgs_ns.bench.timing import median_ms
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.rasterization.rasterize import DIFFERENTIABLE
from fourdgs_ns.rasterization.render import render_at
from fourdgs_ns.representation.base import Representation, RepresentationConfig
from fourdgs_ns.representation.fourd import FourDConfig, FourDRepresentation
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.parts.active_set import ActiveSet
from fourdgs_ns.representation.parts.velocity_form import velocity_form
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, PointsOverTime

REPRESENTATIONS: Mapping[str, Callable[[], RepresentationConfig]] = {
    "spacetime lite": lambda: SpacetimeConfig(variant="lite"),
    "spacetime full": lambda: SpacetimeConfig(variant="full"),
    "freetime SH 3": lambda: FreeTimeConfig(sh_degree=3),
    "freetime SH 0": lambda: FreeTimeConfig(sh_degree=0),
    "4dgs SH 3, time 2": lambda: FourDConfig(sh_degree=3, temporal_degree=2),
    "4dgs SH 3": lambda: FourDConfig(sh_degree=3, temporal_degree=0),
}
PIXELS = 2.0
"""Standard deviation on the screen of a typical Gaussian, in pixels: what trained scenes have at these counts."""


@dataclass(frozen=True)
class RenderTimes:
    """Milliseconds of one case."""

    name: str
    rows: int
    alive: int
    floor: float
    """Plain gsplat on a frozen slice, forward; on the CPU the package's own rasterizer."""
    ours: float
    """From canonical parameters at a random t, forward."""
    floor_both: float
    """Forward and backward of that."""
    ours_both: float
    pixel_pairs: int | None = None
    """On the CPU: times that a Gaussian has to be evaluated at a pixel of the frozen slice."""

    def nanoseconds_per_pair(self, milliseconds: float) -> float:
        """Time of one core per such evaluation, projection and lists included."""
        assert self.pixel_pairs is not None
        return 1e6 * milliseconds * torch.get_num_threads() / max(self.pixel_pairs, 1)


def make_scene(
    config: RepresentationConfig, rows: int, share: float, size: tuple[int, int], device: torch.device
) -> tuple[Representation, dict[str, Tensor], PinholeCameras]:
    """``rows`` random Gaussians in view of one camera, of which about ``share`` are alive at any t."""
    width, height = size
    g = torch.Generator().manual_seed(0)
    depth = 2 + 4 * torch.rand(rows, generator=g)
    focal = 0.8 * width
    spread = torch.tensor([width / focal, height / focal])
    slopes = (torch.rand(rows, 2, generator=g) - 0.5) * spread
    positions = torch.cat([slopes * depth[:, None], depth[:, None]], dim=1)
    points = PointsOverTime(
        positions, torch.rand(rows, 3, generator=g), torch.rand(rows, generator=g), PIXELS * depth / focal,
        velocities=0.1 * torch.randn(rows, 3, generator=g),
    )  # fmt: skip
    representation = config.setup()
    params = representation.initialize(points, Clip(300, 10.0))
    params["scales"] += 0.3 * torch.randn(rows, 3, generator=g)
    params["opacities"][:] = 0.0
    spread_lifespans(representation, params, share, g)
    intrinsics = torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]], device=device)
    cameras = PinholeCameras(torch.eye(4, device=device)[None], intrinsics, width, height)
    return representation, {name: value.float().to(device).contiguous() for name, value in params.items()}, cameras


def spread_lifespans(
    representation: Representation, params: dict[str, Tensor], share: float, generator: torch.Generator
) -> None:
    """Change durations and temporal centres in place so that about ``share`` of the rows are alive at any t."""
    # Lifespans of half length w, centres from w before the clip to w after it: any t sees 2 w / (1 + 2 w) of them.
    start, stop = representation.lifespan(params)
    half = 0.5 * (stop - start)
    wanted = 10.0 if share >= 1 else 0.5 * share / (1 - share)
    stretch(representation, params, (wanted / half)[:, None])
    if share < 1:
        params["temporal_centers"] = -wanted + (1 + 2 * wanted) * torch.rand(len(half), 1, generator=generator)


def stretch(representation: Representation, params: dict[str, Tensor], factor: Tensor) -> None:
    """Multiply all durations by ``factor`` [n, 1] in place; velocities and shapes stay."""
    if not isinstance(representation, FourDRepresentation):
        params["log_durations"] += torch.log(factor)
        return
    form = velocity_form(representation.quaternion_form(params))
    form.durations *= factor
    params |= representation.rows_from(params["means"], params["temporal_centers"], form)


def frozen(gaussians: GaussiansAtTime) -> GaussiansAtTime:
    """The slice as leaves of their own."""
    fields: dict[str, Any] = {name: value.detach().clone() for name, value in gaussians.tensors().items()}
    for name in DIFFERENTIABLE & fields.keys():
        fields[name].requires_grad_()
    return replace(gaussians, **fields)


def rasterize_plainly(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> Tensor:
    """The image of a slice by gsplat as its users call it; where there is none, on the CPU, by our own rasterizer."""
    if not gaussians.means.is_cuda:
        return rasterize(gaussians, cameras).features
    import gsplat

    harmonics = gaussians.features.dim() == 3
    return gsplat.rasterization(
        gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.features,
        cameras.camera_from_world, cameras.intrinsics, cameras.width, cameras.height, near_plane=cameras.near,
        sh_degree=round(gaussians.features.shape[1] ** 0.5) - 1 if harmonics else None, packed=False,
        covars=gaussians.covariances,
    )[0]  # fmt: skip


def measure(
    name: str, rows: int, share: float, size: tuple[int, int], device: torch.device, repeats: int
) -> RenderTimes:
    """One case: (a) plain gsplat on a frozen slice, (b) from canonical parameters; forward, and forward with backward."""
    representation, params, cameras = make_scene(REPRESENTATIONS[name](), rows, share, size, device)
    leaves = {key: value.requires_grad_() for key, value in params.items()}
    still = frozen(representation.at(params, 0.5, representation.active(params, 0.5)))
    times, active_set = random_times(), ActiveSet()

    def forward_floor() -> Tensor:
        return rasterize_plainly(still, cameras)

    def forward_ours() -> Tensor:
        return render_at(representation, leaves, next(times), cameras, active_set)[1].features

    def backward(forward: Callable[[], Tensor]) -> Callable[[], None]:
        weights = torch.rand_like(forward_floor().detach())

        def both() -> None:
            for value in (*leaves.values(), *still.tensors().values()):
                value.grad = None
            (forward() * weights).sum().backward()

        return both

    with torch.no_grad():
        floor, ours = median_ms(forward_floor, device, repeats), median_ms(forward_ours, device, repeats)
    floor_both = median_ms(backward(forward_floor), device, repeats)
    ours_both = median_ms(backward(forward_ours), device, repeats)
    pairs = None
    if device.type == "cpu":
        from fourdgs_ns.rasterization.cpu import count_pixel_pairs

        pairs = count_pixel_pairs(still, cameras)
    return RenderTimes(name, rows, len(still.ids), floor, ours, floor_both, ours_both, pairs)


def random_times() -> Iterator[float]:
    """Endless random t, the same in every run."""
    g = torch.Generator().manual_seed(1)
    while True:
        yield float(torch.rand((), generator=g))
