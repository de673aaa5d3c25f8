"""Growth where the picture's gradient is large, as 3DGS does, with time taken into account.

What differs from the published SpacetimeGaussian code, and why, is listed in the README under "Method notes".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.densification.rows import edit_rows, forget_moments
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.base import Clip, Representation, finite_rows


@dataclass
class DensificationConfig:
    """When Gaussians are added and removed."""

    start: int = 500
    """First step after which Gaussians are added."""
    stop: Optional[int] = None  # noqa: UP045  (tyro on Python 3.10)
    """Last step at which Gaussians are added or removed. Default: half of the training. Lower it when the count grows without
    the score."""
    every: int = 100
    """Steps between two such events."""
    gradient_threshold: float = 2e-4
    """Mean screen-space gradient (normalised device units) above which a Gaussian is cloned or split. Lower it for more detail
    and more Gaussians."""
    split_size: float = 0.01
    """Gaussians larger than this share of the scene's extent are split, smaller ones cloned."""
    prune_opacity: float = 0.005
    """Gaussians whose peak opacity falls below this are removed."""
    prune_size: float = 0.1
    """Gaussians larger than this share of the scene's extent are removed after the first opacity reset. 0 keeps them all, which
    suits scenes with a large smooth background."""
    prune_near: float = 0.0
    """Gaussians nearer to a training camera than this share of the scene's extent are removed: floaters in front of the lens.
    0.1 to 0.3 helps rigs that look inward from a distance; keep 0 when the subject may come close."""
    reset_opacity_every: int = 3_000
    """Steps between two resets of all opacities to 0.01, which lets unneeded Gaussians die. 0 turns it off."""
    reset_opacity_stop: int = 6_000
    """Last step of such a reset."""
    max_gaussians: int = 1_000_000
    """No Gaussian is added beyond this count."""


class GradientDensification:
    """Gathers statistics of the active Gaussians by row id and applies :class:`DensificationConfig`."""

    def __init__(self, config: DensificationConfig, representation: Representation, clip: Clip, extent: float) -> None:
        self.config = config
        self.representation = representation
        self.clip = clip
        self.extent = extent
        self.last_step = 0 if config.stop is None else config.stop
        """Last step at which anything is due; the trainer resolves the default, which depends on the training's length."""
        self.camera_centers: Float[Tensor, "k 3"] | None = None
        """Centres of the training cameras, for ``prune_near``."""

    @staticmethod
    def empty_statistics(n: int, device: torch.device | str) -> dict[str, Tensor]:
        """Per-row sums that :meth:`observe` fills: screen-space gradient and number of views."""
        return {"gradient_sum": torch.zeros(n, device=device), "view_count": torch.zeros(n, device=device)}

    @torch.no_grad()
    def observe(self, statistics: dict[str, Tensor], rendering: Rendering) -> None:
        """Add one rendering after its backward pass. Only Gaussians alive at its t are in it, so nobody else is diluted."""
        cameras, height, width = rendering.features.shape[:3]
        # Pixels -> normalised device units; the loss is a mean over the cameras of the batch, undone here.
        scale = torch.tensor([width / 2.0, height / 2.0], device=rendering.means2d.device) * cameras
        norms = (rendering.screen_gradients() * scale).norm(dim=-1)
        seen = rendering.radii > 0
        statistics["gradient_sum"].index_add_(
            0, rendering.ids, torch.where(seen, norms, torch.zeros_like(norms)).sum(0)
        )
        statistics["view_count"].index_add_(0, rendering.ids, seen.sum(0).to(norms.dtype))

    @torch.no_grad()
    def step(
        self,
        step: int,
        params: nn.ParameterDict,
        optimizers: Mapping[str, Optimizer],
        statistics: dict[str, Tensor],
        generator: torch.Generator,
    ) -> dict[str, int] | None:
        """What is due after ``step`` optimiser steps; returns counts of what was done, or None when nothing was due.

        ``statistics`` is emptied (its tensors are replaced) whenever rows change.
        """
        config = self.config
        if step > self.last_step or step % config.every != 0:
            return None
        counts = {"cloned": 0, "split": 0, "pruned": 0}
        # Nothing has to grow or go before `start`, but a row that became non-finite has to go at once.
        rows = dict(params.items())
        doomed = ~finite_rows(rows)
        children: dict[str, Tensor] | None = None
        if step > config.start:
            doomed |= self._useless(step, params)
            clone, split = self._chosen(params, statistics, doomed)
            parts = [
                self.representation.children(rows, clone, "clone", generator),
                self.representation.children(rows, torch.cat([split, split]), "split", generator),
            ]
            children = {name: torch.cat([part[name] for part in parts]) for name in params}
            doomed[split] = True
            counts.update(cloned=len(clone), split=len(split))
        counts["pruned"] = int(doomed.sum()) - counts["split"]
        if children is not None or counts["pruned"]:
            edit_rows(params, optimizers, keep=~doomed, append=children)
        if config.reset_opacity_every and step % config.reset_opacity_every == 0 and step <= config.reset_opacity_stop:
            ceiling = torch.logit(torch.tensor(2 * config.prune_opacity)).item()
            params["opacities"].data.clamp_(max=ceiling)
            if "opacities" in optimizers:
                forget_moments(optimizers["opacities"])
        statistics.update(self.empty_statistics(params["means"].shape[0], params["means"].device))
        return counts

    def _chosen(
        self, params: nn.ParameterDict, statistics: dict[str, Tensor], doomed: Bool[Tensor, " n"]
    ) -> tuple[Tensor, Tensor]:
        """Rows to clone and rows to split: the largest gradients first when the budget does not hold them all."""
        gradient = statistics["gradient_sum"] / statistics["view_count"].clamp_min(1)
        gradient = torch.where(doomed, torch.zeros_like(gradient), gradient)
        rows = torch.nonzero(gradient >= self.config.gradient_threshold).squeeze(-1)
        budget = max(self.config.max_gaussians - int((~doomed).sum()), 0)
        if len(rows) > budget:
            rows = rows[torch.argsort(gradient[rows], descending=True, stable=True)[:budget]].sort().values
        large = params["scales"][rows].exp().amax(dim=-1) > self.config.split_size * self.extent
        return rows[~large], rows[large]

    def _useless(self, step: int, params: nn.ParameterDict) -> Bool[Tensor, " n"]:
        """Rows that cannot matter: transparent, never alive on any frame, too large, or in front of a lens."""
        config = self.config
        useless = torch.sigmoid(params["opacities"][:, 0]) < config.prune_opacity
        start, stop = self.representation.lifespan(dict(params.items()))
        interval = self.clip.frame_interval
        first_frame, last_frame = (
            torch.ceil(start.clamp_min(0.0) / interval),
            torch.floor(stop.clamp_max(1.0) / interval),
        )
        # A lifespan between two frames, or outside the clip, is never looked at (1e-4: rounding of frame times).
        useless |= first_frame > last_frame + 1e-4
        if config.prune_size and config.reset_opacity_every and step > config.reset_opacity_every:
            useless |= params["scales"].exp().amax(dim=-1) > config.prune_size * self.extent
        if config.prune_near and self.camera_centers is not None:
            nearest = torch.full_like(params["means"][:, 0], float("inf"))
            for center in self.camera_centers.to(params["means"]):
                nearest = torch.minimum(nearest, (params["means"] - center).norm(dim=-1))
            useless |= nearest < config.prune_near * self.extent
        return useless
