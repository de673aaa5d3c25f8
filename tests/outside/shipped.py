"""What another package ships: a method, a format, a layout and a densification strategy, one object each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.densification.base import Densification, DensificationConfig, Strategy
from fourdgs_ns.formats.format import Format
from fourdgs_ns.geometry.rotations import identity_quats
from fourdgs_ns.representation.base import ParameterSpec, Representation, RepresentationConfig
from fourdgs_ns.representation.method import Method
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, Parameters, PointsOverTime, gather


@dataclass
class FourierConfig(RepresentationConfig):
    """Gaussians that never fade and swing about their means with the period of the clip."""

    method: ClassVar[str] = "fourier"
    initial_opacity: float = 0.3
    """Opacity of every Gaussian at the start."""

    def setup(self) -> Fourier:
        return Fourier(self)


class Fourier(Representation):
    """mean(t) = mean + sin(2 pi t) swing."""

    variant = "one wave"

    def __init__(self, config: FourierConfig) -> None:
        self.config = config
        self.parameters = {
            "means": ParameterSpec((3,), 1.6e-4, final_ratio=0.01, spatial=True),
            "swings": ParameterSpec((3,), 1.6e-4, spatial=True),
            "scales": ParameterSpec((3,), 5e-3),
            "quats": ParameterSpec((4,), 1e-3),
            "opacities": ParameterSpec((1,), 5e-2),
            "features_dc": ParameterSpec((3,), 2.5e-3),
        }

    def initialize(self, points: PointsOverTime, clip: Clip) -> dict[str, Tensor]:
        n, opacity = len(points.positions), self.config.initial_opacity
        return {
            "means": points.positions.clone(),
            "swings": torch.zeros(n, 3),
            "scales": points.spacing.log().clamp(-10.0, 1.0)[:, None].repeat(1, 3),
            "quats": identity_quats(n),
            "opacities": torch.full((n, 1), math.log(opacity / (1 - opacity))),
            "features_dc": points.colors.clone(),
        }

    def lifespan(self, params: Parameters) -> tuple[Tensor, Tensor]:
        seen = torch.sigmoid(params["opacities"][:, 0].detach()) >= 1 / 255
        return torch.where(seen, -1.0, 2.0), torch.where(seen, 2.0, -1.0)

    def at(
        self, params: Parameters, t: float | Tensor, ids: Tensor, seen_from: Tensor | None = None
    ) -> GaussiansAtTime:
        rows = gather(params, ids)
        phase = torch.as_tensor(2 * math.pi * t).to(rows["means"])
        return GaussiansAtTime(
            ids=ids,
            means=rows["means"] + torch.sin(phase) * rows["swings"],
            quats=nn.functional.normalize(rows["quats"], dim=-1),
            scales=torch.exp(rows["scales"]),
            opacities=torch.sigmoid(rows["opacities"]).squeeze(-1),
            features=rows["features_dc"],
            velocities=(2 * math.pi * torch.cos(phase) * rows["swings"]).detach(),
            weights=torch.ones(len(ids)).to(rows["means"]),
        )


METHOD = Method(
    name="fourier",
    description="Gaussians that swing.",
    variants={"one wave": FourierConfig()},
    densification="idle",
)


@dataclass
class IdleConfig(DensificationConfig):
    """Nothing is added, moved or removed."""

    patience: int = 3
    """Counted by nobody."""

    def setup(self, representation: Representation, clip: Clip, extent: float) -> Idle:
        return Idle(representation, clip, extent, self.stop)

    def default_stop(self, steps: int) -> int:
        return steps


class Idle(Densification):
    """Applies :class:`IdleConfig`."""

    def step(
        self,
        step: int,
        params: nn.ParameterDict,
        optimizers: Mapping[str, Optimizer],
        statistics: dict[str, Tensor],
        generator: torch.Generator,
    ) -> None:
        return None


STRATEGY = Strategy("idle", IdleConfig)


def write_count(path: Path, scene, options) -> list[str]:
    path.write_text(json.dumps({"count": scene.num_gaussians}))
    return ["counted"]


FORMAT = Format(
    "count", "how many Gaussians there are", lambda path: path.suffix == ".count",
    lambda path: {"what": f"a count of {json.loads(path.read_text())['count']}"}, ".count", write_count,
)  # fmt: skip


def read_nested(root: Path):
    return replace(read_capture(root / "nested"), root=root, layout="nested")


LAYOUT = Layout("nested", "a folder called nested", lambda root: (root / "nested").is_dir(), read_nested)
