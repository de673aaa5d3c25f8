"""ns-viewer seen with a real headless Chromium: what a person clicks, and what then is on the screen.

The last screenshot of each test is kept in ``$FOURDGS_TEST_ARTEFACTS`` (default: test-artefacts/ of the working directory).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.run import command_line, environment
from tests.cli.test_viewer import free_port
from tests.plugin.tiny import FRAMES
from tests.viewer.browser import Browser, chromium, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium: apt-get install chromium"),
]
ARTEFACTS = Path(os.environ.get("FOURDGS_TEST_ARTEFACTS", "test-artefacts"))
SCENE = (0, 120, 600, 500)
"""x, y, width, height of a part of the page that shows nothing but the scene."""


@pytest.fixture(scope="module")
def address(run):
    """A running ns-viewer."""
    port = free_port()
    process = subprocess.Popen(
        command_line(
            *("ns-viewer", "--load-config", run.config, "--viewer.websocket-host", "127.0.0.1"),
            *("--viewer.websocket-port", port, "--viewer.max-num-display-images", 1),
        ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    yield f"http://127.0.0.1:{port}"
    process.kill()
    out = process.communicate()[0]
    assert "Traceback" not in out, out


@contextlib.contextmanager
def seen(address: str, profile: Path, name: str) -> Iterator[Browser]:
    """A browser at ``address`` once the viewer is there; its last screenshot is kept."""
    browser = Browser(profile)
    try:

        def reached() -> bool:
            if "Playback" not in browser.text():
                browser.open(address)
                time.sleep(3)
            return "Gaussians alive" in browser.text()

        wait_for(reached, 180)
        if "Hide Train Cams" in browser.text():  # the server remembers it for the next browser
            browser.click_button("Hide Train Cams")
        yield browser
        browser.screenshot(ARTEFACTS / f"{name}.png")
    finally:
        browser.close()


@pytest.fixture
def browser(address, tmp_path, request):
    with seen(address, tmp_path / "profile", request.node.name) as browser:
        yield browser


def frame_line(browser: Browser) -> str:
    """What the panel says about the frame that is shown."""
    return next((line for line in browser.text().splitlines() if " s, frame " in line), "")


def settled(browser: Browser) -> np.ndarray:
    """The scene once the viewer has finished sharpening it."""
    screenshots = [browser.screenshot(clip=SCENE)]

    def same() -> bool:
        time.sleep(1.0)
        screenshots.append(browser.screenshot(clip=SCENE))
        return screenshots[-1].std() > 1 and np.array_equal(screenshots[-1], screenshots[-2])

    wait_for(same, 60)
    return screenshots[-1].astype(int)


def test_slider_buttons_and_play_move_the_image(browser):
    first = settled(browser)
    assert f"0.000 s of 0.100 s, frame 0 of {FRAMES - 1}" in browser.text()
    slider = browser.widget("Frame", "[role=slider]")
    browser.run(f"{slider}.focus()")
    for _ in range(FRAMES - 1):
        browser.press("ArrowRight", 39)
    wait_for(lambda: f"0.100 s of 0.100 s, frame {FRAMES - 1} of {FRAMES - 1}" in browser.text())
    last = settled(browser)
    assert np.abs(first - last).max() > 5
    # A loop goes on with the first frame.
    browser.click_button("+1")
    wait_for(lambda: "frame 0 of" in browser.text())
    # Images travel as JPEG, whose quality follows the load.
    assert np.abs(settled(browser) - first).mean() < 0.3 * np.abs(last - first).mean()

    # Every press of the same button counts.
    for frame in (1, 2):
        browser.click_button("+1")
        wait_for(lambda frame=frame: f"frame {frame} of" in browser.text(), 20)

    browser.choose("Speed", "0.1x")
    browser.click_button("Play")
    frames = set()

    def advanced() -> bool:
        frames.add(frame_line(browser))
        return len(frames) >= 3

    wait_for(advanced)
    screenshots = [browser.screenshot(clip=SCENE).astype(int) for _ in range(8) if time.sleep(0.3) is None]
    assert max(np.abs(a - b).max() for a, b in itertools.pairwise(screenshots)) > 5
    browser.click_button("Pause")
    settled(browser)
    frame = frame_line(browser)
    time.sleep(1.5)
    assert frame_line(browser) == frame


def test_colourings_and_comparison_with_the_truth(browser):
    own = settled(browser)
    browser.open_folder("Inspect")
    time.sleep(1)
    browser.choose("Colour by", "depth")
    depth = settled(browser)
    assert np.abs(depth - own).mean() > 5
    browser.choose("Colour by", "appearance")
    browser.open_folder("Compare")
    time.sleep(1)
    browser.choose("With", "held-out")
    wait_for(lambda: "compared with" in browser.text())
    browser.choose("Show", "truth")
    truth = settled(browser)
    browser.choose("Show", "render")
    render = settled(browser)
    assert np.abs(truth - render).mean() > 5
    browser.choose("Show", "wipe")
    assert np.abs(settled(browser) - render).mean() > 1
    browser.choose("With", "off")
    wait_for(lambda: "compared with" not in browser.text())


def test_orbit_moves_the_camera_while_time_stands_still(browser):
    before, frame = settled(browser), frame_line(browser)
    slider = browser.widget("Orbit", "[role=slider]")
    browser.run(f"{slider}.focus()")
    for _ in range(4):
        browser.press("ArrowRight", 39)
    time.sleep(3)
    moved = browser.screenshot(clip=SCENE).astype(int)
    assert np.abs(before - moved).mean() > 1
    assert frame_line(browser) == frame


def test_play_while_training(capture, tmp_path, request):
    """Both go on: the clip plays, and the steps are counted."""
    port = free_port()
    process = subprocess.Popen(
        command_line(
            *("ns-train", "spacetime-gaussian", "--data", capture, "--output-dir", tmp_path / "outputs", "--vis", "viewer"),
            *("--max-num-iterations", 1_000_000, "--machine.device-type", "cpu", "--viewer.websocket-port", port),
            *("multiview-video-data", "--initial-points", "random", "--num-random-points", 300),
        ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    try:
        with seen(f"http://127.0.0.1:{port}", tmp_path / "profile", request.node.name) as browser:

            def step() -> int:
                line = next((line for line in browser.text().splitlines() if line.startswith("Step: ")), "Step: 0")
                return int(line.split()[1])

            browser.click_button("Play")
            start, frames = step(), set()

            def both_moved() -> bool:
                frames.add(frame_line(browser))
                return len(frames) >= 3 and step() > start

            wait_for(both_moved, 120)
            assert process.poll() is None
    finally:
        process.kill()
        out = process.communicate()[0]
    assert "Traceback" not in out, out
