"""What reading a foreign model gives, whatever its format, and what may be said about it that its file leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional

if TYPE_CHECKING:  # the command line reads the options below: it must not wait for torch
    from torch import Tensor

    from fourdgs_ns.representation.base import Clip, RepresentationConfig


@dataclass(frozen=True)
class ImportedModel:
    """Canonical parameters of one of this package's methods, in the world that the file is in."""

    method: str
    """Name of the method, as ``ns-train`` knows it."""
    representation: RepresentationConfig
    parameters: dict[str, Tensor]
    """Every canonical parameter of the representation, float32 on the CPU."""
    clip: Clip
    notes: tuple[str, ...] = ()
    """Sentences that the user should read once: what was assumed, what was left out."""


@dataclass
class ImportOptions:
    """Settings that files of foreign models leave out."""

    duration: Optional[float] = None  # noqa: UP045  (tyro on Python 3.10)
    """Length of the time window the model was trained with, in its own units (time_duration of its YAML file: 10 for N3V, 1 for
    D-NeRF). Default: the usual one that the temporal centres fill; needed when none fits."""
    start: float = 0.0
    """Begin of that window, in the same units: the time of the first frame."""
    frames: Optional[int] = None  # noqa: UP045
    """Frames of the clip, where neither file nor capture says. Default: 300 for fudan, 50 for SpacetimeGaussian."""
    fps: Optional[float] = None  # noqa: UP045
    """Frames per second, for SpacetimeGaussian's files, which do not say. Default: 30."""
    decoder_activation: Optional[Literal["sigmoid", "clamp", "none"]] = None  # noqa: UP045
    """Full SpacetimeGaussian of other programs: sigmoid for N3DV, clamp for Technicolor, none for Immersive. Default: sigmoid."""
    convention: Literal["auto", "new", "old"] = "auto"
    """Order in which quaternions hold space and time: old before September 2024, new since. auto: the one under which less
    moves."""
    dimensions: Literal[3, 4] = 4
    """gaussian_dim of the training: 3 for a file without time, which becomes a scene that stands still."""


Reader = Callable[[Path, ImportOptions, "Clip | None"], ImportedModel]
"""Reads a file; the clip is that of the capture the model belongs to, when it is known."""
