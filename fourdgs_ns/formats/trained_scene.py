"""A trained scene as plain data: what every exporter takes and every importer gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.base import Representation, RepresentationConfig
from fourdgs_ns.representation.types import Clip, GaussiansAtTime, finite_rows

MIN_FINITE_SHARE = 0.5
"""A model with fewer finite Gaussians than this has diverged."""


@dataclass
class TrainedScene:
    """A model without its training."""

    config: RepresentationConfig
    """Options of the representation."""
    parameters: dict[str, Tensor]
    """Canonical parameters: name -> [n, ...], in the training's world."""
    clip: Clip
    world_from_capture: WorldFromCapture | None = None
    """How the training's world lies in the capture's; None when they are the same."""
    decoder: dict[str, Tensor] | None = None
    """Weights of the representation's decoder, as its state_dict; None when it has none."""
    near: float = 0.01
    """Gaussians nearer to a camera than this are not rendered, world units."""
    camera_centers: Float[Tensor, "c 3"] | None = None
    """Where the training cameras stand, scene coordinates; None when unknown."""
    notes: list[str] = field(default_factory=list)
    """What was repaired or left out while reading."""

    def __repr__(self) -> str:
        clip = f"{self.clip.num_frames} frames, {self.clip.duration_seconds:g} s"
        return f"TrainedScene({self.method}, {self.num_gaussians} Gaussians, {clip})"

    @property
    def method(self) -> str:
        """Name of the method, as ns-train knows it."""
        return self.config.method

    @property
    def representation(self) -> Representation:
        """The functions of the parameters, with all spherical harmonics switched on."""
        return self.config.setup()

    @property
    def num_gaussians(self) -> int:
        return self.parameters["means"].shape[0]

    @torch.no_grad()
    def at(self, t: float) -> GaussiansAtTime:
        """The Gaussians alive at ``t`` in [0, 1], in the training's world."""
        representation = self.representation
        return representation.at(self.parameters, t, representation.active(self.parameters, t))

    def times(self) -> list[float]:
        """t of every frame of the clip."""
        return [i * self.clip.frame_interval for i in range(self.clip.num_frames)]

    def fps(self) -> float:
        """Frames per second; 0 for a clip of one frame."""
        return (self.clip.num_frames - 1) / self.clip.duration_seconds if self.clip.duration_seconds > 0 else 0.0


def check_parameters(config: RepresentationConfig, parameters: dict[str, Tensor]) -> None:
    """Raises ValueError when ``parameters`` are not those of ``config``'s representation, all of as many Gaussians."""
    wanted = config.setup().parameters
    odd = sorted(set(wanted) ^ set(parameters))
    if odd:
        raise ValueError(f"the parameter {odd[0]!r} is {'missing' if odd[0] in wanted else 'not one of this method'}")
    rows = len(parameters["means"])
    for name, spec in wanted.items():
        if tuple(parameters[name].shape) != (rows, *spec.shape):
            raise ValueError(f"the parameter {name!r} has the shape {tuple(parameters[name].shape)}")


def drop_non_finite(parameters: dict[str, Tensor], source: Path, notes: list[str]) -> dict[str, Tensor]:
    """The finite Gaussians, zero quaternions replaced by no rotation; both are noted.

    Raises:
        UserError: there are no Gaussians, or most are not finite.
    """
    rows = len(parameters["means"])
    keep = finite_rows(parameters) if rows else torch.zeros(0, dtype=torch.bool)
    finite = int(keep.sum())
    if rows == 0:
        raise UserError(f"{source} holds no Gaussians; train the model first, or export it again")
    if finite < MIN_FINITE_SHARE * rows:
        raise UserError(
            f"{source}: {rows - finite} of {rows} Gaussians are not finite, the training has diverged; use an earlier checkpoint "
            "or train again with lower learning rates"
        )
    if finite < rows:
        notes.append(f"{rows - finite} of {rows} Gaussians are not finite and were left out")
        parameters = {name: value[keep] for name, value in parameters.items()}
    if "quats" in parameters:
        quats = parameters["quats"]
        zero = quats.norm(dim=-1) < 1e-12
        if zero.any():
            notes.append(f"{int(zero.sum())} of {rows} Gaussians had a zero quaternion, which is now no rotation")
            identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).to(quats)
            parameters = {**parameters, "quats": torch.where(zero[:, None], identity, quats)}
    return parameters
