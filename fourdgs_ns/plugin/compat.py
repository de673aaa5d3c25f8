"""The one place that touches private parts of other packages, with the versions it was written for."""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.engine.trainer import Trainer
    from nerfstudio.viewer.viewer import Viewer


def start_step(trainer: Trainer) -> int:
    """First step of a run: 0, or the one after the checkpoint that was loaded (nerfstudio 1.1)."""
    return trainer._start_step


class AttachedControl(ViewerControl):
    """A control that the viewer finds on the pipeline and that learns when there is a viewer (nerfstudio 1.1)."""

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        self.attach(viewer)

    @abstractmethod
    def attach(self, viewer: Viewer) -> None:
        """Called once, when the viewer's own panels are complete."""


def select_cameras(cameras: Cameras, indices: Int[Tensor, " b"]) -> Cameras:
    """What ``cameras[indices]`` [v] -> [b] gives, in a third of its time: without broadcasting and checks."""
    chosen = copy.copy(cameras)
    for name, value in vars(cameras).items():
        if isinstance(value, Tensor):
            setattr(chosen, name, value[indices])
    if cameras.metadata is not None:
        chosen.metadata = {name: value[indices] for name, value in cameras.metadata.items()}
    chosen._shape = indices.shape
    return chosen


def rerender(viewer: Viewer) -> None:
    """Render the image of every browser again (nerfstudio 1.1)."""
    viewer._trigger_rerender()


def hide_time_slider(viewer: Viewer) -> None:
    """Put Nerfstudio's slider of 101 positions away; ``control_panel.time`` still is what is rendered (nerfstudio 1.1)."""
    panel = viewer.control_panel
    panel._time_enabled = False
    panel._time.set_hidden(True)


def mend_ns_render(datamanager: type) -> None:
    """Give ``ns-render interpolate`` its times, let ``ns-render spiral`` start from ``datamanager`` and keep it upright
    (nerfstudio 1.1.5).

    The command's module has bound the names before any plugin is loaded, so they are replaced where it is running. Versions
    that carry the times themselves, or do not ask for the datamanager's type, are left as they are.
    """
    for name in ("nerfstudio.scripts.render", "__main__"):
        module = sys.modules.get(name)
        if module is None or not hasattr(module, "SpiralRender") or not hasattr(module, "RenderInterpolated"):
            continue
        stock: Any = getattr(module, "get_interpolated_camera_path", None)
        if stock is not None and not hasattr(stock, "carries_times"):
            module.get_interpolated_camera_path = carrying_times(stock)  # type: ignore[attr-defined]
        spiral: Any = getattr(module, "get_spiral_path", None)
        if spiral is not None and not hasattr(spiral, "is_upright"):
            module.get_spiral_path = upright(spiral)  # type: ignore[attr-defined]
        accepted: Any = getattr(module, "RandomCamerasDataManager", None)
        if isinstance(accepted, type):
            # isinstance takes tuples inside tuples: the assertion now also knows whole images.
            module.RandomCamerasDataManager = (accepted, datamanager)  # type: ignore[attr-defined]


def carrying_times(stock: Callable[..., Cameras]) -> Callable[..., Cameras]:
    """Nerfstudio's ``get_interpolated_camera_path``, with times where it drops them."""
    from nerfstudio.cameras.camera_utils import get_interpolated_poses_many

    def interpolated(cameras: Cameras, steps: int, order_poses: bool) -> Cameras:
        path = stock(cameras, steps, order_poses)
        if path.times is None and cameras.times is not None:
            # Times travel in an unused entry of the intrinsics, which are ordered and interpolated with the poses.
            carriers = cameras.get_intrinsics_matrices()
            carriers[:, 2, 0] = cameras.times[:, 0].to(carriers)
            _, carriers = get_interpolated_poses_many(
                cameras.camera_to_worlds, carriers, steps_per_transition=steps, order_poses=order_poses
            )
            path.times = carriers[:, 2, 0:1].to(path.camera_to_worlds)
        return path

    interpolated.carries_times = True  # type: ignore[attr-defined]
    return interpolated


def upright(stock: Callable[..., Cameras]) -> Callable[..., Cameras]:
    """Nerfstudio's ``get_spiral_path`` with the start camera's own up direction: it takes an axis of the world for one of the
    camera, so that images come out rolled, by half a turn for a camera that looks along y."""

    def spiral(camera: Cameras, *args: Any, **options: Any) -> Cameras:
        path = stock(camera, *args, **options)
        back = path.camera_to_worlds[:, :3, 2]
        up = camera.camera_to_worlds[0:1, :3, 1].expand_as(back)
        right = torch.nn.functional.normalize(torch.linalg.cross(up, back), dim=-1)
        path.camera_to_worlds[:, :3, :3] = torch.stack([right, torch.linalg.cross(back, right), back], dim=-1)
        return path

    spiral.is_upright = True  # type: ignore[attr-defined]
    return spiral


