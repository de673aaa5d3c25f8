"""What is learned of the physical cameras beside the scene: colours, clocks and poses as one object."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.corrections.clocks import CameraClocks
from fourdgs_ns.corrections.colors import CameraColors
from fourdgs_ns.corrections.poses import CameraPoses
from fourdgs_ns.representation.types import GaussiansAtTime


class CameraCorrections(nn.Module):
    """One correction per training camera and kind; what is switched off is None. Held-out cameras have none."""

    def __init__(self, num_cameras: int, *, colors: bool, clocks: bool, poses: bool) -> None:
        super().__init__()
        self.colors = CameraColors(num_cameras) if colors else None
        self.clocks = CameraClocks(num_cameras) if clocks else None
        self.poses = CameraPoses(num_cameras) if poses else None

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameter groups by the name of their optimizer."""
        kinds = {"camera_colors": self.colors, "camera_times": self.clocks, "camera_poses": self.poses}
        return {name: list(kind.parameters()) for name, kind in kinds.items() if kind is not None}

    def center(self) -> None:
        """Bring back what all cameras have in common: it belongs to the scene."""
        for kind in (self.colors, self.clocks, self.poses):
            if kind is not None:
                kind.center()

    def of(self, cameras: Int[Tensor, " b"]) -> Correction:
        """The corrections of the training cameras of one batch, which share their instant.

        Raises:
            UserError: clocks or poses are learned and there is more than one camera.
        """
        if len(cameras) != 1 and (self.clocks is not None or self.poses is not None):
            raise UserError(
                "time offsets and poses are learned for one camera at a time: add --pipeline.datamanager.batch-size 1, or leave "
                "--pipeline.model.time-offsets and --pipeline.model.pose-correction away"
            )
        return Correction(self, cameras)


@dataclass(frozen=True)
class Correction:
    """What one batch of training cameras saw differently from what their calibration says."""

    learned: CameraCorrections
    cameras: Int[Tensor, " b"]

    def time(self, t: float) -> float | Tensor:
        """The instant at which the frames called ``t`` were exposed."""
        return t if self.learned.clocks is None else self.learned.clocks(t, int(self.cameras[0]))

    @property
    def moves(self) -> bool:
        """Whether :meth:`move` changes anything."""
        return self.learned.poses is not None

    def move(self, gaussians: GaussiansAtTime, center: Float[Tensor, "3"]) -> GaussiansAtTime:
        """The slice as it stands before the camera, whose centre is given."""
        if self.learned.poses is None:
            return gaussians
        return self.learned.poses.transform(gaussians, int(self.cameras[0]), center)

    def recolor(self, rgb: Float[Tensor, "b h w 3"]) -> Float[Tensor, "b h w 3"]:
        """The images as the cameras would have taken them."""
        return rgb if self.learned.colors is None else self.learned.colors(rgb, self.cameras)
