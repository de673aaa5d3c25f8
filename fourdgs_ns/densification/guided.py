"""Guided sampling (SpacetimeGaussian, section 4.3): new Gaussians along the rays of badly reconstructed pixels.

Meant for regions that triangulation misses altogether, such as a far textureless background. The two worst training cameras
get at most one dose each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from fourdgs_ns.densification.rows import edit_rows
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, PointsOverTime
from fourdgs_ns.training.losses import ssim

PATCH = 16
MIN_STEPS_BETWEEN = 100


@dataclass
class GuidedSamplingConfig:
    """When and where guided sampling adds Gaussians."""

    enabled: bool = False
    """Published for N3DV's far background; its authors advise against it for rigs that look inward."""
    start: int = 1_600
    """Step from which each training camera's score is recorded once."""
    record_below: float = 0.91
    """Cameras whose recorded SSIM reaches this need no help; with fewer than two others nothing is added."""
    act_below: float = 0.88
    """SSIM under which a chosen camera still gets its dose when its turn comes."""
    error_quantile: float = 0.6
    """A pixel counts as bad when its error is above this quantile of its image."""
    patch_share: float = 0.85
    """A 16 x 16 patch is chosen when more than this share of it is bad."""
    depth_factors: tuple[float, ...] = (0.7, 7.5)
    """New points lie on the ray at these multiples of the camera's far scene depth."""
    max_points: int = 50_000
    """Most points of one dose; the published code has no bound."""


