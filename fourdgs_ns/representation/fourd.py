"""4D Gaussian splatting (Yang et al., ICLR 2024): Gaussians of four dimensions with spherindrical harmonics (4DSH).

A row is a Gaussian in (x, y, z, t): a mean, a temporal centre, four sizes and two quaternions. Conditioned on t it is a 3D
Gaussian of constant covariance that moves in a straight line (``velocity_form``), so that with dt = t - center

    mean(t)    = mean + velocity dt
    weight(t)  = exp(-(dt / duration)^2 / 2)          the marginal of time, 1 at its peak instead of normalised
    opacity(t) = sigmoid(opacity) weight(t)
    colour(t)  = sum over n of cos(2 pi n dt / period) c_n,   c_n spherical harmonics: ordinary ones once t is known

A Gaussian may be static: its temporal scale is ``STATIC_MARK``. It is then a 3D Gaussian for ever, turned by its left quaternion
alone, whose temporal parameters get no gradient; colours may still vary with t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fourdgs_ns.kernels.alive import AliveMarks
from fourdgs_ns.representation.base import ParameterSpec, Representation, RepresentationConfig
from fourdgs_ns.representation.method import Method
from fourdgs_ns.representation.parts import windows
from fourdgs_ns.representation.parts.children import (
    MAX_LOGIT,
    RELOCATED_SPREAD,
    SPLIT_SHRINK,
    Kind,
)
from fourdgs_ns.representation.parts.ellipsoids import axes_of, largest_deviation, slice_axes
from fourdgs_ns.representation.parts.moving import ALWAYS, Loss, MovingGaussians
from fourdgs_ns.representation.parts.rotations4d import quats_of_static, rotation_matrices_4d, time_rows
from fourdgs_ns.representation.parts.spherical_harmonics import num_harmonics, sh_from_rgb
from fourdgs_ns.representation.parts.velocity_form import (
    QuaternionForm,
    VelocityForm,
    quaternion_form,
    velocity_form,
)
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, Parameters, PointsOverTime, gather, uses_kernels

if TYPE_CHECKING:
    from fourdgs_ns.kernels.fourd_colors import Options

MAX_TEMPORAL_SCALE = 5.0
"""Bound of the logarithm of a row's temporal size, 148 clips: beyond it nothing changes but the rounding."""
STATIC_MARK = 10.0
"""Temporal scale of Gaussians that do not depend on time. Training cannot reach it: beyond the bound there is no gradient."""
HARMONICS = ("features_dc", "features_rest", "features_time")
MIDDLE = 0.5
"""The t at which Gaussians that become static are sliced."""


@dataclass
class FourDConfig(RepresentationConfig):
    """How a 4D Gaussian looks and starts."""

    method: ClassVar[str] = "4dgs-4dsh"

    sh_degree: Literal[0, 1, 2, 3] = 3
    """Degree of view-dependent colour."""
    temporal_degree: Literal[0, 1, 2] = 2
    """Highest cosine of colours over time, as published. 0 makes a row 65 numbers instead of 161 and costs little where lives are
    short: a cosine of the clip's length hardly changes during them."""
    sh_every: int = 1_000
    """Steps after which a degree grows by one: that of the view first, then that of time."""
    period: float = 1.0
    """Period of the first cosine, in lengths of the clip."""
    initial_opacity: float = 0.1
    """Opacity of every Gaussian at the start."""
    initial_duration: float = 0.2
    """Standard deviation in t at the start, as a share of the clip, of points whose time is known; at least the distance of two
    key frames of the initial cloud. Published: 0.14 for clips of 10 s."""
    static_duration: float = 2.0
    """The same, in lengths of the clip, of points that were found not to move."""
    clip_length: float = 0.1
    """What the clip's length counts, in world units, when the longest of a Gaussian's four axes is sought to split it along. 0.1:
    a Gaussian over a tenth of the clip is as long as one over a hundredth of the scene."""

    def setup(self) -> FourDRepresentation:
        return FourDRepresentation(self)


