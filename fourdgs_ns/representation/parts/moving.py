"""What the methods have in common: Gaussians on polynomial paths that turn, fade in and fade out.

With dt = t - center:

    mean(t)    = mean + dt m1 + dt^2 m2 + dt^3 m3
    quat(t)    = normalize(quat + dt omega)
    weight(t)  = g + (1 - g) exp(-(max(|dt| - r, 0) / s)^2)
    opacity(t) = sigmoid(opacity) weight(t)

SpacetimeGaussian lite is this with r = g = 0; FreeTime with m2 = m3 = omega = 0 and s = sqrt(2) times its standard deviation, its
gated and flat-top windows through g and r. Exporters are written once against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0, harmonics_to_capture, num_harmonics, sh_from_rgb
from fourdgs_ns.representation.types import ALPHA_THRESHOLD, GaussiansAtTime

ALWAYS = 1e4
"""s, in lengths of the clip, of a Gaussian that never fades: its weight differs from 1 by less than 1e-7."""


@dataclass
class MovingGaussians:
    """See the module's first lines."""

    ids: Int[Tensor, " n"]
    """Row of the canonical parameters that each came from."""
    means: Float[Tensor, "n 3"]
    """At the temporal centre."""
    motion: Float[Tensor, "n 3 3"]
    """m1, m2, m3: units per clip, per clip squared, cubed."""
    quats: Float[Tensor, "n 4"]
    """(w, x, y, z) at the temporal centre, not normalised: the length matters where omega is not zero."""
    omegas: Float[Tensor, "n 4"]
    log_scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    """Logits of the peak opacity."""
    centers: Float[Tensor, " n"]
    """t of the peak, in lengths of the clip."""
    log_durations: Float[Tensor, " n"]
    """Logarithm of s in exp(-(dt / s)^2)."""
    plateaus: Float[Tensor, " n"]
    """r: half width of full visibility, in t."""
    gates: Float[Tensor, " n"]
    """g in [0, 1]: share of the opacity that never fades."""
    colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"]
    """RGB that is blended as it is, or spherical harmonics."""

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the view-dependent colours; 0 for plain RGB."""
        return 0 if self.colors.dim() == 2 else math.isqrt(self.colors.shape[1]) - 1

    def select(self, rows: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> MovingGaussians:
        """Some of the Gaussians."""
        return MovingGaussians(**{name: value[rows] for name, value in vars(self).items()})

    def reach(self) -> Float[Tensor, " n"]:
        """Largest |dt| at which a Gaussian can colour a pixel (opacity at least 1/255); negative where there is none."""
        needed = ALPHA_THRESHOLD / torch.sigmoid(self.opacities).clamp_min(1e-12)
        remaining = (needed - self.gates) / (1 - self.gates).clamp_min(1e-12)
        fading = torch.exp(self.log_durations) * (-torch.log(remaining.clamp(1e-38, 1.0))).sqrt()
        reach = torch.where(remaining <= 0, torch.full_like(fading, math.inf), self.plateaus + fading)
        return torch.where(needed <= 1, reach, torch.full_like(fading, -1.0))

    def visible(self, start: float = 0.0, stop: float = 1.0) -> Bool[Tensor, " n"]:
        """Gaussians that can colour a pixel somewhere in [start, stop]."""
        reach = self.reach()
        return (reach >= 0) & (self.centers - reach <= stop) & (self.centers + reach >= start)

    def at(self, t: float) -> GaussiansAtTime:
        """The slice at ``t``, as the representation it came from gives it."""
        ids = torch.nonzero(self.visible(t, t)).squeeze(-1)
        part = self.select(ids)
        dt = t - part.centers
        beyond = (dt.abs() - part.plateaus).clamp_min(0.0) / torch.exp(part.log_durations)
        weights = part.gates + (1 - part.gates) * torch.exp(-(beyond**2))
        m1, m2, m3 = part.motion.unbind(1)
        dt = dt[:, None]
        return GaussiansAtTime(
            ids=ids,
            means=part.means + dt * (m1 + dt * (m2 + dt * m3)),
            quats=nn.functional.normalize(part.quats + dt * part.omegas, dim=-1),
            scales=torch.exp(part.log_scales),
            opacities=torch.sigmoid(part.opacities) * weights,
            features=part.colors,
            velocities=m1 + dt * (2 * m2 + 3 * dt * m3),
            weights=weights,
        )

    def in_capture(self, frame: WorldFromCapture | None) -> MovingGaussians:
        """The same Gaussians in the capture's world."""
        if frame is None:
            return self
        means, quats, log_scales = frame.gaussians_to_capture(self.means, self.quats, self.log_scales)
        colors = self.colors if self.colors.dim() == 2 else harmonics_to_capture(self.colors, frame)
        changed = {
            "means": means, "quats": quats, "log_scales": log_scales, "colors": colors,
            "motion": frame.vectors_to_capture(self.motion), "omegas": frame.quats_to_capture(self.omegas),
        }  # fmt: skip
        return MovingGaussians(**{**vars(self), **changed})

    def stretched(self, factor: float) -> MovingGaussians:
        """The same Gaussians with time measured in units 1 / factor as long: t becomes t * factor."""
        powers = torch.tensor([1.0, 2.0, 3.0]).to(self.motion)
        return MovingGaussians(
            **{
                **vars(self),
                "centers": self.centers * factor,
                "log_durations": self.log_durations + math.log(factor),
                "plateaus": self.plateaus * factor,
                "omegas": self.omegas / factor,
                "motion": self.motion / (factor**powers)[:, None],
            }
        )

    def harmonics(self) -> Float[Tensor, "n k 3"]:
        """Colours as spherical harmonics; k = 1 for plain RGB, which is then clamped to [0, 1]."""
        return sh_from_rgb(self.colors.clamp(0.0, 1.0))[:, None] if self.colors.dim() == 2 else self.colors

    def rgb(self) -> Float[Tensor, "n 3"]:
        """Colour without what depends on the direction."""
        return self.colors if self.colors.dim() == 2 else (self.colors[:, 0] * SH_C0 + 0.5).clamp_min(0.0)

    def with_sh_degree(self, degree: int | None) -> MovingGaussians:
        """At most this degree of spherical harmonics; None leaves all."""
        if degree is None or self.colors.dim() == 2 or degree >= self.sh_degree:
            return self
        return MovingGaussians(**{**vars(self), "colors": self.colors[:, : num_harmonics(degree)]})

    def has_plain_window(self) -> bool:
        """Whether every Gaussian fades as exp(-(dt / s)^2) and nothing else."""
        return not (bool((self.plateaus > 0).any()) or bool((self.gates > 0).any()))


@dataclass(frozen=True)
class Loss:
    """Why a format cannot hold a model exactly, and what is written instead."""

    reason: str
    instead: str


DECODER_LOSS = Loss("its colours come from the full variant's decoder", "the base colours without the decoder")
