"""How many images per second Play delivers: the viewer's whole way from slider to encoded image, without a browser."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.utils import writer
from nerfstudio.viewer.render_state_machine import RenderAction, RenderStateMachine
from nerfstudio.viewer.utils import CameraState
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer

from fourdgs_ns.plugin import compat
from fourdgs_ns.plugin.runs import LoadedRun

PATIENCE_SECONDS = 60.0
"""An image that takes longer means that rendering failed."""


@dataclass(frozen=True)
class PlayRate:
    """What was delivered."""

    images_per_second: float
    width: int
    """Median size: the viewer renders smaller images when it cannot keep up."""
    height: int
    rendered_per_second: float
    """The same images at full size, rendered only: neither copied to the host nor encoded."""


class _CountingScene:
    """Takes images as a browser's scene does, through viser's own encoder."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.sizes: list[tuple[int, int]] = []
        self.arrived = threading.Event()

    def set_background_image(self, image: np.ndarray, **options: Any) -> None:
        self.scene.set_background_image(image, **options)
        self.sizes.append(image.shape[:2])
        self.arrived.set()


def measure(run: LoadedRun, size: tuple[int, int], repeats: int) -> PlayRate:
    """Play ``repeats`` images of ``size`` = width, height, each of the next frame, from the first held-out camera.

    Every image passes Nerfstudio's render thread, its adaptive resolution and viser's JPEG encoder. A first round of as many
    images, at least 20, warms up.
    """
    pipeline, (width, height) = run.pipeline, size
    with tempfile.TemporaryDirectory() as folder:
        # Port 0 would be a fixed one to viser; a free one is looked for from the default on.
        config = ViewerConfig(websocket_host="127.0.0.1", max_num_display_images=1)
        viewer = Viewer(config, Path(folder) / "viewer.log", pipeline.datamanager.get_datapath(), pipeline)
        run.config.logging.local_writer.enable = False
        writer.setup_local_writer(run.config.logging, max_iter=1)
        viewer.init_scene(pipeline.datamanager.train_dataset, "completed", pipeline.datamanager.eval_dataset)
        compat.set_longest_side(viewer, max(width, height))
        scene = _CountingScene(viewer.viser_server.scene)
        # The render thread also asks for the camera by itself when nothing happens.
        eye = SimpleNamespace(aspect=width / height, fov=1.0, wxyz=np.array([1.0, 0.0, 0.0, 0.0]), position=np.zeros(3))
        client: Any = SimpleNamespace(camera=eye, scene=scene, client_id=0)
        machine = RenderStateMachine(viewer, VISER_NERFSTUDIO_SCALE_RATIO, client)
        machine.start()
        view = pipeline.datamanager.eval_dataset.cameras[0]
        fov = 2 * np.arctan(float(view.height) / 2 / float(view.fy))
        state = CameraState(
            fov=fov, aspect=width / height, c2w=view.camera_to_worlds.double(), camera_type=CameraType.PERSPECTIVE
        )
        controls = pipeline.time_controls

        def play(count: int) -> float:
            start = perf_counter()
            for _ in range(count):
                scene.arrived.clear()
                controls.step("+1")
                machine.action(RenderAction("move", state))
                if not scene.arrived.wait(PATIENCE_SECONDS):
                    raise TimeoutError(f"no image in {PATIENCE_SECONDS:g} s; its error is printed above")
            return count / (perf_counter() - start)

        try:
            play(max(repeats, 20))
            scene.sizes.clear()
            rate = play(repeats)
            rows, columns = np.median(np.array(scene.sizes), axis=0).astype(int)
            statistics = controls.inspector.statistics
            assert statistics.total == pipeline.gaussians.num_points
            return PlayRate(rate, int(columns), int(rows), _rendered_per_second(run, state, size, repeats))
        finally:
            machine.running = False
            machine.join(PATIENCE_SECONDS)
            controls.stop()
            viewer.viser_server.stop()


def _rendered_per_second(run: LoadedRun, state: CameraState, size: tuple[int, int], repeats: int) -> float:
    from nerfstudio.viewer.utils import get_camera

    from fourdgs_ns.bench.timing import median_ms

    model, (width, height) = run.pipeline.gaussians, size
    frames = max(model.clip.num_frames - 1, 1)
    played = iter(range(10**9))

    def render() -> None:
        state.time = (next(played) % (frames + 1)) / frames
        model.get_outputs_for_camera(get_camera(state, height, width))

    return 1000.0 / median_ms(render, model.device, repeats)