class FourDRepresentation(Representation):
    """4D Gaussian splatting as functions of canonical parameters.

    ``scales`` and ``temporal_scales`` are logarithms of the four sizes, ``left_quats`` and ``right_quats`` turn the axes (see
    ``rotations4d``), ``features_time`` [temporal degree, k, 3] are the harmonics that cosines multiply.
    """

    def __init__(self, config: FourDConfig) -> None:
        self.config = config
        self.variant = f"SH degree {config.sh_degree}, temporal degree {config.temporal_degree}"
        self.sh_degree: int = config.sh_degree
        self.active_sh_degree: int = config.sh_degree
        self.active_temporal_degree: int = config.temporal_degree
        self.parameters = {
            "means": ParameterSpec((3,), 1.6e-4, final_ratio=0.01, spatial=True),
            "scales": ParameterSpec((3,), 5e-3),
            "left_quats": ParameterSpec((4,), 1e-3),
            "right_quats": ParameterSpec((4,), 1e-3),
            "opacities": ParameterSpec((1,), 5e-2),
            "temporal_centers": ParameterSpec((1,), 1.6e-4, per_second=1),
            "temporal_scales": ParameterSpec((1,), 5e-3),
            "features_dc": ParameterSpec((3,), 2.5e-3),
        }
        k = num_harmonics(config.sh_degree)
        if k > 1:
            self.parameters["features_rest"] = ParameterSpec((k - 1, 3), 1.25e-4)
        if config.temporal_degree:
            self.parameters["features_time"] = ParameterSpec((config.temporal_degree, k, 3), 1.25e-4)

    def set_step(self, step: int) -> None:
        """The degrees at ``step``."""
        grown = step // max(self.config.sh_every, 1)
        self.active_sh_degree = min(self.config.sh_degree, grown)
        self.active_temporal_degree = min(self.config.temporal_degree, max(grown - self.config.sh_degree, 0))

    def initialize(self, points: PointsOverTime, clip: Clip) -> dict[str, Tensor]:
        """One row per point: round, at the point's time, with its velocity; static points live over the whole clip.

        Points without times are spread over a little more than the clip, with the published variance of a fifth of it.
        """
        n, config = points.positions.shape[0], self.config
        if points.timed:
            static, centers = points.start_static(), points.times
            durations = torch.where(static, config.static_duration, max(config.initial_duration, points.key_interval))
        else:
            static = torch.zeros(n, dtype=torch.bool)
            # Multiples of the golden ratio: spread evenly, and the same at every start.
            centers = torch.arange(n, dtype=torch.float64) * 0.6180339887498949 % 1.0 * 1.2 - 0.1
            durations = torch.full((n,), math.sqrt(0.2))
        spacing = points.spacing.log().clamp(-10.0, 1.0).exp()
        velocities = torch.where(static[:, None], 0.0, points.start_velocities())
        rows = self.rows_from(
            means=points.positions,
            centers=torch.where(static, MIDDLE, centers.float())[:, None],
            shape=VelocityForm(spacing[:, None, None].square() * torch.eye(3), velocities, durations[:, None]),
        )
        rows["opacities"] = torch.full((n, 1), math.log(config.initial_opacity / (1 - config.initial_opacity)))
        rows["features_dc"] = sh_from_rgb(points.colors)
        for name in ("features_rest", "features_time"):
            if name in self.parameters:
                rows[name] = torch.zeros(n, *self.parameters[name].shape)
        return rows

    # ------------------------------------------------------------------ the two forms

    def rows_from(
        self, means: Float[Tensor, "n 3"], centers: Float[Tensor, "n 1"], shape: VelocityForm
    ) -> dict[str, Tensor]:
        """Geometry of rows (no opacity, no colour) whose Gaussian passes ``means`` at ``centers`` with ``shape``."""
        turned = quaternion_form(shape)
        return {
            "means": means.clone(),
            "temporal_centers": centers.clone(),
            "left_quats": turned.left,
            "right_quats": turned.right,
            "scales": turned.deviations[:, :3].clamp_min(1e-10).log(),
            "temporal_scales": turned.deviations[:, 3:].log().clamp_max(MAX_TEMPORAL_SCALE),
        }

    def static_rows(
        self, means: Float[Tensor, "n 3"], quats: Float[Tensor, "n 4"], log_scales: Float[Tensor, "n 3"]
    ) -> dict[str, Tensor]:
        """Geometry of rows that never change, from ordinary (w, x, y, z) quaternions and logarithms of scales."""
        n = len(means)
        both = quats_of_static(nn.functional.normalize(quats, dim=-1))
        return {
            "means": means.clone(),
            "temporal_centers": means.new_full((n, 1), MIDDLE),
            "left_quats": both,
            "right_quats": both.clone(),
            "scales": log_scales.clone(),
            "temporal_scales": means.new_full((n, 1), STATIC_MARK),
        }

    def is_static(self, params: Parameters) -> Bool[Tensor, "n 1"]:
        """Gaussians that do not depend on time."""
        return params["temporal_scales"].detach() >= STATIC_MARK

    def quaternion_form(self, params: Parameters) -> QuaternionForm:
        """Shapes of rows as they are trained; a static row's right quaternion and temporal size are replaced."""
        static, left = self.is_static(params), params["left_quats"]
        # A bound, not a barrier: there is no gradient beyond it, so that nothing drifts to where rounding dominates.
        temporal = torch.where(static, 0.0, params["temporal_scales"].clamp_max(MAX_TEMPORAL_SCALE))
        return QuaternionForm(
            left=left,
            right=torch.where(static, left, params["right_quats"]),
            deviations=torch.exp(torch.cat([params["scales"], temporal], dim=-1)),
        )

    def durations(self, params: Parameters) -> Float[Tensor, "n 1"]:
        """Standard deviation in t of every Gaussian, infinite for static ones; without gradient."""
        params = {name: value.detach() for name, value in params.items()}
        shape = self.quaternion_form(params)
        duration = (time_rows(shape.left, shape.right) * shape.deviations).norm(dim=-1, keepdim=True)
        return torch.where(self.is_static(params), math.inf, duration)

    def sizes(self, params: Parameters) -> Float[Tensor, " n"]:
        """Largest standard deviation in space at any one instant, world units; without gradient."""
        with torch.no_grad():
            return largest_deviation(velocity_form(self.quaternion_form(params)).covariances)

    # ------------------------------------------------------------------ at one instant

    def lifespan(self, params: Parameters) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """[center - r, center + r]; start > stop for Gaussians that are never visible."""
        opacity = torch.sigmoid(params["opacities"].detach())
        reach = windows.reach("gaussian", opacity, self.durations(params), None)[:, 0]
        center = params["temporal_centers"][:, 0].detach()
        return center - reach, center + reach

    @property
    def degrees(self) -> tuple[int, ...]:
        return (self.active_sh_degree, self.active_temporal_degree)

    def fused(self, params: Parameters, t: float | Tensor) -> bool:
        return uses_kernels(params, t)

    def marks(self, params: Parameters, t: float | Tensor) -> AliveMarks:
        from fourdgs_ns.kernels.fourd import mark_alive

        return mark_alive(t, params, self.kernel_options())

    def kernel_options(self) -> Options:
        """What the fused kernels must know beside the rows, at the degrees reached so far."""
        from fourdgs_ns.kernels.fourd_colors import Options

        return Options(
            harmonics=num_harmonics(self.active_sh_degree), waves=self.active_temporal_degree,
            frequency=2 * math.pi / self.config.period, static_mark=STATIC_MARK, max_temporal_scale=MAX_TEMPORAL_SCALE,
        )  # fmt: skip

    def at(
        self,
        params: Parameters,
        t: float | Tensor,
        ids: Int[Tensor, " m"],
        seen_from: Float[Tensor, "c 3"] | None = None,
    ) -> GaussiansAtTime:
        if self.fused(params, t):
            return self._fused(params, t, ids, seen_from)
        rows = gather({name: value for name, value in params.items() if name not in HARMONICS}, ids)
        static, shape = self.is_static(rows), velocity_form(self.quaternion_form(rows))
        dt = t - rows["temporal_centers"]
        weight = windows.weight("gaussian", torch.where(static, 0.0, dt), shape.durations, None)
        velocity = torch.where(static, 0.0, shape.velocities)
        return GaussiansAtTime(
            ids=ids,
            means=rows["means"] + dt * velocity,
            quats=None,
            scales=None,
            covariances=shape.covariances,
            opacities=(torch.sigmoid(rows["opacities"]) * weight).squeeze(-1),
            features=self._harmonics_at(params, dt, ids),
            velocities=velocity.detach(),
            weights=weight.squeeze(-1).detach(),
        )

    def _fused(
        self, params: Parameters, t: float | Tensor, ids: Int[Tensor, " m"], seen_from: Float[Tensor, "c 3"] | None
    ) -> GaussiansAtTime:
        from fourdgs_ns.kernels.fourd import slice_rows
        from fourdgs_ns.kernels.fourd_colors import fold_colors
        from fourdgs_ns.kernels.view_colors import view_colors

        options = self.kernel_options()
        means, velocities, covariances, opacities, weights = slice_rows(t, ids, params, options)
        if seen_from is None:
            features = fold_colors(t, ids, params, options)
        else:
            features = view_colors(
                t, ids, means, seen_from, params["features_dc"], params.get("features_rest"), options.harmonics,
                centers=params["temporal_centers"], varying=params.get("features_time"), waves=options.waves,
                frequency=options.frequency,
            )  # fmt: skip
        return GaussiansAtTime(
            ids, means, None, None, opacities, features, velocities, weights, covariances, seen_from is not None
        )

    def _harmonics_at(
        self, params: Parameters, dt: Float[Tensor, "m 1"], ids: Int[Tensor, " m"]
    ) -> Float[Tensor, "m k 3"]:
        """4DSH folded at one instant into ordinary spherical harmonics of the degrees reached so far."""
        k, degree = num_harmonics(self.active_sh_degree), self.active_temporal_degree
        harmonics = params["features_dc"].index_select(0, ids)[:, None]
        if k > 1:
            rest = params["features_rest"][:, : k - 1]
            harmonics = torch.cat([harmonics, rest.index_select(0, ids)], dim=1)
        if degree:
            orders = torch.arange(1, degree + 1, device=dt.device, dtype=dt.dtype)
            waves = torch.cos(2 * math.pi / self.config.period * dt * orders)
            varying = params["features_time"][:, :degree, :k].index_select(0, ids)
            harmonics = harmonics + (waves[:, :, None, None] * varying).sum(dim=1)
        return harmonics

    def frozen(self, params: Parameters, ids: Int[Tensor, " m"]) -> dict[str, Tensor]:
        """Values for rows ``ids`` that make each one, for ever, its own slice in the middle of the clip; colours stay."""
        middle = self.at({name: value.detach() for name, value in params.items()}, MIDDLE, ids)
        assert middle.covariances is not None
        quats, scales = axes_of(middle.covariances)
        rows = self.static_rows(middle.means, quats, scales.log())
        rows["temporal_centers"] = params["temporal_centers"][ids].detach()  # the phase of the colours
        rows["opacities"] = torch.logit(middle.opacities.clamp(1e-6, 1 - 1e-6))[:, None]
        return rows

    # ------------------------------------------------------------------ growth

    def axis_lengths(self, params: Parameters) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 4"]]:
        """What each of the four axes adds to a Gaussian's shape at one instant, and to its duration counted by ``clip_length``.

        World units. An axis along the path of a moving Gaussian adds to the duration only. Static ones have no duration.
        """
        with torch.no_grad():
            shape = self.quaternion_form(params)
            factor = rotation_matrices_4d(shape.left, shape.right) * shape.deviations[:, None, :]
            instant = factor[:, :3] - velocity_form(shape).velocities[:, :, None] * factor[:, 3:]
            duration = torch.where(self.is_static(params), 0.0, factor[:, 3].abs() * self.config.clip_length)
            return instant.norm(dim=1), duration

    def children(
        self, params: Parameters, ids: Int[Tensor, " m"], kind: Kind, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """One child per entry of ``ids``.

        * clone: a copy, as published;
        * split: see :meth:`halves`, along the longest of the four axes;
        * relocate: moved by half a sample of the whole 4D Gaussian, and smaller to match: many such children together have
          their parent's mean and covariance.
        """
        parents = {name: value[ids].detach() for name, value in params.items()}
        child = {name: value.clone() for name, value in parents.items()}
        if kind == "clone":
            return child
        if kind == "split":
            instant, duration = self.axis_lengths(parents)
            return self.halves(params, ids, (instant.square() + duration.square()).argmax(dim=-1), generator)
        kept = math.sqrt(1 - RELOCATED_SPREAD**2)
        noise = torch.randn(len(ids), 4, generator=generator).to(child["means"])
        self._scatter(child, RELOCATED_SPREAD * noise, torch.full_like(noise, math.log(kept)))
        # Smaller on the screen (by kept^2) and briefer (by kept): as much denser, in optical depth, to hide as much.
        brief = torch.where(self.is_static(parents), 1.0, kept)
        depth = -nn.functional.logsigmoid(-child["opacities"]) / kept**2 / brief
        child["opacities"] = depth.expm1().log().clamp_max(MAX_LOGIT)
        return child

    def halves(
        self, params: Parameters, ids: Int[Tensor, " m"], axes: Int[Tensor, " m"], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Children of a split along axis ``axes`` of each parent: moved along it by a sample of the parent's Gaussian.

        Place and t change together, so that halves of one that is long in time lie on its path.
        """
        child = {name: value[ids].detach().clone() for name, value in params.items()}
        chosen = nn.functional.one_hot(axes, 4).to(child["means"])
        noise = torch.randn(len(ids), 1, generator=generator).to(chosen)
        self._scatter(child, noise * chosen, -math.log(SPLIT_SHRINK) * chosen)
        return child

    def _scatter(self, child: dict[str, Tensor], noise: Float[Tensor, "n 4"], shrink: Float[Tensor, "n 4"]) -> None:
        """Move rows in place by ``noise`` standard deviations along their axes and add ``shrink`` to the sizes' logarithms."""
        static, shape = self.is_static(child), self.quaternion_form(child)
        noise = torch.cat([noise[:, :3], noise[:, 3:].masked_fill(static, 0.0)], dim=-1)
        rotations = rotation_matrices_4d(shape.left, shape.right)
        offset = (rotations @ (shape.deviations * noise)[:, :, None]).squeeze(-1)
        child["means"] += offset[:, :3]
        child["scales"] += shrink[:, :3]
        child["temporal_centers"] += torch.where(static, 0.0, offset[:, 3:])
        child["temporal_scales"] = torch.where(
            static, child["temporal_scales"], child["temporal_scales"].clamp_max(MAX_TEMPORAL_SCALE) + shrink[:, 3:]
        )
        # Centres beyond the clip come back along their paths: nothing out there is ever looked at.
        center = child["temporal_centers"]
        back = torch.where(static, 0.0, center.clamp(0.0, 1.0) - center)
        child["means"] += back * velocity_form(self.quaternion_form(child)).velocities
        child["temporal_centers"] = center + back

    # ------------------------------------------------------------------ for formats

    def moving(self, params: Parameters) -> tuple[MovingGaussians, list[Loss]]:
        """Conditioned on its own temporal centre a 4D Gaussian shows its velocity, its covariance and its colours then."""
        losses = []
        if "features_time" in params and bool((params["features_time"] != 0).any()):
            losses.append(
                Loss(
                    f"its colours vary over time (temporal degree {self.config.temporal_degree})",
                    "the colours that each Gaussian has at its temporal centre",
                )
            )
        with torch.no_grad():
            peak = self.at(params, params["temporal_centers"], torch.arange(len(params["means"])))
        quats, scales = slice_axes(peak)
        durations = self.durations(params)[:, 0].clamp_max(ALWAYS)
        zeros = torch.zeros_like(durations)
        still = torch.zeros_like(peak.velocities)
        moving = MovingGaussians(
            ids=torch.arange(len(zeros)),
            means=peak.means,
            motion=torch.stack([peak.velocities, still, still], dim=1),
            quats=quats,
            omegas=torch.zeros_like(quats),
            log_scales=scales.log(),
            opacities=params["opacities"][:, 0],
            centers=params["temporal_centers"][:, 0],
            log_durations=durations.log() + 0.5 * math.log(2.0),
            plateaus=zeros,
            gates=zeros,
            colors=peak.features,
        )
        return moving, losses


METHOD = Method(
    name="4dgs-4dsh",
    description="4D Gaussian splatting (ICLR 2024): Gaussians of space-time, 4D spherical harmonics, what lasts becomes static.",
    variants={"SH 3, time 2": FourDConfig(), "SH 3": FourDConfig(temporal_degree=0)},
    densification="fourd",
    densification_options={"prune_size": 0.0, "reset_opacity_every": 0},
    batch_size=4,
)
