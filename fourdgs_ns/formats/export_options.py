"""What a user may ask of an export, whichever the format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fourdgs_ns.capture.frame_range import FrameRange
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.trained_scene import TrainedScene


@dataclass(frozen=True)
class ExportOptions:
    """Every writer reads what concerns it."""

    time: float = 0.0
    """t of a still image."""
    frames: FrameRange = (None, None, None)
    """Part of the clip, as a Python slice of its frames."""
    sh_degree: int | None = None
    """Highest degree of spherical harmonics; None: the model's own."""
    approximate: bool = False
    """Write the nearest thing where a format cannot hold a model exactly."""
    compressed: bool = False
    """Half precision and codebooks."""
    overwrite: bool = False
    """Replace what is there."""
    advance: Callable[[int, int], None] = lambda done, total: None
    """Told how many frames of a sequence are done and wanted."""

    def check(self, scene: TrainedScene) -> None:
        """Raises UserError for a time outside the clip or frames that it does not have."""
        if not 0.0 <= self.time <= 1.0:
            raise UserError(f"the time is {self.time:g}; give t from 0 (first frame) to 1 (last frame)")
        if self.sh_degree is not None and not 0 <= self.sh_degree <= 3:
            raise UserError(f"--sh-degree is {self.sh_degree}; give 0, 1, 2 or 3")
        self.chosen_frames(scene)

    def chosen_frames(self, scene: TrainedScene) -> list[int]:
        """Frames of the clip, counted from 0."""
        count = scene.clip.num_frames
        start, stop, _ = self.frames
        for number in (start, stop):
            if number is not None and not -count <= number <= count:
                raise UserError(f"--frames names frame {number}, but the clip has the frames 0 to {count - 1}")
        chosen = list(range(count))[slice(*self.frames)]
        if not chosen:
            raise UserError(f"--frames leaves nothing of the {count} frames of the clip; write for instance 0:{count}")
        return chosen
