"""SpacetimeGaussian (Li et al., CVPR 2024): cubic motion, linear rotation rate, a bump of opacity in time.

With dt = t - center (and dt' the same value without gradient):

    weight(t)   = exp(-(dt / s)^2)                         s = exp(log_duration); no factor 1/2
    opacity(t)  = sigmoid(opacity) * weight(t)             the only path by which center and s learn
    mean(t)     = mean + m1 dt' + m2 dt'^2 + m3 dt'^3
    rotation(t) = normalize(quat + omega dt')
    features(t) = rgb (lite) | [base(3), direction(3), dt' slope(3)] (full, decoded per pixel by 90 shared weights)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fourdgs_ns.geometry.rotations import identity_quats
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.kernels.alive import AliveMarks
from fourdgs_ns.representation.base import ParameterSpec, Representation, RepresentationConfig
from fourdgs_ns.representation.method import Method
from fourdgs_ns.representation.parts.moving import DECODER_LOSS, Loss, MovingGaussians
from fourdgs_ns.representation.parts.spherical_harmonics import sh_from_rgb
from fourdgs_ns.representation.types import (
    ALPHA_THRESHOLD,
    Clip,
    GaussiansAtTime,
    Parameters,
    PointsOverTime,
    gather,
    uses_kernels,
)


@dataclass
class SpacetimeConfig(RepresentationConfig):
    """How a SpacetimeGaussian looks and starts."""

    method: ClassVar[str] = "spacetime-gaussian"

    variant: Literal["lite", "full"] = "lite"
    """lite: one RGB per Gaussian, fastest, and what web players read. full: 9 blended features and a small decoder, which
    gives view- and time-dependent colour (about +0.5 dB on N3DV at half the rendering speed)."""
    decoder_activation: Literal["sigmoid", "clamp", "none"] = "sigmoid"
    """full only: what bounds the decoder's output. sigmoid as published for N3DV; clamp keeps colours linear and starts
    closer to the images, as published for Technicolor."""
    initial_duration: float = 0.2
    """Temporal scale s at the start, as a share of the clip. Published: 1 for N3DV, where little moves; 0.02 to 0.14
    elsewhere, with points from every frame. It should span a few key frames of the initial cloud; what is static grows
    longer by itself."""
    initial_opacity: float = 0.1
    """Opacity of every Gaussian at the start, and of those that guided sampling adds."""
    bounded_colors: bool = True
    """lite only: colours stay in [0, 1] in training. Web players know no others; left to themselves half of the sample's
    Gaussians take colours beyond."""

    def setup(self) -> SpacetimeRepresentation:
        return SpacetimeRepresentation(self)


def lite_config(colors: Float[Tensor, "n 3"]) -> SpacetimeConfig:
    """The lite variant for Gaussians from elsewhere: their colours are bounded if they are already."""
    return SpacetimeConfig(variant="lite", bounded_colors=bool(((colors >= -1e-3) & (colors <= 1 + 1e-3)).all()))


class SpacetimeRepresentation(Representation):
    """SpacetimeGaussian, both variants, as functions of canonical parameters."""

    def __init__(self, config: SpacetimeConfig) -> None:
        self.config = config
        self.variant: str = config.variant
        self.full = config.variant == "full"
        self.parameters = {
            "means": ParameterSpec((3,), 1.6e-4, final_ratio=0.01, spatial=True),
            "scales": ParameterSpec((3,), 5e-3),
            "quats": ParameterSpec((4,), 1e-3),
            "opacities": ParameterSpec((1,), 5e-2),
            "features_dc": ParameterSpec((6,) if self.full else (3,), 2.5e-3),
            "motion": ParameterSpec((9,), 2.8e-4, spatial=True),
            "omegas": ParameterSpec((4,), 1e-4),
            "temporal_centers": ParameterSpec((1,), 1e-4),
            "log_durations": ParameterSpec((1,), 3e-2),
        }
        if self.full:
            self.parameters["features_time"] = ParameterSpec((3,), 1e-3)

    @torch.no_grad()
    def confine(self, params: Parameters) -> None:
        """Colours of the lite variant, where they are bounded."""
        if self.config.bounded_colors and not self.full:
            params["features_dc"].clamp_(0.0, 1.0)

    def initialize(self, points: PointsOverTime, clip: Clip) -> dict[str, Tensor]:
        """One row per point: round, at the point's time, with its velocity; static points live over the whole clip."""
        n = points.positions.shape[0]
        duration = torch.full((n,), self.config.initial_duration)
        duration[points.start_static()] = max(self.config.initial_duration, 1.0)
        colors = points.colors
        if self.full and self.config.decoder_activation == "sigmoid":
            # The decoder ends in a sigmoid: starting from logits shows the point's own colour at step 0.
            colors = torch.logit(colors.clamp(0.02, 0.98))
        rows = {
            "means": points.positions.clone(),
            "scales": points.spacing.log().clamp(-10.0, 1.0)[:, None].repeat(1, 3),
            "quats": identity_quats(n),
            "opacities": torch.full((n, 1), math.log(self.config.initial_opacity / (1 - self.config.initial_opacity))),
            "features_dc": torch.cat([colors, torch.zeros_like(colors)], dim=-1) if self.full else colors.clone(),
            "motion": torch.cat([points.start_velocities(), torch.zeros(n, 6)], dim=-1),
            "omegas": torch.zeros(n, 4),
            "temporal_centers": points.times[:, None].clone(),
            "log_durations": duration.log()[:, None],
        }
        if self.full:
            rows["features_time"] = torch.zeros(n, 3)
        return rows

    def lifespan(self, params: Parameters) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """[center - r, center + r] with r = s sqrt(ln(255 sigmoid(o))); start > stop for Gaussians that are never visible."""
        center = params["temporal_centers"][:, 0].detach()
        visible = torch.log(torch.sigmoid(params["opacities"][:, 0].detach()) / ALPHA_THRESHOLD)
        reach = torch.exp(params["log_durations"][:, 0].detach()) * visible.clamp_min(0).sqrt()
        # A row whose opacity never reaches the threshold gets an empty lifespan.
        reach = torch.where(visible >= 0, reach, -torch.ones_like(reach))
        return center - reach, center + reach

    def fused(self, params: Parameters, t: float | Tensor) -> bool:
        return uses_kernels(params, t)

    def marks(self, params: Parameters, t: float | Tensor) -> AliveMarks:
        from fourdgs_ns.kernels.slicing import mark_alive

        return mark_alive(t, params["opacities"], params["temporal_centers"], params["log_durations"], 1.0)

    def at(
        self,
        params: Parameters,
        t: float | Tensor,
        ids: Int[Tensor, " m"],
        seen_from: Float[Tensor, "c 3"] | None = None,
    ) -> GaussiansAtTime:
        if self.fused(params, t):
            from fourdgs_ns.kernels.spacetime import slice_rows

            means, velocities, scales, quats, features, opacities, weights = slice_rows(t, ids, dict(params))
            return GaussiansAtTime(ids, means, quats, scales, opacities, features, velocities, weights)
        rows = gather(params, ids)
        dt = t - rows["temporal_centers"]
        weight = torch.exp(-((dt / torch.exp(rows["log_durations"])) ** 2))
        # The centre learns by the weight alone; t itself, where it is learned, by the motion too.
        dt = t - rows["temporal_centers"].detach()
        m1, m2, m3 = rows["motion"].split(3, dim=-1)
        features = rows["features_dc"]
        if self.full:
            features = torch.cat([features, dt * rows["features_time"]], dim=-1)
        return GaussiansAtTime(
            ids=ids,
            means=rows["means"] + dt * (m1 + dt * (m2 + dt * m3)),
            quats=nn.functional.normalize(rows["quats"] + dt * rows["omegas"], dim=-1),
            scales=torch.exp(rows["scales"]),
            opacities=(torch.sigmoid(rows["opacities"]) * weight).squeeze(-1),
            features=features,
            velocities=(m1 + dt * (2 * m2 + 3 * dt * m3)).detach(),
            weights=weight.squeeze(-1).detach(),
        )

    def move_center(self, rows: dict[str, Tensor], shift: Float[Tensor, "n 1"]) -> None:
        """Change the temporal centres by ``shift`` in place without changing any path or rotation.

        The published code gives a child a random temporal centre in [0, 1) and keeps the polynomial, which shifts its whole
        path in time. Here the polynomial is re-expanded about the new centre, so that the child passes where its parent does.
        """
        m1, m2, m3 = rows["motion"][:, 0:3], rows["motion"][:, 3:6], rows["motion"][:, 6:9]
        rows["means"] = rows["means"] + shift * (m1 + shift * (m2 + shift * m3))
        first = m1 + shift * (2 * m2 + 3 * shift * m3)
        rows["motion"] = torch.cat([first, m2 + 3 * shift * m3, m3], dim=-1)
        rows["quats"] = rows["quats"] + shift * rows["omegas"]
        rows["temporal_centers"] = rows["temporal_centers"] + shift

    def make_decoder(self) -> FeatureDecoder | None:
        return FeatureDecoder(self.config.decoder_activation) if self.full else None

    def _rgb(self, features: Float[Tensor, "m f"]) -> Float[Tensor, "m 3"]:
        """Colours of rows or of a slice, without the decoder's part."""
        base = features[:, :3]
        return torch.sigmoid(base) if self.full and self.config.decoder_activation == "sigmoid" else base

    def spherical_harmonics(self, gaussians: GaussiansAtTime) -> Float[Tensor, "m 1 3"]:
        """Degree 0: exact for lite; the base colour without the decoder's part for full."""
        return sh_from_rgb(self._rgb(gaussians.features).clamp(0.0, 1.0))[:, None]

    def moving(self, params: Parameters) -> tuple[MovingGaussians, list[Loss]]:
        """The lite variant is such Gaussians; of the full one the decoder is lost."""
        zeros = torch.zeros_like(params["opacities"][:, 0])
        moving = MovingGaussians(
            ids=torch.arange(len(zeros)),
            means=params["means"],
            motion=params["motion"].reshape(-1, 3, 3),
            quats=params["quats"],
            omegas=params["omegas"],
            log_scales=params["scales"],
            opacities=params["opacities"][:, 0],
            centers=params["temporal_centers"][:, 0],
            log_durations=params["log_durations"][:, 0],
            plateaus=zeros,
            gates=zeros,
            colors=self._rgb(params["features_dc"]),
        )
        return moving, [DECODER_LOSS] if self.full else []

    def in_capture(self, params: Parameters, world: WorldFromCapture) -> dict[str, Tensor] | None:
        """The lite variant; a decoder takes rays of the world it was trained in."""
        if self.full:
            return None
        means, quats, scales = world.gaussians_to_capture(params["means"], params["quats"], params["scales"])
        moved = {"means": means, "quats": quats, "scales": scales}
        moved["motion"] = world.vectors_to_capture(params["motion"].reshape(-1, 3, 3)).reshape(-1, 9)
        moved["omegas"] = world.quats_to_capture(params["omegas"])
        return {**params, **moved}


