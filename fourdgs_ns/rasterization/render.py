"""Drawing one instant from canonical parameters."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization.rasterize import rasterize
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.base import GaussiansAtTime, Parameters, Representation
from fourdgs_ns.representation.parts.active_set import ActiveRows, ActiveSet

SliceEdit = Callable[[GaussiansAtTime, PinholeCameras], GaussiansAtTime]
"""What is changed about a slice before it is drawn: Gaussians left out or moved, or others' features, [m, 3] RGB."""


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
    """Slice at ``t``, change the slice by ``edit``, and rasterise it; differentiable as its parts are.

    ``background`` gives the features behind a slice; see :func:`rasterize`. In the rendering are exactly the rows alive at
    ``t``; the slice may hold some more behind them, which are in no picture. Without gradients the slice and the rendering's ids
    hold until the next drawing.
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
