"""The interface that every method implements: what must be answered, and defaults for what is optional."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.kernels.alive import AliveMarks
from fourdgs_ns.representation.parts.children import Kind, make_children
from fourdgs_ns.representation.parts.moving import Loss, MovingGaussians
from fourdgs_ns.representation.parts.spherical_harmonics import num_harmonics, sh_from_rgb
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, Parameters, PointsOverTime, finite_rows


@dataclass(frozen=True)
class ParameterSpec:
    """What the rest of the package must know about one canonical parameter."""

    shape: tuple[int, ...]
    """Shape of one row."""
    learning_rate: float
    """Of Adam, for a rig whose extent is 1."""
    final_ratio: float | None = None
    """Share of the learning rate that is left at the end of the training, reached log-linearly; None: constant."""
    spatial: bool = False
    """True when the value is measured in world units: its learning rate grows with the rig's extent."""
    per_second: int = 0
    """Power of the second in the unit for which the learning rate is stated: -1 for a velocity per second, 1 for a time in
    seconds, 0 when the rate is stated for t in [0, 1]. The trainer converts it with the clip's duration."""


class RepresentationConfig(ABC):
    """Options of a representation; every method's own is a dataclass derived from this."""

    method: ClassVar[str]
    """Name of the method, as ``ns-train`` and checkpoints know it."""

    @abstractmethod
    def setup(self) -> Representation:
        """The representation with these options."""


class Representation(ABC):
    """One method's answer to "what does a Gaussian look like at time t?".

    A method states ``variant`` and ``parameters``, and implements ``initialize``, ``lifespan``, ``at`` and, for the usual growth,
    ``move_center``; what else is here has a default.

    Canonical parameters that every method has, because densification and exporters read them: ``means`` [n, 3] world units,
    ``scales`` [n, 3] logarithms of standard deviations, ``opacities`` [n, 1] logits of the peak opacity.
    """

    variant: str
    """What a checkpoint must agree about, beside the method: parameters of another variant have other shapes."""
    parameters: Mapping[str, ParameterSpec]
    """Every canonical parameter by name."""
    sh_degree: int = 0
    """Degree of the spherical harmonics in a slice; 0 for plain colours."""
    decoder_learning_rate: float = 1e-4
    """Of the decoder's weights, where the method has one."""

    # ------------------------------------------------------------------ what every method answers itself

    @abstractmethod
    def initialize(self, points: PointsOverTime, clip: Clip) -> dict[str, Tensor]:
        """Canonical parameters, one row per point."""

    @abstractmethod
    def lifespan(self, params: Parameters) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """The t from which and until which each Gaussian can be seen (opacity times weight at least 1/255)."""

    @abstractmethod
    def at(
        self,
        params: Parameters,
        t: float | Tensor,
        ids: Int[Tensor, " m"],
        seen_from: Float[Tensor, "c 3"] | None = None,
    ) -> GaussiansAtTime:
        """Slice rows ``ids`` at ``t``; differentiable in every parameter that the method trains.

        Where :meth:`fused` is true an id of -1 stands for no row: its Gaussian is undefined but for a mean out of every
        camera's sight (see ``representation.parts.active_set``). There the colours that cameras at ``seen_from`` see may be
        evaluated at once, in place of harmonics.
        """

    def move_center(self, rows: dict[str, Tensor], shift: Float[Tensor, "n 1"]) -> None:
        """Change the temporal centres by ``shift`` in place without changing any path; what :meth:`children` needs.

        Raises:
            UserError: the method offers neither this nor ``children`` of its own, so its Gaussians cannot be added to.
        """
        raise UserError(
            f"the method of {type(self).__name__} does not say how Gaussians are added; train with a budget of 0"
        )

    # ------------------------------------------------------------------ while it is trained

    def set_step(self, step: int) -> None:  # noqa: B027  (a default: nothing)
        """Grow what grows with training (the degree of spherical harmonics)."""

    @property
    def degrees(self) -> tuple[int, ...]:
        """What :meth:`set_step` has reached: slices of the same Gaussians differ when it does."""
        return ()

    def confine(self, params: Parameters) -> None:  # noqa: B027  (a default: nothing)
        """Bring back, in place, what an optimiser's step took beyond its bounds."""

    def children(
        self, params: Parameters, ids: Int[Tensor, " m"], kind: Kind, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Gaussians that densification adds for parents ``ids``: all parameters, temporal attributes included.

        See :func:`fourdgs_ns.representation.parts.children.make_children`.
        """
        return make_children(self, params, ids, kind, generator)

    # ------------------------------------------------------------------ slices

    def active(self, params: Parameters, t: float) -> Int[Tensor, " m"]:
        """Ids of the Gaussians that can colour a pixel at ``t``, not differentiable; broken ones must not reach a rasterizer."""
        if self.fused(params, t):
            alive = self.marks(params, t).alive
        else:
            start, stop = self.lifespan(params)
            alive = (start <= t) & (t <= stop) & finite_rows(params)
        return torch.nonzero(alive).squeeze(-1)

    def fused(self, params: Parameters, t: float | Tensor) -> bool:
        """Whether slices at ``t`` are made by the fused kernels; they alone take -1 among the ids of :meth:`at`."""
        return False

    def marks(self, params: Parameters, t: float | Tensor) -> AliveMarks:
        """By the fused kernels: which Gaussians can colour a pixel at ``t``. Asked for only where :meth:`fused` is true."""
        raise AssertionError(f"{type(self).__name__} has no fused kernels")

    # ------------------------------------------------------------------ colours, and what formats ask

    def make_decoder(self) -> nn.Module | None:
        """Module that turns rendered features and rays into RGB, or None when the features are RGB already."""
        return None

    def spherical_harmonics(self, gaussians: GaussiansAtTime) -> Float[Tensor, "m k 3"]:
        """Colour of a slice for formats that know spherical harmonics only; k = 1 without view dependence.

        Harmonics of a slice are padded with zeros to the full degree.
        """
        features = gaussians.features
        if features.dim() == 2:
            return sh_from_rgb(features.clamp(0.0, 1.0))[:, None]
        return nn.functional.pad(features, (0, 0, 0, num_harmonics(self.sh_degree) - features.shape[1]))

    def moving(self, params: Parameters) -> tuple[MovingGaussians, list[Loss]] | None:
        """Its Gaussians on polynomial paths, and what of them that form cannot hold; None: it has no such form."""
        return None

    def in_capture(self, params: Parameters, world: WorldFromCapture) -> dict[str, Tensor] | None:
        """Rows of the training's world in the capture's, exactly; None: this method's Gaussians know one world only."""
        return None
