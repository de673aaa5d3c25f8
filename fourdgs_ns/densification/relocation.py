"""Relocation (FreeTimeGS, section 3.3): Gaussians that have died move to where the image needs them; the count is bounded.

A source of n copies, itself included, is replaced so that the image does not jump: opacity and scale follow 3DGS-MCMC
(Kheradmand et al., 2024, eq. 9), and the representation scatters the copies over the source's own extent in space and time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.densification.base import Densification, DensificationConfig, Strategy
from fourdgs_ns.densification.rows import edit_rows, forget_moments, never_on_a_frame
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, finite_rows

FILLED_BY = 0.7
"""Share of the events by which the budget shall be reached: what comes later has no time to settle."""
MOST_COPIES = 32
"""Copies of one source that the formula tells apart; its binomials stay exact in float64."""


@dataclass
class RelocationConfig(DensificationConfig):
    """When Gaussians move. By default until five sixths of the training (25,000 of 30,000 steps)."""

    max_gaussians: int = 500_000
    """The budget. 0.5 million is where published quality levels off, 1 million its peak; 0.1 million is what a CPU can train in
    minutes, and its default."""
    growth: float = 0.2
    """Least share by which the count grows at each event until the budget is reached, so that clouds of few points fill up; a
    short training grows faster, up to twofold. 0 keeps the initial count."""
    dead_opacity: float = 0.005
    """Gaussians whose peak opacity is at most this move."""
    gradient_share: float = 0.5
    """Weight of the screen-space gradient in the score of sources; opacity has the rest. Both are normalised to sum 1."""

    def setup(self, representation: Representation, clip: Clip, extent: float) -> Relocation:
        return Relocation(self, representation, clip, extent)

    def default_stop(self, steps: int) -> int:
        return steps * 5 // 6


class Relocation(Densification):
    """Applies :class:`RelocationConfig`."""

    def __init__(self, config: RelocationConfig, representation: Representation, clip: Clip, extent: float) -> None:
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
        """Counts of ``relocated`` and ``added`` Gaussians; see :meth:`Densification.step`."""
        config = self.config
        if step <= (config.start or 0) or step > self.last_step or step % config.every != 0:
            return None
        rows = dict(params.items())
        opacities = torch.sigmoid(params["opacities"][:, 0])
        dead = (
            (opacities <= config.dead_opacity)
            | ~finite_rows(rows)
            | never_on_a_frame(self.representation, rows, self.clip)
        )
        n = len(dead)
        added = self._growth(step, n)
        slots = torch.nonzero(dead).squeeze(-1)
        scores = self._scores(statistics, opacities, dead)
        wanted = len(slots) + added
        if wanted == 0 or not bool((scores > 0).any()):
            return {"relocated": 0, "added": 0}
        sources = sample_in_proportion(scores, wanted, generator)
        if added:
            # The new Gaussians' values are written below, together with those of the moved ones.
            copies = {name: value[sources[len(slots) :]] for name, value in rows.items()}
            del rows  # would hold the old tensors while the new ones are made
            edit_rows(params, optimizers, append=copies)
            slots = torch.cat([slots, torch.arange(n, n + added, device=slots.device)])
        self._replace(params, optimizers, sources, slots, generator)
        statistics.update(self.empty_statistics(params["means"].shape[0], params["means"].device))
        return {"relocated": wanted - added, "added": added}

    def _growth(self, step: int, n: int) -> int:
        """How many Gaussians an event adds to ``n``: by equal shares to the budget at :data:`FILLED_BY`, at least ``growth``."""
        config = self.config
        if not config.growth or n >= config.max_gaussians:
            return 0
        events = max((FILLED_BY * self.last_step - step) // config.every, 1.0)
        share = max(config.growth, min((config.max_gaussians / n) ** (1 / events) - 1, 1.0))
        return min(int(share * n), config.max_gaussians - n)

    def _scores(
        self, statistics: dict[str, Tensor], opacities: Float[Tensor, " n"], dead: Bool[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """How much each living Gaussian deserves copies: s = a gradient / sum(gradients) + (1 - a) opacity / sum(opacities)."""
        share = self.config.gradient_share
        gradients = statistics["gradient_sum"] / statistics["view_count"].clamp_min(1)
        gradients, opacities = gradients.masked_fill(dead, 0.0), opacities.masked_fill(dead, 0.0)
        tiny = torch.finfo(opacities.dtype).tiny
        return share * gradients / gradients.sum().clamp_min(tiny) + (
            1 - share
        ) * opacities / opacities.sum().clamp_min(tiny)

    def _replace(
        self,
        params: nn.ParameterDict,
        optimizers: Mapping[str, Optimizer],
        sources: Int[Tensor, " k"],
        slots: Int[Tensor, " k"],
        generator: torch.Generator,
    ) -> None:
        """Fill ``slots`` with copies of ``sources``; every source becomes one more copy of itself."""
        unique, counts = torch.unique(sources, return_counts=True)
        copies = torch.zeros(params["means"].shape[0], dtype=torch.long, device=sources.device)
        copies[unique] = counts + 1
        parents, targets = torch.cat([sources, unique]), torch.cat([slots, unique])
        children = self.representation.children(dict(params.items()), parents, "relocate", generator)
        opacities, shrink = divided(torch.sigmoid(children["opacities"][:, 0]), copies[parents])
        floor = self.config.dead_opacity
        children["opacities"] = torch.logit(opacities.clamp(floor, 1 - 1e-6))[:, None]
        children["scales"] += shrink.log()[:, None]
        for name, value in params.items():
            value.data[targets] = children[name].to(value)
            if name in optimizers:
                forget_moments(optimizers[name], targets)


def sample_in_proportion(scores: Float[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, " k"]:
    """``count`` Gaussians sampled with replacement, with probability proportional to ``scores``.

    By inverting the cumulative sum, because torch.multinomial takes at most 2^24 rows. float64, so that none of a million is
    lost to rounding.
    """
    cumulative = scores.double().cumsum(0)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).to(scores.device) * cumulative[-1]
    return torch.searchsorted(cumulative, uniform, right=True).clamp_max(len(scores) - 1)


def divided(
    opacities: Float[Tensor, " k"], copies: Int[Tensor, " k"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Opacity of each of ``copies`` coinciding Gaussians that replace one of ``opacities``, and the factor of their scales.

    o' = 1 - (1 - o)^(1/n), and the scales change by o / sum_{j=1..n} C(n, j) (-1)^(j-1) o'^j / sqrt(j): the inner sums of the
    published double sum are binomial coefficients of the next row.
    """
    n = copies.clamp(1, MOST_COPIES).double()
    o = opacities.double().clamp(1e-6, 1 - 1e-6)
    each = 1 - (1 - o) ** (1 / n)
    total, power, binomial = torch.zeros_like(o), torch.ones_like(o), torch.ones_like(o)
    for j in range(1, int(n.max()) + 1):
        binomial = binomial * (n - j + 1).clamp_min(0) / j
        power = power * each
        total += binomial * power * (-1) ** (j - 1) / math.sqrt(j)
    return each.to(opacities), (o / total).to(opacities)


STRATEGY = Strategy("relocation", RelocationConfig)
