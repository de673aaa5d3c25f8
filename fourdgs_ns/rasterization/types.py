"""What comes out of :func:`fourdgs_ns.rasterization.rasterize`, whichever backend renders."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass
class Rendering:
    """Images of one slice from several cameras, and what densification wants to know about each Gaussian."""

    features: Float[Tensor, "c h w d"]
    """Blended features over the background, not clamped."""
    alphas: Float[Tensor, "c h w 1"]
    """Accumulated opacity in [0, 1]."""
    depths: Float[Tensor, "c h w 1"] | None
    """Expected z in the camera (accumulated depth over alpha), world units; 0 where there is nothing. None unless asked for."""
    ids: Int[Tensor, " m"]
    """Canonical row of each rendered Gaussian, as in the slice."""
    radii: Int[Tensor, "c m"]
    """Extent of each Gaussian on the screen in pixels; 0 where a camera does not see it."""
    means2d: Float[Tensor, "c _m 2"]
    """Projected centres in pixels, first those of ``ids``. After backward, ``means2d.grad`` holds the screen-space gradient."""

    def first(self, count: int) -> Rendering:
        """The same images with the first ``count`` Gaussians only, where the others are in none."""
        if count == len(self.ids):
            return self
        return replace(self, ids=self.ids[:count], radii=self.radii[:, :count])

    def screen_gradients(self) -> Float[Tensor, "c m 2"]:
        """Gradient of the loss with respect to ``means2d`` in pixels; zeros for a rendering without backward."""
        gradient = self.means2d.grad
        return torch.zeros_like(self.means2d) if gradient is None else gradient[:, : len(self.ids)]
