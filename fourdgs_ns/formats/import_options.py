"""What may be said about a foreign model that its file leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class ImportOptions:
    """Settings that files of foreign models leave out."""

    duration: float | None = None
    """Length of the time window the model was trained with, in its own units (time_duration of its YAML file: 10 for N3V, 1 for
    D-NeRF). Default: the usual one that the temporal centres fill; needed when none fits."""
    start: float = 0.0
    """Begin of that window, in the same units: the time of the first frame."""
    frames: int | None = None
    """Frames of the clip, where neither file nor capture says. Default: 300 for fudan, 50 for SpacetimeGaussian."""
    fps: float | None = None
    """Frames per second, for SpacetimeGaussian's files, which do not say. Default: 30."""
    decoder_activation: Literal["sigmoid", "clamp", "none"] | None = None
    """Full SpacetimeGaussian of other programs: sigmoid for N3DV, clamp for Technicolor, none for Immersive. Default: sigmoid."""
    convention: Literal["auto", "new", "old"] = "auto"
    """Order in which quaternions hold space and time: old before September 2024, new since. auto: the one under which less
    moves."""
    dimensions: Literal[3, 4] = 4
    """gaussian_dim of the training: 3 for a file without time, which becomes a scene that stands still."""
