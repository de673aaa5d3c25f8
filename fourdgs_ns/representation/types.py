"""The plain data that crosses a representation's interface.

A representation owns no tensors: canonical parameters are a mapping ``name -> [n, ...]`` that is passed in, so that the
same functions serve training, the viewer, exporters and tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ALPHA_THRESHOLD = 1.0 / 255.0
"""A Gaussian whose opacity is below this colours no pixel: both rasterizers skip it."""

Parameters = Mapping[str, Tensor] | torch.nn.ParameterDict
"""Canonical parameters: name -> tensor whose first dimension is the row. A ParameterDict is no Mapping."""


@dataclass(frozen=True)
class Clip:
    """The span of time that one model covers. Inside the package t = 0 is the first frame and t = 1 the last one."""

    num_frames: int
    """Number of frames (instants) in the clip."""
    duration_seconds: float
    """Seconds from the first to the last frame."""
    first_frame: int = 0
    """Index, in the capture's numbering, of the frame at t = 0."""

    @property
    def frame_interval(self) -> float:
        """Distance of two neighbouring frames in units of t (1 for a clip of one frame)."""
        return 1.0 / max(self.num_frames - 1, 1)


@dataclass(frozen=True)
class PointsOverTime:
    """A point cloud in which every point carries the time at which it was seen."""

    positions: Float[Tensor, "n 3"]
    """Coordinates in the training's world."""
    colors: Float[Tensor, "n 3"]
    """RGB in [0, 1]."""
    times: Float[Tensor, " n"]
    """t in [0, 1]."""
    spacing: Float[Tensor, " n"]
    """Typical distance to a point's neighbours, world units: the standard deviation its Gaussian starts with."""
    timed: bool = True
    """False when nobody knows when the points were seen: they then start alive over the whole clip."""
    velocities: Float[Tensor, "n 3"] | None = None
    """World units per unit of t, zero where unknown; None: all unknown."""
    static: Bool[Tensor, " n"] | None = None
    """Points that were found at the same place over the clip: they start alive over all of it. None: none is known to be."""
    key_interval: float = 0.0
    """Distance in t of the instants at which points were looked for: a point stands for that much time."""

    def __post_init__(self) -> None:
        n = self.positions.shape[0]
        assert self.positions.shape == (n, 3), self.positions.shape
        assert self.colors.shape == (n, 3), self.colors.shape
        assert self.times.shape == (n,), self.times.shape
        assert self.spacing.shape == (n,), self.spacing.shape
        assert self.velocities is None or self.velocities.shape == (n, 3), self.velocities
        assert self.static is None or self.static.shape == (n,), self.static

    def start_velocities(self) -> Float[Tensor, "n 3"]:
        """The velocities, zero where unknown."""
        return torch.zeros_like(self.positions) if self.velocities is None else self.velocities

    def start_static(self) -> Bool[Tensor, " n"]:
        """Which points start alive over the whole clip."""
        n = self.positions.shape[0]
        if not self.timed:
            return torch.ones(n, dtype=torch.bool)
        return torch.zeros(n, dtype=torch.bool) if self.static is None else self.static


@dataclass(repr=False)
class GaussiansAtTime:
    """A slice: the ordinary 3D Gaussians that are alive at one t, ready for any 3DGS rasterizer.

    Shapes are stated once: as ``quats`` and ``scales``, or as ``covariances`` with both None. Methods whose covariance is not
    built from three axes give the latter; ``representation.ellipsoids.slice_axes`` finds the axes for whoever needs them.
    """

    ids: Int[Tensor, " m"]
    """Row of the canonical parameters that each Gaussian came from."""
    means: Float[Tensor, "m 3"]
    """World coordinates."""
    quats: Float[Tensor, "m 4"] | None
    """Unit quaternions (w, x, y, z), world from Gaussian."""
    scales: Float[Tensor, "m 3"] | None
    """Standard deviations along the Gaussian's own axes, linear, world units."""
    opacities: Float[Tensor, " m"]
    """Opacity at t in [0, 1], temporal weight included."""
    features: Float[Tensor, " m *d"]
    """What is blended per pixel: [m, d] RGB or channels for a decoder, or [m, k, 3] spherical harmonics, k = (degree + 1)^2,
    which become RGB for the direction from each camera to the mean, or [m, c, 3] RGB ``for_cameras``."""
    velocities: Float[Tensor, "m 3"]
    """World units per unit of t (divide by the clip's duration for world units per second)."""
    weights: Float[Tensor, " m"]
    """Temporal weight in [0, 1], without gradient."""
    covariances: Float[Tensor, "m 3 3"] | None = None
    """Symmetric, world units squared; rasterizers read the upper triangle."""
    for_cameras: bool = False
    """Whether features are what each of c cameras sees, in their order."""

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in self.tensors().items())
        return f"GaussiansAtTime({len(self.ids)} Gaussians on {self.means.device}: {shapes})"

    def tensors(self) -> dict[str, Tensor]:
        """The fields that this slice has, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def select(self, keep: Tensor | slice) -> GaussiansAtTime:
        """The Gaussians where the mask ``keep`` is true, or of a range."""
        fields: dict[str, Any] = {name: value[keep] for name, value in self.tensors().items()}
        return replace(self, **fields)


def gather(params: Parameters, ids: Int[Tensor, " m"]) -> dict[str, Tensor]:
    """Rows ``ids`` of every parameter. ``params[name][ids]`` would sort the ids in its backward pass, which costs far more."""
    return {name: value.index_select(0, ids) for name, value in params.items()}


def uses_kernels(params: Parameters, t: float | Tensor) -> bool:
    """Whether a slice at ``t`` goes through the fused kernels: float32 rows on a GPU, and t a number or a tensor beside them, but
    not one that is learned."""
    learned = isinstance(t, Tensor) and (t.requires_grad or not t.is_cuda or t.dtype != torch.float32)
    return not learned and all(
        value.is_cuda and value.dtype == torch.float32 and value.is_contiguous() for value in params.values()
    )


def finite_rows(params: Parameters) -> Bool[Tensor, " n"]:
    """Gaussians of which every parameter is finite."""
    # The sum of a row is finite only if its entries are: one small reduction per parameter instead of a test per number.
    totals = [v.detach() if v.dim() == 1 else v.detach().flatten(1).sum(dim=1) for v in params.values()]
    return torch.isfinite(torch.stack(totals)).all(dim=0)
