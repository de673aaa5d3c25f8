"""Growth where the image's gradient is large, as 3DGS does, with time taken into account.

What differs from the published SpacetimeGaussian code, and why, is listed in representation/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.densification.base import Densification, DensificationConfig, Strategy
from fourdgs_ns.densification.rows import edit_rows, forget_moments, never_on_a_frame
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, Parameters, finite_rows

LEARNING_SIZES = 1_000
"""Steps in which Gaussians may still be too large, because sparse initial points make them so."""


@dataclass
class GradientDensificationConfig(DensificationConfig):
    """When Gaussians are added and removed. By default until half of the training; lower ``stop`` when the count grows but
    the score does not."""

    gradient_threshold: float = 2e-4
    """Mean screen-space gradient (normalised device units) above which a Gaussian is cloned or split. Lower it for more detail
    and more Gaussians."""
    split_size: float = 0.01
    """Gaussians larger than this share of the scene's extent are split, smaller ones cloned."""
    prune_opacity: float = 0.005
    """Gaussians whose peak opacity falls below this are removed."""
    prune_size: float = 0.1
    """Gaussians larger than this share of the scene's extent are removed after the first opacity reset and step 1,000. 0 keeps
    them all, which suits scenes with a large smooth background."""
    prune_near: float = 0.0
    """Gaussians nearer to a training camera than this share of the scene's extent are removed: floaters in front of the lens.
    0.1 to 0.3 helps rigs that look inward from a distance; keep 0 when the subject may come close."""
    reset_opacity_every: int | None = None
    """Steps between two resets of all opacities to 0.01, which lets unneeded Gaussians die. Default: a fifth of the training. 0
    turns it off."""
    reset_opacity_stop: int | None = None
    """Last step of such a reset. Default: a fifth of the training, so that there is one."""

    def setup(self, representation: Representation, clip: Clip, extent: float) -> GradientDensification:
        return GradientDensification(self, representation, clip, extent)

    def default_stop(self, steps: int) -> int:
        return steps // 2

    def follow_length(self, steps: int) -> None:
        super().follow_length(steps)
        fifth = max(steps // 5 // self.every, 1) * self.every
        if self.reset_opacity_every is None:
            self.reset_opacity_every = fifth
        if self.reset_opacity_stop is None:
            self.reset_opacity_stop = fifth


class GradientDensification(Densification):
    """Applies :class:`GradientDensificationConfig`."""

    def __init__(
        self, config: GradientDensificationConfig, representation: Representation, clip: Clip, extent: float
    ) -> None:
        super().__init__(representation, clip, extent, config.stop)
        self.config = config

    @torch.no_grad()
    def step(
        self,
        step: int,
        params: nn.ParameterDict,
        optimizers: Mapping[str, Optimizer],
        statistics: dict[str, Tensor],
        generator: torch.Generator,
    ) -> dict[str, int] | None:
        """Counts of ``cloned``, ``split`` and ``pruned`` Gaussians; see :meth:`Densification.step`."""
        config = self.config
        if step > self.last_step or step % config.every != 0:
            return None
        counts = {"cloned": 0, "split": 0, "pruned": 0}
        # Nothing has to grow or go before `start`, but a Gaussian that became non-finite has to go at once.
        rows = dict(params.items())
        doomed = ~finite_rows(rows)
        children: dict[str, Tensor] | None = None
        if step > (config.start or 0):
            doomed |= self._useless(step, rows)
            clone, split = self._chosen(rows, statistics, doomed)
            parts = [
                self.representation.children(rows, clone, "clone", generator),
                self._halves(rows, statistics, torch.cat([split, split]), generator),
            ]
            # One parameter after the other, so that children exist twice only one parameter at a time.
            children = {name: torch.cat([part.pop(name) for part in parts]) for name in params}
            doomed[split] = True
            counts.update(cloned=len(clone), split=len(split))
        counts["pruned"] = int(doomed.sum()) - counts["split"]
        del rows  # would hold the old tensors while the new ones are made
        if children is not None or counts["pruned"]:
            edit_rows(params, optimizers, keep=~doomed, append=children)
        last_reset = config.reset_opacity_stop or 0
        if config.reset_opacity_every and step % config.reset_opacity_every == 0 and step <= last_reset:
            ceiling = torch.logit(torch.tensor(2 * config.prune_opacity)).item()
            params["opacities"].data.clamp_(max=ceiling)
            if "opacities" in optimizers:
                forget_moments(optimizers["opacities"])
        statistics.update(self.empty_statistics(params["means"].shape[0], params["means"].device))
        return counts

    def _chosen(
        self, params: Parameters, statistics: dict[str, Tensor], doomed: Bool[Tensor, " n"]
    ) -> tuple[Tensor, Tensor]:
        """Gaussians to clone and to split: the largest gradients first when the budget does not hold them all."""
        urgency = self._urgency(params, statistics).masked_fill(doomed, 0.0)
        rows = torch.nonzero(urgency >= 1).squeeze(-1)
        budget = max(self.config.max_gaussians - int((~doomed).sum()), 0)
        if len(rows) > budget:
            rows = rows[torch.argsort(urgency[rows], descending=True, stable=True)[:budget]].sort().values
        large = self._lengths(params, statistics)[rows] > self.config.split_size * self.extent
        return rows[~large], rows[large]

    def _urgency(self, params: Parameters, statistics: dict[str, Tensor]) -> Float[Tensor, " n"]:
        """How much each Gaussian asks to grow: from 1 on it does."""
        return mean_over_views(statistics, "gradient_sum") / self.config.gradient_threshold

    def _lengths(self, params: Parameters, statistics: dict[str, Tensor]) -> Float[Tensor, " n"]:
        """What decides between clone and split, world units."""
        return self._sizes(params)

    def _sizes(self, params: Parameters) -> Float[Tensor, " n"]:
        """Largest standard deviation of each Gaussian in space, world units."""
        return params["scales"].exp().amax(dim=-1)

    def _halves(
        self, rows: Parameters, statistics: dict[str, Tensor], ids: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """What ``ids`` are split into."""
        return self.representation.children(rows, ids, "split", generator)

    def _useless(self, step: int, params: Parameters) -> Bool[Tensor, " n"]:
        """Gaussians that cannot matter: transparent, never alive on any frame, too large, or in front of a lens."""
        config = self.config
        useless = torch.sigmoid(params["opacities"][:, 0]) < config.prune_opacity
        useless |= never_on_a_frame(self.representation, params, self.clip)
        if config.prune_size and config.reset_opacity_every and step > max(config.reset_opacity_every, LEARNING_SIZES):
            useless |= self._sizes(params) > config.prune_size * self.extent
        if config.prune_near and self.camera_centers is not None:
            nearest = torch.full_like(params["means"][:, 0], float("inf"))
            for center in self.camera_centers.to(params["means"]):
                nearest = torch.minimum(nearest, (params["means"] - center).norm(dim=-1))
            useless |= nearest < config.prune_near * self.extent
        return useless


def mean_over_views(statistics: dict[str, Tensor], name: str) -> Float[Tensor, " n"]:
    """Mean of a per-Gaussian sum over the views that saw it."""
    return statistics[name] / statistics["view_count"].clamp_min(1)


STRATEGY = Strategy("gradient", GradientDensificationConfig)
