"""Renders what the viewer's user asked to see: a colouring, fewer Gaussians, or a view beside its render."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.palette import ValueRange
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.inspection.colorings import InspectedSlice, recolored, visible
from fourdgs_ns.inspection.comparison import Layout, compose, resized
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from fourdgs_ns.plugin.model import DynamicGaussiansModel
from fourdgs_ns.plugin.nerfstudio_cameras import fitted
from fourdgs_ns.rasterization.render import SliceEdit
from fourdgs_ns.representation.types import GaussiansAtTime
from fourdgs_ns.training.memory import one_line

OWN_COLORS = "appearance"
"""The coloring that shows the Gaussians' own colours."""
RANGE_VIEWS = 8
"""Views from which the ranges of speeds and depths are taken."""
RATE_WINDOW_SECONDS = 1.0


@dataclass(frozen=True)
class SliceRanges:
    """Values that the palette's ends stand for, the same at every t and from every camera."""

    speed: ValueRange
    depth: ValueRange


@torch.no_grad()
def slice_ranges(model: DynamicGaussiansModel, cameras: Cameras) -> SliceRanges:
    """Ranges over views spread evenly over ``cameras``: speeds up to their 95th percentile, depths from the 5th to the 95th.

    Gaussians count where they stand in front of the camera with an opacity of at least 0.05.
    """
    speeds, depths = [], []
    for index in torch.linspace(0, len(cameras) - 1, RANGE_VIEWS).round().long().unique().tolist():
        camera = cameras[index : index + 1]
        gaussians = model.slice(model.time_of(camera))
        z = depths_of(gaussians, model.pinhole_cameras(camera))
        seen = (z > model.near) & (gaussians.opacities >= 0.05)
        depths.append(z[seen])
        speeds.append(gaussians.velocities.norm(dim=-1)[seen])
    z, speed = torch.cat(depths), torch.cat(speeds)
    return SliceRanges(ValueRange(0.0, _quantile(speed, 0.95)), ValueRange(_quantile(z, 0.05), _quantile(z, 0.95)))


def _quantile(values: Tensor, share: float) -> float:
    # torch.quantile refuses more than 16 million values.
    return float(values.sort().values[round(share * (len(values) - 1))]) if len(values) else 0.0


