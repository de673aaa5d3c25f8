"""Drawing the cameras of one instant: slice, rasterise, decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor, nn

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization import Rendering
from fourdgs_ns.rasterization.render import SliceEdit, render_at
from fourdgs_ns.representation.base import GaussiansAtTime

if TYPE_CHECKING:
    from fourdgs_ns.plugin.model import DynamicGaussiansModel


@dataclass
class Drawn:
    """One drawing of cameras of one instant."""

    rgb: Float[Tensor, "b h w 3"]
    rendering: Rendering
    slice: GaussiansAtTime
    """First what is in the rendering."""
    cameras: PinholeCameras
    background: Float[Tensor, "3"]
    t: float

    @property
    def gaussians(self) -> GaussiansAtTime:
        """What is in the rendering."""
        return self.slice.select(slice(len(self.rendering.ids)))


def draw(model: DynamicGaussiansModel, camera: Cameras, edit: SliceEdit | None = None) -> Drawn:
    """Slice, rasterise, decode; in training also as each camera would have seen it."""
    t, cameras, background = model.exposure_time(camera), model.cameras_for_rasterizer(camera), model.background()

    def behind(gaussians: GaussiansAtTime) -> Tensor | None:
        return background if _decoder_for(model, gaussians) is None else None

    gaussians, rendering = render_at(
        model.representation, model.canonical(), t, cameras, model.active_set, edit=_edits(model, camera, edit),
        background=behind, depth=not model.training,
    )  # fmt: skip
    decoder = _decoder_for(model, gaussians)
    if decoder is None:
        rgb = rendering.features
    else:
        decoded = decoder(rendering.features, cameras.rays())
        rgb = rendering.alphas * decoded + (1 - rendering.alphas) * background
    if model.training and model.camera_colors is not None and camera.metadata is not None:
        rgb = model.camera_colors(rgb, camera.metadata["cam_id"][:, 0])
    return Drawn(rgb, rendering, gaussians, cameras, background, float(t))


def _decoder_for(model: DynamicGaussiansModel, gaussians: GaussiansAtTime) -> nn.Module | None:
    """Three channels are RGB already: what an edit gave, whatever the method's own features are."""
    return None if gaussians.features.shape[1:] == (3,) else model.decoder


def _edits(model: DynamicGaussiansModel, camera: Cameras, edit: SliceEdit | None) -> SliceEdit | None:
    """All that is changed about a slice before it is drawn; None when nothing is."""
    crop = None if model.training else model.crop_box
    corrected = None if model.camera_poses is None else model.corrected_camera(camera)
    if crop is None and corrected is None:
        return edit

    def change(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> GaussiansAtTime:
        if crop is not None:
            gaussians = gaussians.select(crop.within(gaussians.means).reshape(-1))
        if model.camera_poses is not None and corrected is not None:
            gaussians = model.camera_poses.transform(gaussians, corrected, cameras.centers()[0])
        return gaussians if edit is None else edit(gaussians, cameras)

    return change
