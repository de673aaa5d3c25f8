"""A calibrated camera without its frames, as calibration files and the stages of preprocessing hand it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.capture import CaptureCamera, ImageFrames
from fourdgs_ns.capture.layouts.calibration import scaled_intrinsics


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """Lens and pose of one physical camera."""

    name: str
    width: int
    """Size in pixels at which ``intrinsics`` hold; 0 when the file does not say."""
    height: int
    intrinsics: Float[np.ndarray, "3 3"]
    """Pixel i covers [i, i + 1)."""
    world_from_camera: Float[np.ndarray, "4 4"]
    """OpenCV axes (x right, y down, z forward)."""
    distortion: tuple[float, ...] = ()
    """OpenCV order k1 k2 p1 p2 k3 (k4 k5 k6), or k1..k4 when ``fisheye``."""
    fisheye: bool = False
    time_offset_seconds: float | None = None
    """How much later than its instants the camera's frames were exposed; None when the file does not say."""

    def resized(self, width: int, height: int, source: Path) -> CalibratedCamera:
        """The same camera for frames of another size.

        Raises:
            UserError: of another aspect; the message names ``source``.
        """
        if not self.width or not self.height:
            return replace(self, width=width, height=height)
        matrix = scaled_intrinsics(self.intrinsics, (self.width, self.height), (width, height), self.name, source)
        return replace(self, width=width, height=height, intrinsics=matrix)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "intrinsics": self.intrinsics.tolist(),
            "world_from_camera": self.world_from_camera.tolist(),
            "distortion": list(self.distortion),
            "fisheye": self.fisheye,
            "time_offset_seconds": self.time_offset_seconds,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> CalibratedCamera:
        return cls(
            content["name"],
            content["width"],
            content["height"],
            np.array(content["intrinsics"]),
            np.array(content["world_from_camera"]),
            tuple(content["distortion"]),
            content["fisheye"],
            content.get("time_offset_seconds"),
        )

    def in_capture(
        self, frames: Sequence[Path], masks: Sequence[Path] | None = None, time_offset_seconds: float = 0.0
    ) -> CaptureCamera:
        """The camera of a capture whose instants are all in ``frames``."""
        return CaptureCamera(
            name=self.name,
            width=self.width,
            height=self.height,
            intrinsics=self.intrinsics,
            world_from_camera=self.world_from_camera[None],
            frames=ImageFrames(tuple(frames)),
            frame_ids=np.arange(len(frames)),
            distortion=self.distortion,
            fisheye=self.fisheye,
            masks=None if masks is None else ImageFrames(tuple(masks)),
            time_offset_seconds=time_offset_seconds,
        )
