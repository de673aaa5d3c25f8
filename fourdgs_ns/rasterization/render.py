"""From canonical parameters and t to images: slice, rasterize, decode, and correct for each camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from fourdgs_ns.corrections.camera_corrections import Correction
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization.rasterize import rasterize
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.parts.active_set import ActiveRows, ActiveSet
from fourdgs_ns.representation.types import GaussiansAtTime, Parameters

SliceEdit = Callable[[GaussiansAtTime, PinholeCameras], GaussiansAtTime]
"""What is changed about a slice before it is rendered: Gaussians left out or moved, or others' features, [m, 3] RGB."""


def render_at(
    representation: Representation,
    params: Parameters,
    t: float | Tensor,
    cameras: PinholeCameras,
    active_set: ActiveSet,
    *,
    edit: SliceEdit | None = None,
    background: Callable[[GaussiansAtTime], Float[Tensor, " d"] | None] = lambda _: None,
    depth: bool = False,
) -> tuple[GaussiansAtTime, Rendering]:
    """Slice at ``t``, change the slice by ``edit``, and rasterize it; differentiable as its parts are.

    ``background`` gives the features behind a slice; see :func:`rasterize`. In the rendering are exactly the Gaussians alive at
    ``t``; the slice may hold some more behind them, which are in no image. Without gradients the slice and the rendering's ids
    hold until the next rendering.
    """
    while True:
        if edit is None:
            gaussians, rows = active_set.slice(representation, params, t, cameras.centers())
        else:
            # Edits may move Gaussians, which changes colours, and must not meet places without one.
            rows = ActiveRows(representation.active(params, float(t)), None)
            gaussians = edit(representation.at(params, t, rows.ids), cameras)
        rendering = rasterize(gaussians, cameras, background=background(gaussians), depth=depth)
        count = active_set.count(rows)
        if count is not None:
            return gaussians, rendering.first(count) if edit is None else rendering


@dataclass(frozen=True)
class Views:
    """All that the images of some cameras at one instant depend on."""

    representation: Representation
    params: Parameters
    t: float
    """As the cameras state it, in [0, 1]."""
    cameras: PinholeCameras
    background: Float[Tensor, "3"]
    decoder: nn.Module | None = None
    correction: Correction | None = None
    """What these cameras saw differently; None outside training."""
    edit: SliceEdit | None = None
    depth: bool = False


@dataclass
class RenderedViews:
    """Images of cameras at one instant."""

    rgb: Float[Tensor, "b h w 3"]
    rendering: Rendering
    slice: GaussiansAtTime
    """First what is in the rendering."""
    cameras: PinholeCameras
    background: Float[Tensor, "3"]
    t: float
    """At which the frames were exposed."""

    @property
    def gaussians(self) -> GaussiansAtTime:
        """What is in the rendering."""
        return self.slice.select(slice(len(self.rendering.ids)))


def render_views(views: Views, active_set: ActiveSet) -> RenderedViews:
    """Slice, rasterize, decode; with a correction also as each camera would have seen it."""
    correction = views.correction
    t = views.t if correction is None else correction.time(views.t)

    def behind(gaussians: GaussiansAtTime) -> Tensor | None:
        return views.background if _decoder_for(views, gaussians) is None else None

    gaussians, rendering = render_at(
        views.representation, views.params, t, views.cameras, active_set, edit=_edit(views), background=behind,
        depth=views.depth,
    )  # fmt: skip
    decoder = _decoder_for(views, gaussians)
    if decoder is None:
        rgb = rendering.features
    else:
        decoded = decoder(rendering.features, views.cameras.rays())
        rgb = rendering.alphas * decoded + (1 - rendering.alphas) * views.background
    if correction is not None:
        rgb = correction.recolor(rgb)
    return RenderedViews(rgb, rendering, gaussians, views.cameras, views.background, float(t))


def _decoder_for(views: Views, gaussians: GaussiansAtTime) -> nn.Module | None:
    """Three channels are RGB already: what an edit gave, whatever the method's own features are."""
    return None if gaussians.features.shape[1:] == (3,) else views.decoder


def _edit(views: Views) -> SliceEdit | None:
    """The edit, after what the camera's learned pose moves; None when nothing is changed."""
    correction, edit = views.correction, views.edit
    if correction is None or not correction.moves:
        return edit

    def change(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> GaussiansAtTime:
        gaussians = correction.move(gaussians, cameras.centers()[0])
        return gaussians if edit is None else edit(gaussians, cameras)

    return change