def depths_of(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> Tensor:
    """z of each mean in the first camera [m]."""
    camera_from_world = cameras.camera_from_world[0]
    return gaussians.means @ camera_from_world[2, :3] + camera_from_world[2, 3]


def coloring_edit(
    model: DynamicGaussiansModel, t: float, ranges: SliceRanges, coloring: str, min_seconds: float, min_speed: float
) -> SliceEdit:
    """The edit of the slice at ``t`` that hides and recolours; ``min_speed`` in world units per second."""

    def edit(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> GaussiansAtTime:
        start, stop = (bound[gaussians.ids] for bound in model.representation.lifespan(model.canonical()))
        inspected = InspectedSlice(
            gaussians, t, start, stop, depths_of(gaussians, cameras), model.clip, ranges.speed, ranges.depth
        )
        shown = gaussians if coloring == OWN_COLORS else recolored(inspected, coloring)
        return shown.select(visible(inspected, min_seconds, min_speed)) if min_seconds > 0 or min_speed > 0 else shown

    return edit


@dataclass
class Statistics:
    """What the last image was made of."""

    t: float = 0.0
    alive: int = 0
    shown: int = 0
    total: int = 0
    view: str = ""
    """The view that is compared with, if any."""
    refusal: str = ""
    """Why the last image could not be rendered."""
    rendered_at: deque[float] = field(default_factory=lambda: deque(maxlen=600))
    """When the last images were, in seconds of ``perf_counter``."""

    def rate(self) -> float:
        """Images rendered per second over the last second."""
        now = perf_counter()
        # A copy: other threads render meanwhile.
        return sum(now - then <= RATE_WINDOW_SECONDS for then in list(self.rendered_at)) / RATE_WINDOW_SECONDS


class Inspector:
    """The state of the viewer's widgets and the function that renders accordingly."""

    def __init__(
        self,
        model: DynamicGaussiansModel,
        train_dataset: MultiViewVideoDataset,
        eval_dataset: MultiViewVideoDataset,
    ) -> None:
        self.model = model
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.coloring = OWN_COLORS
        self.min_seconds = 0.0
        self.min_speed = 0.0
        """World units of the capture per second."""
        self.comparison: Literal["off", "held-out", "training"] = "off"
        self.layout: Layout = "wipe"
        self.wipe = 0.5
        self.statistics = Statistics()
        self._ranges: tuple[int, SliceRanges] | None = None
        self._truth: tuple[tuple[str, int], Tensor] | None = None

    def ranges(self) -> SliceRanges:
        """Ranges of the model as it is, computed anew after a thousand steps of training."""
        model = self.model
        age = model.step // 1000
        if self._ranges is None or self._ranges[0] != age:
            self._ranges = age, slice_ranges(model, self.train_dataset.cameras)
        return self._ranges[1]

    @torch.no_grad()
    def warm_up(self) -> None:
        """Render one small image, so that kernels are loaded and compiled."""
        model = self.model
        was_training = model.training
        model.eval()
        model.get_outputs(fitted(self.train_dataset.cameras[0:1], 32, 32))
        model.train(was_training)

    def legend(self) -> str:
        """What the palette's ends stand for, in the capture's units; empty for the scene's own colours."""
        if self._ranges is None or self.coloring == OWN_COLORS:
            return ""
        model, ranges = self.model, self._ranges[1]
        scale = model.world_from_capture.scale if model.world_from_capture is not None else 1.0
        seconds = model.clip.duration_seconds or 1.0
        low, high = {
            "motion speed": ("0", f"{ranges.speed.high / scale / seconds:.3g} units/s or more"),
            "duration": ("0 s", f"{seconds:.3g} s"),
            "temporal centre": ("0 s", f"{seconds:.3g} s (grey: always there)"),
            "age": ("just appeared", "about to go"),
            "depth": (f"{ranges.depth.low / scale:.3g} units", f"{ranges.depth.high / scale:.3g} units or more"),
        }[self.coloring]
        return f"{self.coloring}: dark blue {low}, red {high}"

    def dataset(self) -> MultiViewVideoDataset:
        """The views that are compared with."""
        return self.eval_dataset if self.comparison == "held-out" else self.train_dataset

    @torch.no_grad()
    def render(self, camera: Cameras) -> dict[str, Any]:
        """Outputs for the viewer's ``camera`` [1]; compared, it is replaced by the nearest view's own, at its own t.

        What a user must mend (another camera model, say) is told under the slider: an exception would end the viewer's thread.
        """
        try:
            with one_line("the viewer rendered", lambda: self.model.memory_use(camera)):
                outputs = self._render(camera)
            self.statistics.refusal = ""
        except UserError as error:
            self.statistics.refusal = str(error)
            height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
            # On the CPU: the GPU's memory may be what has run out.
            empty = torch.zeros(height, width, 3)
            outputs = {"rgb": empty, "depth": empty[..., :1], "accumulation": empty[..., :1], "background": empty}
        return outputs

    def _render(self, camera: Cameras) -> dict[str, Any]:
        model, view = self.model, None
        if self.comparison != "off":
            dataset = self.dataset()
            view = dataset.nearest_view(camera.camera_to_worlds[0], model.time_of(camera))
            height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
            if self.layout == "side by side":
                width //= 2
            camera = fitted(dataset.cameras[view : view + 1], height, width)
        outputs = model.get_outputs(camera, self._edit(model.time_of(camera)))
        if view is not None:
            truth = resized(self._read_truth(view, outputs["background"]), *outputs["rgb"].shape[:2])
            outputs["rgb"] = compose(outputs["rgb"], truth, self.layout, self.wipe)
        self.statistics.view = (
            "" if view is None else f"{dataset.camera_name(view)}, frame {dataset.frame_number(view)}"
        )
        self.statistics.rendered_at.append(perf_counter())
        return outputs

    def _edit(self, t: float) -> SliceEdit:
        """Counts what is alive, then hides and recolours as asked."""
        model, change = self.model, None
        if self.coloring != OWN_COLORS or self.min_seconds > 0 or self.min_speed > 0:
            scale = model.world_from_capture.scale if model.world_from_capture is not None else 1.0
            change = coloring_edit(model, t, self.ranges(), self.coloring, self.min_seconds, self.min_speed * scale)

        def edit(gaussians: GaussiansAtTime, cameras: PinholeCameras) -> GaussiansAtTime:
            shown = gaussians if change is None else change(gaussians, cameras)
            numbers = self.statistics
            numbers.t, numbers.alive, numbers.shown, numbers.total = (
                t,
                len(gaussians.ids),
                len(shown.ids),
                model.num_points,
            )
            return shown

        return edit

    def _read_truth(self, view: int, background: Tensor) -> Tensor:
        """The view's image in [0, 1] over the viewer's background [h, w, 3]; the last one is kept."""
        key = (self.comparison, view)
        if self._truth is None or self._truth[0] != key:
            image = torch.from_numpy(self.dataset().get_numpy_image(view)).to(background.device)
            self._truth = key, image
        return self.model.ground_truth({"image": self._truth[1]}, background.reshape(-1, 3)[0])