class FeatureDecoder(nn.Module):
    """Per-pixel decoder of the full variant: rgb = act(base + W2 relu(W1 [direction, time, ray]))), 90 weights, no bias."""

    def __init__(self, activation: Literal["sigmoid", "clamp", "none"]) -> None:
        super().__init__()
        self.activation = activation
        self.hidden = nn.Linear(12, 6, bias=False)
        self.output = nn.Linear(6, 3, bias=False)

    def forward(self, features: Float[Tensor, "c h w 9"], rays: Float[Tensor, "c h w 6"]) -> Float[Tensor, "c h w 3"]:
        """Args: blended features; rays = camera centre and unit direction of each pixel in the world. Returns RGB."""
        base, rest = features[..., :3], features[..., 3:]
        color = base + self.output(torch.relu(self.hidden(torch.cat([rest, rays], dim=-1))))
        if self.activation == "sigmoid":
            return torch.sigmoid(color)
        return color.clamp(0.0, 1.0) if self.activation == "clamp" and not self.training else color


METHOD = Method(
    name="spacetime-gaussian",
    description="SpacetimeGaussian (CVPR 2024): cubic motion, temporal opacity; lite (RGB) and full (9 features + decoder).",
    variants={"lite": SpacetimeConfig(), "full": SpacetimeConfig(variant="full")},
    densification="gradient",
    model_options={"opacity_regularization": 0.003},
)
