"""ns-viewer and the viewer of ns-train: what they call when a browser moves, without a browser."""

from __future__ import annotations

import socket
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer.utils import CameraState, get_camera
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO, Viewer

from tests.cli.run import command_line, environment


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listening(process: psutil.Process) -> dict[int, str]:
    """Address by port."""
    return {c.laddr.port: c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def viewer(run):
    """The viewer as ns-viewer builds it, on a pipeline of its own."""
    from fourdgs_ns.plugin.methods import trainer_config

    _, pipeline, _, _ = eval_setup(run.config, test_mode="test")
    port = free_port()
    # The method's own settings, which ns-train uses.
    usual = trainer_config("spacetime-gaussian").viewer
    assert usual.websocket_host == "127.0.0.1"
    settings = ViewerConfig(
        websocket_host=usual.websocket_host,
        websocket_port=port,
        max_num_display_images=usual.max_num_display_images,
    )
    viewer = Viewer(settings, run.folder / "viewer.log", pipeline.datamanager.get_datapath(), pipeline)
    viewer.init_scene(pipeline.datamanager.train_dataset, "completed", pipeline.datamanager.eval_dataset)
    viewer.update_scene(step=14)
    yield viewer
    viewer.viser_server.stop()


@pytest.fixture
def browser(viewer):
    """What a connected browser makes the viewer render: a function of the time slider and a camera of the data."""
    client = SimpleNamespace(camera=SimpleNamespace(aspect=1.5), scene=None, client_id=0)
    machine = RenderStateMachine(viewer, VISER_NERFSTUDIO_SCALE_RATIO, client)
    machine.state = "high"
    panel = viewer.control_panel
    panel._max_res.value = 64

    def look(t: float, view: int = 0):
        panel.time = t
        camera = viewer.pipeline.datamanager.train_dataset.cameras[view]
        state = CameraState(
            fov=0.9, aspect=1.5, c2w=camera.camera_to_worlds.double(), camera_type=CameraType.PERSPECTIVE
        )
        return state, machine._render_img(state)

    yield look
    panel.crop_viewport = False
    panel.background_color = (38, 42, 55)


def test_listens_on_this_machine_only(viewer):
    port = viewer.config.websocket_port
    assert listening(psutil.Process())[port] == "127.0.0.1"


def test_starting_loads_no_clip(viewer):
    """Nerfstudio reads every property of the pipeline's modules; the frames must not be among them."""
    assert "frames" not in vars(viewer.pipeline.datamanager)


def test_camera_paths_of_a_read_only_capture_go_to_its_cache(viewer, tmp_path, monkeypatch):
    manager = viewer.pipeline.datamanager
    assert manager.get_datapath() == manager.train_dataset.capture.root
    monkeypatch.setattr("fourdgs_ns.plugin.datamanager.cache_directory", lambda root: tmp_path)
    assert manager.get_datapath() == tmp_path


def test_training_cameras_are_shown(viewer):
    assert len(viewer.camera_handles) == len(viewer.pipeline.datamanager.train_dataset)


def test_slider_chooses_the_time(viewer, browser):
    assert viewer.include_time
    model = viewer.pipeline.model
    images = {}
    for t in (0.0, 0.37, 1.0):
        state, outputs = browser(t)
        images[t] = outputs["rgb"]
        assert outputs["rgb"].shape == (42, 64, 3)
        camera = get_camera(state, 42, 64)
        assert float(camera.times) == pytest.approx(t)
        model.set_background(torch.tensor([38, 42, 55]) / 255)
        torch.testing.assert_close(outputs["rgb"], model.get_outputs_for_camera(camera)["rgb"])
    assert (images[0.0] - images[1.0]).abs().max() > 3 / 255
    assert (images[0.0] - images[0.37]).abs().max() > 1 / 255


@pytest.mark.parametrize("output", ["rgb", "depth", "accumulation"])
def test_every_output_can_be_shown(viewer, browser, output):
    """Through the viewer's own colour maps, as it would be sent."""
    sent = {}
    _, outputs = browser(0.5)
    machine = RenderStateMachine(
        viewer, VISER_NERFSTUDIO_SCALE_RATIO,
        SimpleNamespace(
            camera=SimpleNamespace(aspect=64 / 42),
            scene=SimpleNamespace(set_background_image=lambda image, **_: sent.update(image=image)),
        ),
    )  # fmt: skip
    viewer.control_panel.update_output_options(list(outputs))
    viewer.control_panel._output_render.value = output
    machine._send_output_to_viewer(outputs)
    viewer.control_panel._output_render.value = "rgb"
    assert sent["image"].shape == (42, 64, 3) and sent["image"].dtype == np.uint8
    assert sent["image"].max() > sent["image"].min()


def test_background_colour_acts_on_the_image_and_on_nothing_else(viewer, browser):
    model, panel = viewer.pipeline.model, viewer.control_panel
    images = []
    for color in ((0, 0, 0), (51, 0, 102)):
        panel.background_color = color
        images.append(browser(0.5)[1])
    black, violet = images
    behind = (1 - black["accumulation"]) * torch.tensor([0.2, 0.0, 0.4])
    assert behind.max() > 0.05
    torch.testing.assert_close(violet["rgb"], (black["rgb"] + behind).clamp(max=1), atol=1e-5, rtol=0)
    # Scores and training see the capture's background whatever a browser asked for last.
    camera, _ = viewer.pipeline.datamanager.eval_view(0)
    assert torch.equal(model.get_outputs_for_camera(camera)["background"][0, 0], torch.zeros(3))
    model.set_background(torch.ones(3))
    model.train()
    assert torch.equal(model.background(), torch.zeros(3))
    model.eval()
    model.viewer_background = None


@torch.no_grad()
def test_crop_box_acts_where_gaussians_are_at_t(viewer, browser):
    """Rendering inside the box equals rendering without the Gaussians whose centre at t is outside."""
    model, panel = viewer.pipeline.model, viewer.control_panel
    learned = {name: value.data.clone() for name, value in model.gauss_params.items()}
    middle = model.slice(0.5).means
    center, half = middle.mean(dim=0), middle.std(dim=0)
    # Everything moves by a box from t = 0 to t = 1, so that the box holds others then.
    model.gauss_params["motion"].data[:, 0] += 2 * half[0].item()
    panel._crop_center.value, panel._crop_scale.value = tuple(center.tolist()), tuple((2 * half).tolist())
    held = []
    try:
        for t in (0.0, 1.0):
            panel.crop_viewport = True
            cropped = browser(t)[1]
            part = model.slice(t)
            inside = ((part.means - center).abs() < half).all(dim=1)
            held.append(set(part.ids[inside].tolist()))
            assert 0 < int(inside.sum()) < len(inside)
            panel.crop_viewport = False
            opacities = model.gauss_params["opacities"].data
            before = opacities.clone()
            opacities[part.ids[~inside]] = -20.0
            expected = browser(t)[1]
            opacities.copy_(before)
            assert cropped["accumulation"].max() > 0.02
            for name in ("rgb", "depth", "accumulation"):
                torch.testing.assert_close(cropped[name], expected[name], atol=1e-4, rtol=1e-4)
        assert held[0] != held[1]
    finally:
        for name, value in learned.items():
            model.gauss_params[name].data = value


def test_a_box_around_everything_changes_nothing(viewer, pipeline):
    camera, _ = pipeline.datamanager.eval_view(2)
    everything = OrientedBox(R=torch.eye(3), T=torch.zeros(3), S=torch.full((3,), 1e4))
    whole = pipeline.model.get_outputs_for_camera(camera)["rgb"]
    torch.testing.assert_close(pipeline.model.get_outputs_for_camera(camera, everything)["rgb"], whole)


@pytest.mark.slow
def test_the_command_serves_this_machine_only_and_stays_up(run):
    """Without being told so, which Nerfstudio alone would not."""
    port = free_port()
    process = subprocess.Popen(
        command_line(
            "ns-viewer", "--load-config", run.config, "--viewer.websocket-port", port,
        ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    try:
        addresses: dict[int, str] = {}
        deadline = time.monotonic() + 180
        while port not in addresses and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            addresses = listening(psutil.Process(process.pid))
        time.sleep(3)  # the training cameras are rendered after the server listens
        assert process.poll() is None
        assert addresses.get(port) == "127.0.0.1"
        assert set(addresses.values()) == {"127.0.0.1"}
    finally:
        process.kill()
        out = process.communicate()[0]
    assert "Traceback" not in out, out
