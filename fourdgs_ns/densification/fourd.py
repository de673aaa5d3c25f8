"""Growth of 4D Gaussians: where the image's gradient is large, in space, and where that of the temporal centre is, in time.

What differs from the published code, and why, is listed in representation/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.densification.base import Densification, Strategy
from fourdgs_ns.densification.gradient import GradientDensification, GradientDensificationConfig, mean_over_views
from fourdgs_ns.densification.rows import forget_moments
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.fourd import FourDRepresentation
from fourdgs_ns.representation.parts.velocity_form import velocity_form
from fourdgs_ns.representation.types import Clip, Parameters

FROZEN = ("means", "scales", "left_quats", "right_quats", "opacities", "temporal_scales")
"""Parameters whose values, and so Adam's moments, change when a Gaussian becomes static."""


@dataclass
class FourDDensificationConfig(GradientDensificationConfig):
    """When 4D Gaussians are added, removed and made static."""

    temporal_gradient_threshold: float = 2e-4
    """Mean gradient of the loss by the temporal centre, per second, above which a Gaussian is split in time, or cloned when it is
    short. Lower it when fast motion is blurred; 0 turns it off. The published 5e-6 never acted; most Gaussians exceed it."""
    prune_frames: float = 0.5
    """Gaussians whose temporal standard deviation is below this many frame intervals are removed: each serves one image."""
    static_duration: float = 1.0
    """Gaussians whose temporal standard deviation exceeds this many lengths of the clip become independent of time (Hybrid
    3D-4DGS): from then on every image trains them fully. 0 turns it off."""
    static_travel: float = 2.0
    """Those that move farther than this many of their own standard deviations during the clip stay as they are."""

    def setup(self, representation: Representation, clip: Clip, extent: float) -> FourDDensification:
        return FourDDensification(self, representation, clip, extent)


class FourDDensification(GradientDensification):
    """Applies :class:`FourDDensificationConfig`."""

    config: FourDDensificationConfig
    representation: FourDRepresentation

    def __init__(
        self, config: FourDDensificationConfig, representation: Representation, clip: Clip, extent: float
    ) -> None:
        if not isinstance(representation, FourDRepresentation):
            raise UserError(
                f"this densification is for 4D Gaussians, not for {type(representation).__name__}; use it with 4dgs-4dsh"
            )
        super().__init__(config, representation, clip, extent)

    @staticmethod
    def empty_statistics(n: int, device: torch.device | str) -> dict[str, Tensor]:
        """As for all strategies, with the sum of the temporal centres' gradients."""
        return {**Densification.empty_statistics(n, device), "temporal_gradient_sum": torch.zeros(n, device=device)}

    @torch.no_grad()
    def observe(self, statistics: dict[str, Tensor], rendering: Rendering, params: Parameters | None = None) -> None:
        """Adds the gradients of the temporal centres, too; the loss is a mean over the cameras of the batch, undone here."""
        super().observe(statistics, rendering, params)
        gradient = None if params is None else params["temporal_centers"].grad
        if gradient is not None:
            seen = (rendering.radii > 0).any(dim=0)
            change = gradient[rendering.ids, 0].abs() * len(rendering.radii)
            statistics["temporal_gradient_sum"].index_add_(0, rendering.ids, change * seen)

    @torch.no_grad()
    def step(
        self,
        step: int,
        params: nn.ParameterDict,
        optimizers: Mapping[str, Optimizer],
        statistics: dict[str, Tensor],
        generator: torch.Generator,
    ) -> dict[str, int] | None:
        """Counts of ``cloned``, ``split``, ``pruned`` and ``frozen`` Gaussians; see :meth:`Densification.step`."""
        counts = super().step(step, params, optimizers, statistics, generator)
        if counts is None:
            return None
        wanted = self.config.static_duration and step > (self.config.start or 0)
        ids = self._lasting(dict(params.items())) if wanted else torch.zeros(0, dtype=torch.long)
        if len(ids):
            frozen = self.representation.frozen(dict(params.items()), ids)
            for name in FROZEN:
                params[name].data[ids] = frozen[name]
                if name in optimizers:
                    forget_moments(optimizers[name], ids)
        return {**counts, "frozen": len(ids)}

    def _lasting(self, params: Parameters) -> Int[Tensor, " k"]:
        """Gaussians that outlive the clip and stay where they are."""
        representation = self.representation
        lasting = representation.durations(params) > self.config.static_duration
        ids = torch.nonzero((lasting & ~representation.is_static(params)).squeeze(-1)).squeeze(-1)
        part = {name: value[ids] for name, value in params.items()}
        travelled = velocity_form(representation.quaternion_form(part)).velocities.norm(dim=-1)
        return ids[travelled <= self.config.static_travel * representation.sizes(part)]

    def _temporal_urgency(self, params: Parameters, statistics: dict[str, Tensor]) -> Float[Tensor, " n"]:
        threshold = self.config.temporal_gradient_threshold
        if not threshold:
            return torch.zeros_like(statistics["view_count"])
        # A loss changes per unit of t as much as per second times the clip's seconds.
        per_clip = threshold * (self.clip.duration_seconds or 1.0)
        urgency = mean_over_views(statistics, "temporal_gradient_sum") / per_clip
        return urgency.masked_fill(self.representation.is_static(params).squeeze(-1), 0.0)

    def _urgency(self, params: Parameters, statistics: dict[str, Tensor]) -> Float[Tensor, " n"]:
        return torch.maximum(super()._urgency(params, statistics), self._temporal_urgency(params, statistics))

    def _concerned_lengths(self, params: Parameters, statistics: dict[str, Tensor]) -> Float[Tensor, "n 4"]:
        """Lengths of the four axes, as far as they have a part in what asks to grow: in space, in time or in both."""
        instant, duration = self.representation.axis_lengths(params)
        in_space = super()._urgency(params, statistics) >= 1
        in_time = self._temporal_urgency(params, statistics) >= 1
        return torch.hypot(instant * in_space[:, None], duration * in_time[:, None])

    def _lengths(self, params: Parameters, statistics: dict[str, Tensor]) -> Float[Tensor, " n"]:
        return self._concerned_lengths(params, statistics).amax(dim=-1)

    def _halves(
        self, rows: Parameters, statistics: dict[str, Tensor], ids: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        axes = self._concerned_lengths(rows, statistics).argmax(dim=-1)
        return self.representation.halves(rows, ids, axes[ids], generator)

    def _sizes(self, params: Parameters) -> Float[Tensor, " n"]:
        return self.representation.sizes(params)

    def _useless(self, step: int, params: Parameters) -> Bool[Tensor, " n"]:
        shortest = self.config.prune_frames * self.clip.frame_interval
        too_short = self.representation.durations(params).squeeze(-1) < shortest
        return super()._useless(step, params) | too_short


STRATEGY = Strategy("fourd", FourDDensificationConfig)
