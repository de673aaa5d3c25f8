"""What the dataparser tells the dataset and the model about the capture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.types import Clip, PointsOverTime

KEY = "fourdgs_ns"
"""Nerfstudio hands on a dictionary; under this key lies the one entry of ours."""


@dataclass(frozen=True)
class CaptureFacts:
    """One capture as it is trained on. Without a capture (a model that is converted) only the clip is known."""

    clip: Clip
    capture: Capture | None = None
    downscale: float = 1.0
    """How many times smaller than its source a frame is trained on."""
    masks_as_alpha: bool = False
    """Masks cut the subject out."""
    camera_names: tuple[str, ...] = ()
    """Cameras of this split, in the order of ``cam_id``."""
    train_camera_names: tuple[str, ...] = ()
    world_from_capture: WorldFromCapture | None = None
    extent: float = 1.0
    """Of the camera rig, world units."""
    train_camera_centers: Float[Tensor, "c 3"] | None = None
    """One per pose, world coordinates."""
    focus_distance: float = 1.0
    """From the cameras to what they look at, world units."""
    points: PointsOverTime | None = None
    """What a training starts from; None where a checkpoint is loaded."""

    def as_metadata(self) -> dict[str, Any]:
        """In the form in which Nerfstudio hands it on."""
        return {KEY: self}

    @classmethod
    def of(cls, metadata: Any) -> CaptureFacts:
        """The facts in a dictionary of Nerfstudio's; those of an unknown capture where it has none."""
        return (metadata or {}).get(KEY) or cls(Clip(1, 0.0))

    def require_capture(self) -> Capture:
        """The capture, where there must be one."""
        assert self.capture is not None
        return self.capture
