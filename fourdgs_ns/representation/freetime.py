"""FreeTimeGS (Wang et al., CVPR 2025): Gaussians anywhere in space and time that move in straight lines and fade.

With dt = t - center:

    mean(t)    = mean + velocity dt                                   (eq. 1)
    weight(t)  = exp(-(dt / s)^2 / 2), s = exp(log_duration)          (eq. 4; unnormalised, 1 at its peak)
    opacity(t) = sigmoid(opacity) weight(t)                           (eq. 3)
    colour     = spherical harmonics for the direction from the camera to mean(t)   (eq. 2)

Scale and rotation are constant. Everything is measured in t over the clip; the published learning rates are per second and are
converted by the trainer.
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
from fourdgs_ns.representation.parts import windows
from fourdgs_ns.representation.parts.moving import Loss, MovingGaussians
from fourdgs_ns.representation.parts.spherical_harmonics import harmonics_to_capture, num_harmonics, sh_from_rgb
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, Parameters, PointsOverTime, gather, uses_kernels


@dataclass
class FreeTimeConfig(RepresentationConfig):
    """How a FreeTime Gaussian looks and starts."""

    method: ClassVar[str] = "freetime"

    sh_degree: Literal[0, 1, 2, 3] = 3
    """Degree of view-dependent colour. 0 makes files a quarter of the size."""
    sh_every: int = 1_000
    """Steps after which the degree grows by one, from 0."""
    initial_opacity: float = 0.5
    """Opacity of every Gaussian at the start. 0.5 suits dense clouds, 0.1 sparse ones."""
    initial_scale: float = 0.5
    """Standard deviation at the start, as a share of the distance to a point's neighbours: 0.1 to 0.3 for dense clouds, up to 1
    for sparse ones."""
    initial_duration_seconds: float = 0.1
    """Temporal standard deviation at the start; at least the distance of two key frames of the initial cloud."""
    static_duration: float = 3.0
    """Temporal standard deviation, in lengths of the clip, of points that were found not to move."""
    window: windows.WindowKind = "gaussian"
    """gaussian as published. gated: Gaussians may become permanent (FreeTimeGS++). flat-top: fully visible for a while, and
    long-lived Gaussians move slowly (SharpTimeGS)."""

    def setup(self) -> FreeTimeRepresentation:
        return FreeTimeRepresentation(self)


class FreeTimeRepresentation(Representation):
    """FreeTimeGS as functions of canonical parameters."""

    def __init__(self, config: FreeTimeConfig) -> None:
        self.config = config
        self.variant = f"SH degree {config.sh_degree}, {config.window} window"
        self.sh_degree: int = config.sh_degree
        self.active_sh_degree: int = config.sh_degree
        self.parameters = {
            "means": ParameterSpec((3,), 1.6e-4, final_ratio=0.01, spatial=True),
            "velocities": ParameterSpec((3,), 1.6e-3, final_ratio=0.01, spatial=True, per_second=-1),
            "scales": ParameterSpec((3,), 5e-3),
            "quats": ParameterSpec((4,), 1e-3),
            "opacities": ParameterSpec((1,), 5e-2),
            "features_dc": ParameterSpec((3,), 2.5e-3),
            "temporal_centers": ParameterSpec((1,), 1.6e-4, per_second=1),
            "log_durations": ParameterSpec((1,), 5e-3),
        }
        if config.sh_degree:
            self.parameters["features_rest"] = ParameterSpec((num_harmonics(config.sh_degree) - 1, 3), 1.25e-4)
        if config.window != "gaussian":
            self.parameters["window_shapes"] = ParameterSpec((1,), 5e-3)

    def set_step(self, step: int) -> None:
        """The degree of spherical harmonics at ``step``."""
        self.active_sh_degree = min(self.config.sh_degree, step // max(self.config.sh_every, 1))

    def initialize(self, points: PointsOverTime, clip: Clip) -> dict[str, Tensor]:
        """One row per point: round, at the point's time, with its velocity; static points live over the whole clip."""
        n = points.positions.shape[0]
        static = points.start_static()
        seconds = clip.duration_seconds if clip.duration_seconds > 0 else 1.0
        duration = max(self.config.initial_duration_seconds / seconds, points.key_interval)
        durations = torch.where(static, self.config.static_duration, duration)
        spacing = points.spacing * self.config.initial_scale
        opacity = self.config.initial_opacity
        rows = {
            "means": points.positions.clone(),
            "velocities": torch.where(static[:, None], 0.0, points.start_velocities()),
            "scales": spacing.log().clamp(-10.0, 1.0)[:, None].repeat(1, 3),
            "quats": identity_quats(n),
            "opacities": torch.full((n, 1), math.log(opacity / (1 - opacity))),
            "features_dc": sh_from_rgb(points.colors),
            "temporal_centers": torch.where(static, 0.5, points.times)[:, None],
            "log_durations": durations.log()[:, None],
        }
        if "features_rest" in self.parameters:
            rows["features_rest"] = torch.zeros(n, *self.parameters["features_rest"].shape)
        shape = windows.initial_shape(self.config.window, n)
        if shape is not None:
            rows["window_shapes"] = shape
        return rows

    def lifespan(self, params: Parameters) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """[center - r, center + r]; start > stop for Gaussians that are never visible."""
        params = {name: value.detach() for name, value in params.items()}
        opacity, duration = torch.sigmoid(params["opacities"]), torch.exp(params["log_durations"])
        reach = windows.reach(self.config.window, opacity, duration, params.get("window_shapes"))[:, 0]
        center = params["temporal_centers"][:, 0]
        return center - reach, center + reach

    @property
    def degrees(self) -> tuple[int, ...]:
        return (self.active_sh_degree,)

    def fused(self, params: Parameters, t: float | Tensor) -> bool:
        return self.config.window == "gaussian" and uses_kernels(params, t)

    def marks(self, params: Parameters, t: float | Tensor) -> AliveMarks:
        from fourdgs_ns.kernels.slicing import mark_alive

        return mark_alive(t, params["opacities"], params["temporal_centers"], params["log_durations"], 0.5)

    def _damping(self, duration: Tensor, shape: Tensor | None) -> Tensor | float:
        """What velocities are divided by: 1, or SharpTimeGS's 1 + max(1, lifespan^2), which lets nothing long-lived drift."""
        if self.config.window != "flat-top" or shape is None:
            return 1.0
        return 1 + ((duration + torch.exp(shape)) ** 2).clamp_min(1.0)

    def at(
        self,
        params: Parameters,
        t: float | Tensor,
        ids: Int[Tensor, " m"],
        seen_from: Float[Tensor, "c 3"] | None = None,
    ) -> GaussiansAtTime:
        if self.fused(params, t):
            return self._fused(params, t, ids, seen_from)
        rows = gather({name: value for name, value in params.items() if name != "features_rest"}, ids)
        duration, shape = torch.exp(rows["log_durations"]), rows.get("window_shapes")
        dt = t - rows["temporal_centers"]
        weight = windows.weight(self.config.window, dt, duration, shape)
        velocity = rows["velocities"] / self._damping(duration, shape)
        features = rows["features_dc"][:, None]
        if self.active_sh_degree > 0:
            rest = params["features_rest"][:, : num_harmonics(self.active_sh_degree) - 1]
            features = torch.cat([features, rest.index_select(0, ids)], dim=1)
        return GaussiansAtTime(
            ids=ids,
            means=rows["means"] + dt * velocity,
            quats=nn.functional.normalize(rows["quats"], dim=-1),
            scales=torch.exp(rows["scales"]),
            opacities=(torch.sigmoid(rows["opacities"]) * weight).squeeze(-1),
            features=features,
            velocities=velocity.detach(),
            weights=weight.squeeze(-1).detach(),
        )

    def _fused(
        self, params: Parameters, t: float | Tensor, ids: Int[Tensor, " m"], seen_from: Float[Tensor, "c 3"] | None
    ) -> GaussiansAtTime:
        from fourdgs_ns.kernels.freetime import slice_rows
        from fourdgs_ns.kernels.slicing import gather_harmonics
        from fourdgs_ns.kernels.view_colors import view_colors

        means, velocities, scales, quats, opacities, weights = slice_rows(t, ids, dict(params))
        harmonics = params["features_dc"], params.get("features_rest"), num_harmonics(self.active_sh_degree)
        features = (
            gather_harmonics(ids, *harmonics)
            if seen_from is None
            else view_colors(t, ids, means, seen_from, *harmonics)
        )
        return GaussiansAtTime(
            ids, means, quats, scales, opacities, features, velocities, weights, for_cameras=seen_from is not None
        )

    def move_center(self, rows: dict[str, Tensor], shift: Float[Tensor, "n 1"]) -> None:
        """Change the temporal centres by ``shift`` in place without changing any path."""
        damping = self._damping(torch.exp(rows["log_durations"]), rows.get("window_shapes"))
        rows["means"] += rows["velocities"] / damping * shift
        rows["temporal_centers"] += shift

    def moving(self, params: Parameters) -> tuple[MovingGaussians, list[Loss]]:
        """Straight paths; gated and flat-top windows as gates and plateaus."""
        log_durations = params["log_durations"][:, 0]
        zeros = torch.zeros_like(log_durations)
        plateaus, gates = zeros, zeros
        # A slice knows the velocity that its window allows.
        velocities = self.at(params, 0.0, torch.arange(len(zeros))).velocities
        if self.config.window == "flat-top":
            plateaus = torch.exp(params["window_shapes"][:, 0])
        else:
            log_durations = log_durations + 0.5 * math.log(2.0)
        if self.config.window == "gated":
            gates = windows.gate(params["window_shapes"][:, 0])
        colors = params["features_dc"][:, None]
        if "features_rest" in params:
            colors = torch.cat([colors, params["features_rest"]], dim=1)
        moving = MovingGaussians(
            ids=torch.arange(len(zeros)),
            means=params["means"],
            motion=torch.stack([velocities, torch.zeros_like(velocities), torch.zeros_like(velocities)], dim=1),
            quats=params["quats"],
            omegas=torch.zeros_like(params["quats"]),
            log_scales=params["scales"],
            opacities=params["opacities"][:, 0],
            centers=params["temporal_centers"][:, 0],
            log_durations=log_durations,
            plateaus=plateaus,
            gates=gates,
            colors=colors,
        )
        return moving, []

    def in_capture(self, params: Parameters, world: WorldFromCapture) -> dict[str, Tensor]:
        means, quats, scales = world.gaussians_to_capture(params["means"], params["quats"], params["scales"])
        moved = {"means": means, "quats": quats, "scales": scales}
        moved["velocities"] = world.vectors_to_capture(params["velocities"])
        if "features_rest" in params:
            harmonics = torch.cat([params["features_dc"][:, None], params["features_rest"]], dim=1)
            moved["features_rest"] = harmonics_to_capture(harmonics, world)[:, 1:].contiguous()
        return {**params, **moved}


METHOD = Method(
    name="freetime",
    description="FreeTimeGS (CVPR 2025): Gaussians anywhere in space and time, linear motion, relocation within a fixed budget.",
    variants={
        "SH 3": FreeTimeConfig(),
        "SH 0": FreeTimeConfig(sh_degree=0),
        "flat-top": FreeTimeConfig(window="flat-top"),
    },
    densification="relocation",
    max_gaussians_on_cpu=100_000,
    model_options={
        "perceptual_weight": 0.01,
        "opacity_regularization": 1e-2,
        "opacity_regularization_over": "all",
        "opacity_regularization_share": 0.5,
    },
)
