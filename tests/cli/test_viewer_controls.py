"""Playback, colourings and comparison in the viewer, without a browser."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import CameraType

from fourdgs_ns.inspection.colorings import COLORINGS
from fourdgs_ns.viewer.controls import orbited, slider_marks, status_text
from fourdgs_ns.viewer.inspector import OWN_COLORS, Inspector, Statistics
from fourdgs_ns.viewer.playback import Playhead
from tests.cli.run import fourdgs
from tests.cli.test_viewer import browser, viewer  # noqa: F401
from tests.plugin.tiny import FRAMES, HEIGHT, WIDTH

LAST = FRAMES - 1


@pytest.fixture
def controls(viewer):  # noqa: F811
    controls = viewer.pipeline.time_controls
    yield controls
    controls.pause()
    controls.playhead.set_repeat("loop")
    controls.playhead.speed, controls.between_frames = 1.0, False
    controls.playhead.seek(0)
    controls.show()


@pytest.fixture
def inspector(viewer):  # noqa: F811
    inspector = viewer.pipeline.time_controls.inspector
    yield inspector
    inspector.coloring, inspector.min_seconds, inspector.min_speed = OWN_COLORS, 0.0, 0.0
    inspector.comparison, inspector.layout, inspector.wipe = "off", "wipe", 0.5


def test_the_slider_of_frames_replaces_that_of_hundredths(viewer, controls):  # noqa: F811
    assert (controls.slider.value, controls.duration_seconds) == (0, pytest.approx(0.1))
    viewer.control_panel.update_control_panel()
    hidden = [e for e in viewer.control_panel._elements_by_tag["time"] if not e.gui_handle.visible]
    assert len(hidden) == 1
    assert slider_marks([0.0, 0.5, 1.0], 2.0) == ((0, "0.00 s"), (1, "1.00 s"), (2, "2.00 s"))


def test_play_moves_the_time_that_is_rendered_and_pause_stops_it(viewer, controls):  # noqa: F811
    controls.playhead.speed = 0.5
    controls.play()
    seen, deadline = set(), time.monotonic() + 20
    while len(seen) < FRAMES and time.monotonic() < deadline:
        seen.add(round(viewer.control_panel.time * LAST, 4))
        time.sleep(0.01)
    assert seen == {0.0, 1.0, 2.0, 3.0}
    assert controls.pause_button.visible and not controls.play_button.visible
    controls.pause()
    stopped = viewer.control_panel.time
    time.sleep(0.3)
    assert viewer.control_panel.time == stopped == controls.playhead.frame / LAST
    assert controls.slider.value == controls.playhead.frame
    assert controls.play_button.visible and not controls.pause_button.visible


def test_between_frames_renders_what_no_frame_shows(viewer, controls):  # noqa: F811
    controls.between_frames, controls.playhead.speed = True, 0.1
    controls.play()
    seen, deadline = set(), time.monotonic() + 20
    while len(seen) < 10 and time.monotonic() < deadline:
        seen.add(viewer.control_panel.time * LAST)
        time.sleep(0.01)
    assert sum(abs(place - round(place)) > 1e-3 for place in seen) >= 5


def test_playing_once_ends_with_the_play_button(controls):
    controls.playhead.set_repeat("once")
    controls.play()
    deadline = time.monotonic() + 20
    while controls.playhead.playing and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    assert controls.playhead.frame == LAST and controls.play_button.visible


def test_steps_go_round(viewer, controls):  # noqa: F811
    controls.step("-1")
    assert viewer.control_panel.time == 1.0
    controls.step("+1")
    assert viewer.control_panel.time == 0.0


def test_the_thread_is_a_daemon_and_ends_when_asked(run):
    from fourdgs_ns.representation.types import Clip
    from fourdgs_ns.viewer.controls import TimeControls

    controls = TimeControls(Inspector.__new__(Inspector))
    controls.playhead, controls.times = Playhead.of(Clip(3, 1.0)), [0.0, 0.5, 1.0]
    controls._report = lambda: None  # type: ignore[method-assign]
    controls.thread = threading.Thread(target=controls._run, daemon=True)
    controls.thread.start()
    controls.stop()
    assert not controls.thread.is_alive()
    assert any(thread.name == "playback" and thread.daemon for thread in threading.enumerate())


@pytest.mark.parametrize("coloring", list(COLORINGS))
def test_colourings_reach_the_viewer_and_nothing_else(viewer, browser, inspector, coloring):  # noqa: F811
    pipeline = viewer.pipeline
    camera, batch = pipeline.datamanager.eval_view(1)
    own, scores = browser(1 / LAST)[1]["rgb"], pipeline.score(camera, {**batch, "quick": True})[0]
    inspector.coloring = coloring
    shown = browser(1 / LAST)[1]
    assert (shown["rgb"] - own).abs().mean() > 0.01
    assert inspector.legend().startswith(f"{coloring}: dark blue ")
    again = pipeline.score(camera, {**batch, "quick": True})[0]
    assert (again["psnr"], again["ssim"]) == (scores["psnr"], scores["ssim"])


def test_hiding_everything_leaves_the_background(viewer, browser, inspector):  # noqa: F811
    inspector.min_speed = 1e9
    viewer.control_panel.background_color = (51, 0, 102)
    outputs = browser(0.5)[1]
    torch.testing.assert_close(outputs["rgb"], torch.tensor([0.2, 0.0, 0.4]).expand_as(outputs["rgb"]))
    assert inspector.statistics.shown == 0 < inspector.statistics.alive


def test_statistics_count_what_is_alive_at_t(viewer, browser, inspector):  # noqa: F811
    model = viewer.pipeline.model
    for t in (0.0, 0.7):
        browser(t)
        numbers = inspector.statistics
        assert (numbers.t, numbers.alive, numbers.total) == (
            pytest.approx(t),
            len(model.slice(t).ids),
            model.num_points,
        )
        assert numbers.rate() > 0
    text = status_text(Playhead(4, phase=2.0), 0.05, 0.1, Statistics(alive=1200, shown=1000, total=4800))
    assert "**0.050 s** of 0.100 s, frame 2 of 3" in text
    assert "1,200 of 4,800 Gaussians alive (25%), 200 hidden" in text


@pytest.mark.parametrize("source, view", [("held-out", 2), ("training", 6)])
def test_comparison_renders_the_nearest_view_beside_its_image(viewer, browser, inspector, source, view):  # noqa: F811
    """The browser stands at a camera of the other kind; what is rendered is the nearest one, at its own frame."""
    pipeline = viewer.pipeline
    inspector.comparison = source
    dataset = inspector.dataset()
    pose = dataset.cameras[view].camera_to_worlds.double()
    t = float(dataset.cameras.times[view])
    pose[:, 3] += 0.01
    assert dataset.nearest_view(pose.float(), t + 0.1) == view
    images = {}
    for layout in ("truth", "render", "difference", "side by side", "wipe"):
        inspector.layout = layout
        images[layout] = browser(t)[1]["rgb"]
    height, width = images["truth"].shape[:2]
    assert (height, width) == (images["render"].shape[0], images["render"].shape[1])
    assert width / height == pytest.approx(1.5, abs=0.05)
    torch.testing.assert_close(
        images["difference"], (3 * (images["truth"] - images["render"]).abs()).clamp(max=1), atol=1e-5, rtol=0
    )
    half = round(0.5 * width)
    torch.testing.assert_close(images["wipe"][:, :half], images["truth"][:, :half])
    torch.testing.assert_close(images["wipe"][:, half + 1 :], images["render"][:, half + 1 :])
    assert images["side by side"].shape[1] in (2 * (width // 2), width, width + 1)
    assert pipeline.time_controls.inspector.statistics.view.startswith(dataset.camera_name(0))


def test_orbiting_keeps_the_distance_and_ends_where_it_began():
    place, target, up = np.array([3.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 2.0])
    np.testing.assert_allclose(orbited(place, target, up, np.pi / 2), [1.0, 2.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(orbited(place, target, up, 2 * np.pi), place, atol=1e-12)


def test_what_cannot_be_rendered_is_told_under_the_slider(viewer, inspector):  # noqa: F811
    """An exception would end the viewer's render thread, and with it every later image."""
    model = viewer.pipeline.model
    camera = viewer.pipeline.datamanager.eval_dataset.cameras[0:1]
    camera.camera_type = torch.full_like(camera.camera_type, CameraType.FISHEYE.value)
    model.set_background(torch.zeros(3))
    outputs = model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (HEIGHT, WIDTH, 3)
    assert "perspective cameras only" in status_text(Playhead(4), 0.0, 0.1, inspector.statistics)
    camera.camera_type = torch.full_like(camera.camera_type, CameraType.PERSPECTIVE.value)
    model.set_background(torch.zeros(3))
    assert model.get_outputs_for_camera(camera)["rgb"].max() > 0
    assert inspector.statistics.refusal == ""


def test_the_bench_plays_encoded_images(run):
    told = fourdgs("bench", "play", "--trained", run.folder, "--size", 48, 32, "--repeats", 3)
    assert told.code == 0, told.text
    assert "Play delivers" in told.text and "encoded" in told.text


@pytest.mark.parametrize("words, host", [([], "127.0.0.1"), (["--viewer.websocket-host", "0.0.0.0"], "0.0.0.0")])
def test_ns_viewer_listens_elsewhere_only_when_asked(monkeypatch, words, host):
    from nerfstudio.scripts.viewer import run_viewer

    from fourdgs_ns.plugin import compat

    started = []
    monkeypatch.setattr(
        run_viewer, "_start_viewer", lambda config, pipeline, step: started.append(config.viewer.websocket_host)
    )
    compat.keep_viewer_local()
    compat.keep_viewer_local()  # every pipeline of the process asks for it
    monkeypatch.setattr("sys.argv", ["ns-viewer", "--load-config", "config.yml", *words])
    run_viewer._start_viewer(SimpleNamespace(viewer=SimpleNamespace(websocket_host="0.0.0.0")), None, 0)
    assert started == [host]