class GuidedSampling:
    """Watches training images, then adds points for the two worst cameras."""

    def __init__(self, config: GuidedSamplingConfig, representation: Representation, clip: Clip) -> None:
        self.config = config
        self.representation = representation
        self.clip = clip
        self.recorded: dict[int, float] = {}
        """SSIM of each training camera the first time it was seen after ``start``."""
        self.chosen: list[int] | None = None
        """Cameras still waiting for their dose; None until all cameras were recorded."""
        self.last_step = -MIN_STEPS_BETWEEN
        self.pending: dict[str, Tensor] | None = None

    def state(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {"recorded": dict(self.recorded), "chosen": self.chosen, "last_step": self.last_step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state`."""
        self.recorded, self.chosen = dict(state["recorded"]), state["chosen"]
        self.last_step = int(state["last_step"])

    @torch.no_grad()
    def observe(
        self,
        step: int,
        rgb: Float[Tensor, "b h w 3"],
        truth: Float[Tensor, "b h w 3"],
        camera_ids: list[int],
        num_cameras: int,
        cameras: PinholeCameras,
        means: Float[Tensor, "m 3"],
        generator: torch.Generator,
    ) -> None:
        """Look at one training batch: record scores first, later prepare the points of a camera whose turn it is.

        Args: images and truth of the batch, its training cameras, how many there are, and the active means at its t.
        """
        if not self.config.enabled or step < self.config.start or self.chosen == []:
            return
        if self.chosen is None:
            for k, camera in enumerate(camera_ids):
                if camera not in self.recorded:
                    self.recorded[camera] = float(ssim(rgb[k : k + 1], truth[k : k + 1]))
            if len(self.recorded) == num_cameras:
                bad = sorted((score, c) for c, score in self.recorded.items() if score < self.config.record_below)
                self.chosen = [c for _, c in bad[:2]] if len(bad) >= 2 else []
            return
        if step - self.last_step <= MIN_STEPS_BETWEEN:
            return
        for k, camera in enumerate(camera_ids):
            if camera in self.chosen:
                self.chosen.remove(camera)
                self.last_step = step
                if float(ssim(rgb[k : k + 1], truth[k : k + 1])) < self.config.act_below:
                    pixels = bad_pixels(rgb[k], truth[k], self.config)
                    self.pending = self._points(pixels, truth[k], cameras, k, means, generator)
                return

    def step(self, params: nn.ParameterDict, optimizers: Mapping[str, Optimizer]) -> int:
        """Append what :meth:`observe` prepared; returns the number of new Gaussians."""
        if self.pending is None:
            return 0
        edit_rows(params, optimizers, append=self.pending)
        added, self.pending = self.pending["means"].shape[0], None
        return added

    def _points(
        self,
        pixels: Bool[Tensor, "h w"],
        truth: Float[Tensor, "h w 3"],
        cameras: PinholeCameras,
        k: int,
        means: Float[Tensor, "m 3"],
        generator: torch.Generator,
    ) -> dict[str, Tensor] | None:
        factors = self.config.depth_factors
        rows, columns = torch.nonzero(pixels, as_tuple=True)
        limit = self.config.max_points // max(len(factors), 1)
        if len(rows) > limit:
            picks = torch.randperm(len(rows), generator=generator)[:limit].to(rows.device)
            rows, columns = rows[picks], columns[picks]
        far = far_depth(cameras, k, means)
        if len(rows) == 0 or far is None:
            return None
        matrix, pose = cameras.intrinsics[k], torch.linalg.inv(cameras.camera_from_world[k])
        ray = torch.stack(
            [
                (columns + 0.5 - matrix[0, 2]) / matrix[0, 0],
                (rows + 0.5 - matrix[1, 2]) / matrix[1, 1],
                torch.ones_like(rows, dtype=truth.dtype),
            ],
            dim=-1,
        )
        positions, spacing = [], []
        for factor in factors:
            jitter = 1 + 0.05 * (2 * torch.rand(len(rows), generator=generator).to(truth) - 1)
            depth = far * factor * jitter
            positions.append((depth[:, None] * ray) @ pose[:3, :3].T + pose[:3, 3])
            # A new Gaussian is about as wide as one pixel at its depth.
            spacing.append(depth / matrix[0, 0])
        n = len(rows) * len(factors)
        points = PointsOverTime(
            positions=torch.cat(positions).cpu(),
            colors=truth[rows, columns].repeat(len(factors), 1).cpu(),
            times=torch.rand(n, generator=generator),
            spacing=torch.cat(spacing).cpu(),
        )
        return self.representation.initialize(points, self.clip)


def far_depth(cameras: PinholeCameras, k: int, means: Float[Tensor, "m 3"]) -> float | None:
    """Depth behind which only 2 % of the Gaussians that camera ``k`` sees lie; None when it sees none."""
    view, matrix = cameras.camera_from_world[k], cameras.intrinsics[k]
    local = means @ view[:3, :3].T + view[:3, 3]
    z = local[:, 2]
    u = local[:, 0] / z * matrix[0, 0] + matrix[0, 2]
    v = local[:, 1] / z * matrix[1, 1] + matrix[1, 2]
    inside = (z > cameras.near) & (u >= 0) & (u < cameras.width) & (v >= 0) & (v < cameras.height)
    if not bool(inside.any()):
        return None
    return float(z[inside].sort().values[int(0.98 * (int(inside.sum()) - 1))])


def bad_pixels(
    rgb: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], config: GuidedSamplingConfig
) -> Bool[Tensor, "h w"]:
    """Pixels of patches that are bad nearly everywhere, away from the image's border.

    The error compares brightness-normalised images, so that an exposure difference alone marks nothing.
    """
    error = (rgb / (rgb.mean() + 0.01) - truth / (truth.mean() + 0.01)).abs().sum(dim=-1)
    height, width = error.shape
    ranked = error.flatten().sort().values
    bad = error > ranked[int(config.error_quantile * (ranked.numel() - 1))]
    padded = functional.pad(bad[None, None].float(), (0, -width % PATCH, 0, -height % PATCH))
    share = functional.avg_pool2d(padded, PATCH)
    chosen = functional.interpolate((share > config.patch_share).float(), scale_factor=PATCH)[0, 0, :height, :width] > 0
    # As published, all pixels of a patch but those in even rows and even columns.
    chosen[::2, ::2] = False
    border_y, border_x = height // 10, width // 10
    inner = torch.zeros_like(chosen)
    inner[border_y : height - border_y, border_x : width - border_x] = True
    return chosen & inner
