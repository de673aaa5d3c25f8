"""One time offset per physical camera: clocks of real rigs are rarely together, and a late camera looks like a bad method."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CameraClocks(nn.Module):
    """t -> t + offset of the training camera; held-out cameras keep their own clock.

    The median over cameras is held at zero: a common offset would only shift the scene's own time, and one late camera must not
    make all others look early.
    """

    def __init__(self, num_cameras: int) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(num_cameras))
        """In units of t; positive: the camera's frames were exposed later than stated."""

    def forward(self, t: float, camera: Tensor | int) -> Float[Tensor, ""]:
        """The instant at which ``camera`` really exposed the frame it calls ``t``."""
        return t + self.offsets[camera]

    @torch.no_grad()
    def center(self) -> None:
        """Bring the median offset back to zero."""
        self.offsets.sub_(self.offsets.median())

    def in_frames(self, frame_interval: float) -> Float[Tensor, " c"]:
        """Offsets in frames, for a clip whose frames are ``frame_interval`` apart in t."""
        return self.offsets.detach() / frame_interval
