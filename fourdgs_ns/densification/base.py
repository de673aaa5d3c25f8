"""What every strategy of growing and removing Gaussians shares: options, statistics of the active Gaussians, the interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, Parameters


@dataclass
class DensificationConfig(ABC):
    """Options that all strategies share."""

    start: int | None = None
    """First step after which Gaussians are added. Default: 500, or a tenth of a training of less than 5,000 steps."""
    stop: int | None = None
    """Last step at which Gaussians are added, moved or removed. Default: a share of the training that the method sets."""
    every: int = 100
    """Steps between two such events."""
    max_gaussians: int = 1_000_000
    """No Gaussian is added beyond this count."""

    @abstractmethod
    def setup(self, representation: Representation, clip: Clip, extent: float) -> Densification:
        """The strategy with these options; ``extent`` is that of the camera rig in world units."""

    def follow_length(self, steps: int) -> None:
        """Fill in what by default depends on the length of the training."""
        if self.start is None:
            self.start = min(500, steps // 10)
        if self.stop is None:
            self.stop = self.default_stop(steps)

    @abstractmethod
    def default_stop(self, steps: int) -> int:
        """What ``stop`` is by default for a training of ``steps`` steps."""


@dataclass(frozen=True)
class Strategy:
    """One way to add, move and remove Gaussians, as the registry knows it."""

    name: str
    """As ``--pipeline.model.strategy`` knows it."""
    config: type[DensificationConfig]
    """Its options, every one with a default."""


class Densification(ABC):
    """A strategy: gathers statistics of the active Gaussians by row id and edits rows when something is due."""

    def __init__(self, representation: Representation, clip: Clip, extent: float, last_step: int | None) -> None:
        self.representation = representation
        self.clip = clip
        self.extent = extent
        self.last_step = last_step or 0
        """Last step at which anything is due; the trainer resolves the default, which depends on the training's length."""
        self.camera_centers: Float[Tensor, "k 3"] | None = None
        """Centres of the training cameras in the training's world."""

    @staticmethod
    def empty_statistics(n: int, device: torch.device | str) -> dict[str, Tensor]:
        """Per-Gaussian sums that :meth:`observe` fills: screen-space gradient and number of views."""
        return {"gradient_sum": torch.zeros(n, device=device), "view_count": torch.zeros(n, device=device)}

    @torch.no_grad()
    def observe(self, statistics: dict[str, Tensor], rendering: Rendering, params: Parameters | None = None) -> None:
        """Add one rendering after its backward pass. Only Gaussians alive at its t are in it, so nobody else is diluted.

        ``params`` with their gradients are for strategies that look at more than the screen.
        """
        cameras, height, width = rendering.features.shape[:3]
        # Pixels -> normalised device units; the loss is a mean over the cameras of the batch, undone here.
        scale = (0.5 * width * cameras, 0.5 * height * cameras)
        if statistics["gradient_sum"].is_cuda:
            from fourdgs_ns.kernels.statistics import add_view_statistics

            add_view_statistics(
                rendering.ids, rendering.screen_gradients(), rendering.radii, scale, statistics["gradient_sum"],
                statistics["view_count"],
            )  # fmt: skip
            return
        norms = (rendering.screen_gradients() * rendering.means2d.new_tensor(scale)).norm(dim=-1)
        seen = rendering.radii > 0
        statistics["gradient_sum"].index_add_(
            0, rendering.ids, torch.where(seen, norms, torch.zeros_like(norms)).sum(0)
        )
        statistics["view_count"].index_add_(0, rendering.ids, seen.sum(0).to(norms.dtype))

    @abstractmethod
    def step(
        self,
        step: int,
        params: nn.ParameterDict,
        optimizers: Mapping[str, Optimizer],
        statistics: dict[str, Tensor],
        generator: torch.Generator,
    ) -> dict[str, int] | None:
        """What is due after ``step`` optimiser steps; returns counts of what was done, or None when nothing was due.

        ``statistics`` is emptied (its tensors are replaced) whenever Gaussians come or go.
        """
