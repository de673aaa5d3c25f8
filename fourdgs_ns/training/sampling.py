"""Which views a training step sees: a pure function of the seed and the step, so that a resumed run samples the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int


class SameTimeSampler:
    """Samples an instant, then distinct cameras that saw it.

    Instants are visited in a new random order every round, so that each is seen equally often. Published recipes sample both
    uniformly with replacement, which leaves some instants unseen for long in short trainings.
    """

    def __init__(
        self, instants: Float[np.ndarray, " v"], groups: Int[np.ndarray, " v"], batch_size: int, seed: int
    ) -> None:
        """Args: per view its t and a number that must be equal within a batch (its image size)."""
        self.seed = seed
        self.batch_size = batch_size
        _, instant_of_view = np.unique(np.round(instants.astype(np.float64), 7), return_inverse=True)
        order = np.argsort(instant_of_view, kind="stable")
        bounds = np.searchsorted(instant_of_view[order], np.arange(instant_of_view.max() + 2))
        self.views_at = [order[a:b] for a, b in pairwise(bounds)]
        self.groups = groups
        self._visit, self._order = -1, np.zeros(0, int)

    def views(self, step: int) -> Int[np.ndarray, " b"]:
        """Views of the batch of ``step``; fewer than the batch size where an instant was seen by fewer cameras."""
        count = len(self.views_at)
        visit, position = divmod(step, count)
        if visit != self._visit:
            self._visit, self._order = visit, np.random.default_rng([self.seed, 0, visit]).permutation(count)
        instant = self._order[position]
        candidates = self.views_at[instant]
        chosen = np.random.default_rng([self.seed, 1, step]).permutation(candidates)
        chosen = chosen[self.groups[chosen] == self.groups[chosen[0]]]
        return np.sort(chosen[: self.batch_size])