def set_longest_side(viewer: Viewer, pixels: int) -> None:
    """What the viewer's slider "Max res" does (nerfstudio 1.1)."""
    viewer.control_panel._max_res.value = pixels


def keyframes_take_time(time: Callable[[], float]) -> None:
    """Let keyframes that are added in the viewer's Render tab carry the t that is shown then, as if it had been typed into their
    "Override Time" (nerfstudio 1.1, where they all begin with the tab's default time).

    Args:
        time: t that the viewer shows.
    """
    from nerfstudio.viewer.render_panel import Keyframe

    stock: Any = Keyframe.from_camera
    stock = getattr(stock, "stock", stock)

    def from_camera(camera: Any, aspect: float) -> Keyframe:
        keyframe = stock(camera, aspect)
        keyframe.override_time_enabled, keyframe.override_time_val = True, time()
        return keyframe

    from_camera.stock = stock  # type: ignore[attr-defined]
    Keyframe.from_camera = staticmethod(from_camera)  # type: ignore[method-assign]


def mend_paths_of_two_keyframes() -> None:
    """Let the viewer's Render tab save a camera path of two keyframes.

    Between two rotations splines 0.3.0, which Nerfstudio 1.1.5 pins, asks an empty array whether it is true, which NumPy 2.2 and
    later refuse.
    """
    from splines import quaternion

    stock: Any = quaternion.KochanekBartels
    if hasattr(stock, "takes_two"):
        return

    class Rotations(stock):
        """Stock's spline; between two rotations their great circle."""

        takes_two = True

        def __init__(
            self, quaternions: Any, grid: Any = None, *, endconditions: Any = "natural", **options: Any
        ) -> None:
            rotations = list(quaternion.canonicalized(quaternions))
            if len(rotations) != 2 or endconditions == "closed":
                super().__init__(quaternions, grid, endconditions=endconditions, **options)
                return
            first, last = rotations
            # Control rotations at thirds of a great circle make a cubic curve run along it at constant speed.
            thirds = [quaternion.slerp(first, last, share) for share in (1 / 3, 2 / 3)]
            quaternion.DeCasteljau.__init__(self, [[first, *thirds, last]], grid)

    quaternion.KochanekBartels = Rotations  # type: ignore[misc]


def keep_viewer_local() -> None:
    """Have ``ns-viewer`` listen on this machine only unless a host was typed: it shows the capture's images (nerfstudio 1.1).

    Its default, all interfaces, is not that of the run's config, which it does not read. Called by our pipeline: a process that
    shows another method's run never gets here.
    """

    for name in ("nerfstudio.scripts.viewer.run_viewer", "__main__"):
        module = sys.modules.get(name)
        start: Any = getattr(module, "_start_viewer", None)
        if module is None or start is None or hasattr(start, "is_local"):
            continue

        def start_locally(config: Any, pipeline: Any, step: int, start: Callable[..., None] = start) -> None:
            typed = (word.replace("_", "-") for word in sys.argv)
            if not any(word.startswith("--viewer.websocket-host") for word in typed):
                config.viewer.websocket_host = "127.0.0.1"
            start(config, pipeline, step)

        start_locally.is_local = True  # type: ignore[attr-defined]
        module._start_viewer = start_locally  # type: ignore[attr-defined]


def load_checkpoints_only(pipeline: type, latest: Callable[[Path], int]) -> None:
    """Have ``ns-eval`` and its like load the latest checkpoint of a ``pipeline`` (nerfstudio 1.1).

    They take every file beside the checkpoints for one, and the step that a training went on from for the one to show.

    Args:
        latest: Step of the latest checkpoint in a folder.
    """
    from nerfstudio.utils import eval_utils

    stock: Any = eval_utils.eval_load_checkpoint
    if hasattr(stock, "loads_checkpoints_only"):
        return

    def load(config: Any, built: Any) -> tuple[Path, int]:
        if isinstance(built, pipeline):
            config.load_step = latest(config.load_dir)
        return stock(config, built)

    load.loads_checkpoints_only = True  # type: ignore[attr-defined]
    eval_utils.eval_load_checkpoint = load  # type: ignore[assignment]
