"""The panels Playback, Inspect and Compare of the viewer, and the thread that plays."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch
import viser
import viser.transforms as vtf
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

from fourdgs_ns.inspection.colorings import COLORINGS
from fourdgs_ns.inspection.comparison import LAYOUTS
from fourdgs_ns.plugin import compat
from fourdgs_ns.viewer.inspector import OWN_COLORS, Inspector, Statistics
from fourdgs_ns.viewer.playback import REPEATS, Playhead, time_at

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

TICK_SECONDS = 1 / 60
STATUS_SECONDS = 0.5
SPEEDS = {"0.1x": 0.1, "0.25x": 0.25, "0.5x": 0.5, "1x": 1.0, "2x": 2.0, "4x": 4.0}
STEPS = {"-5": -5, "-1": -1, "+1": 1, "+5": 5}
NOT_PRESSED = ""
MARKS = 3
ABOVE_THE_TABS = -10.0


def slider_marks(times: list[float], duration_seconds: float) -> tuple[tuple[int, str], ...]:
    """Frames spread over the slider with their seconds."""
    frames = sorted({round(i) for i in np.linspace(0, len(times) - 1, min(MARKS, len(times)))})
    return tuple((frame, f"{times[frame] * duration_seconds:.2f} s") for frame in frames)


def status_text(
    playhead: Playhead, seconds: float, duration_seconds: float, numbers: Statistics, legend: str = ""
) -> str:
    """The lines under the slider, in Markdown."""
    share = numbers.alive / max(numbers.total, 1)
    hidden = f", {numbers.alive - numbers.shown:,} hidden" if numbers.shown < numbers.alive else ""
    rate = numbers.rate()
    speed = f", {rate:.0f} images/s" if rate else ""
    lines = [
        f"**{seconds:.3f} s** of {duration_seconds:.3f} s, frame {playhead.frame} of {playhead.num_frames - 1}",
        f"{numbers.alive:,} of {numbers.total:,} Gaussians alive ({share:.0%}){hidden}{speed}",
    ]
    if numbers.view:
        lines.append(f"compared with {numbers.view}")
    if legend:
        lines.append(legend)
    if numbers.refusal:
        lines.append(f"**not rendered:** {numbers.refusal}")
    return "  \n".join(lines)


def orbited(position: np.ndarray, target: np.ndarray, up: np.ndarray, radians: float) -> np.ndarray:
    """``position`` turned about the axis ``up`` through ``target``."""
    return target + vtf.SO3.exp(up / np.linalg.norm(up) * radians) @ (position - target)


class TimeControls(compat.AttachedControl):
    """Widgets that write into a playhead and an inspector; one daemon thread that advances the playhead."""

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self.lock = threading.RLock()
        """Held where the playhead changes: widgets call from threads of their own."""
        self.stopped = threading.Event()
        self.busy = threading.Event()
        """Set while something moves, so that an idle viewer costs nothing."""
        self.between_frames = False
        self.orbit_radians = 0.0
        """Per second; 0: the camera stands."""

    # ------------------------------------------------------------------ construction

    def attach(self, viewer: Viewer) -> None:
        """Build the panels, and start the thread."""
        dataset = self.inspector.train_dataset
        clip = self.inspector.model.clip
        seconds = dataset.capture.times_seconds
        self.duration_seconds = clip.duration_seconds
        self.times = [float(s) / (clip.duration_seconds or 1.0) for s in seconds]
        self.playhead = Playhead.of(clip)
        # The viewer interrupts a rendering by an exception when a browser moves; loading kernels must not be what it hits.
        self.inspector.warm_up()
        compat.hide_time_slider(viewer)
        compat.keyframes_take_time(self.time)
        compat.mend_paths_of_two_keyframes()
        gui = viewer.viser_server.gui
        with gui.add_folder("Playback", order=ABOVE_THE_TABS):
            self._build_playback(gui)
        with gui.add_folder("Inspect", order=ABOVE_THE_TABS + 1, expand_by_default=False):
            self._build_inspect(gui)
        with gui.add_folder("Compare", order=ABOVE_THE_TABS + 2, expand_by_default=False):
            self._build_compare(gui)
        # Nerfstudio puts a new browser anywhere; the capture's cameras know where the scene is.
        viewer.viser_server.on_client_connect(lambda client: self.stand_at(client, 0))
        self.thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self.thread.start()
        atexit.register(self._finish_rendering)

    def _build_playback(self, gui: viser.GuiApi) -> None:
        last = max(len(self.times) - 1, 1)
        self.slider = gui.add_slider(
            "Frame", 0, last, 1, 0, marks=slider_marks(self.times, self.duration_seconds), disabled=len(self.times) == 1
        )
        self.slider.on_update(lambda event: self._on_slider(event.client is not None))
        self.status = gui.add_markdown("")
        self.play_button = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY_FILLED)
        self.play_button.on_click(lambda _: self.play())
        self.pause_button = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE_FILLED, visible=False)
        self.pause_button.on_click(lambda _: self.pause())
        self.steps = gui.add_button_group("Step", tuple(STEPS))
        self.steps.value = NOT_PRESSED
        self.steps.on_click(lambda event: self._on_step(event.client is not None))
        speed = gui.add_dropdown("Speed", tuple(SPEEDS), initial_value="1x")
        speed.on_update(lambda _: setattr(self.playhead, "speed", SPEEDS[speed.value]))
        repeat = gui.add_dropdown("Repeat", REPEATS)
        repeat.on_update(lambda _: self._locked(lambda: self.playhead.set_repeat(repeat.value)))
        smooth = gui.add_checkbox(
            "Between frames", False, hint="While playing, also render times between frames: smooth slow motion."
        )
        smooth.on_update(lambda _: setattr(self, "between_frames", smooth.value))
        orbit = gui.add_slider(
            "Orbit", -90.0, 90.0, 5.0, 0.0,
            hint="Degrees per second about what the camera looks at; paused, time stands still (bullet time).",
        )  # fmt: skip
        orbit.on_update(lambda _: self.set_orbit(orbit.value))

    def _build_inspect(self, gui: viser.GuiApi) -> None:
        color = gui.add_dropdown("Colour by", (OWN_COLORS, *COLORINGS))
        color.on_update(lambda _: self._ask(coloring=color.value))
        frame_seconds = self.duration_seconds / max(len(self.times) - 1, 1)
        longest = max(self.duration_seconds, 1e-3)
        shortest = gui.add_slider(
            "Hide lives under (s)", 0.0, longest, max(frame_seconds, 1e-3) / 2, 0.0,
            marks=((0.0, "0 s"), (longest, f"{longest:.2f} s")),
            hint="Hide Gaussians that can be seen for a shorter part of the clip.",
        )  # fmt: skip
        shortest.on_update(lambda _: self._ask(min_seconds=shortest.value))
        slowest = gui.add_number(
            "Hide slower than (/s)", 0.0, min=0.0, step=0.01,
            hint="Hide static Gaussians: those slower than this many units of the capture's world per second.",
        )  # fmt: skip
        slowest.on_update(lambda _: self._ask(min_speed=slowest.value))

    def _build_compare(self, gui: viser.GuiApi) -> None:
        source = gui.add_dropdown(
            "With", ("off", "held-out", "training"),
            hint="Render from the nearest camera of the capture, at its frame, beside the image it took.",
        )  # fmt: skip
        source.on_update(lambda _: self._ask(comparison=source.value))
        layout = gui.add_dropdown("Show", LAYOUTS)
        layout.on_update(lambda _: self._ask(layout=layout.value))
        wipe = gui.add_slider("Wipe", 0.0, 1.0, 0.01, 0.5, hint="Truth is left of the line, the render right of it.")
        wipe.on_update(lambda _: self._ask(wipe=wipe.value))
        stand = gui.add_button("Stand at nearest camera", hint="Move there, to orbit or walk on from it.")
        stand.on_click(
            lambda event: self.stand_at(event.client, self.nearest_view(event.client)) if event.client else None
        )

    # ------------------------------------------------------------------ what widgets do

    def _ask(self, **wishes: object) -> None:
        for name, value in wishes.items():
            setattr(self.inspector, name, value)
        compat.rerender(self.viewer)

    def _locked(self, change: Callable[[], None]) -> None:
        with self.lock:
            change()
        self.show()

    def _on_slider(self, by_hand: bool) -> None:
        # The slider also reports what playback itself wrote into it.
        if by_hand:
            self._locked(lambda: self.playhead.seek(int(self.slider.value)))

    def _on_step(self, by_hand: bool) -> None:
        if by_hand:
            self.step(self.steps.value)
            # A group of buttons tells of changes only: pressed twice, the same button would be heard once.
            self.steps.value = NOT_PRESSED

    def play(self) -> None:
        """Start playing."""
        self._locked(self.playhead.play)
        self.busy.set()

    def pause(self) -> None:
        """Stop at the frame that is shown; the image then sharpens to full size."""
        self._locked(lambda: self.playhead.step(0))

    def step(self, label: str) -> None:
        """One of the buttons of ``STEPS``."""
        self._locked(lambda: self.playhead.step(STEPS[label]))

    def nearest_view(self, client: viser.ClientHandle) -> int:
        """The view of the compared data that is nearest to a browser's camera."""
        pose = np.eye(4)[:3]
        turned = vtf.SO3(client.camera.wxyz) @ vtf.SO3.from_x_radians(np.pi)
        pose[:, :3], pose[:, 3] = turned.as_matrix(), client.camera.position / VISER_NERFSTUDIO_SCALE_RATIO
        return self.inspector.dataset().nearest_view(torch.from_numpy(pose), self.time())

    def stand_at(self, client: viser.ClientHandle, view: int) -> None:
        """Put a browser's camera where a view was taken, turning about the point that the rig looks at."""
        model, camera = self.inspector.model, self.inspector.dataset().cameras[view]
        pose = camera.camera_to_worlds.numpy()
        distance = model.facts.focus_distance * VISER_NERFSTUDIO_SCALE_RATIO
        # Just past the image that the viewer hangs before this camera, which would cover everything.
        ahead = 2 * self.viewer.config.camera_frustum_scale
        place = pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO - ahead * pose[:, 2]
        with suppress(AssertionError, RuntimeError), client.atomic():  # it may be gone already
            client.camera.position = place
            client.camera.up_direction = pose[:, 1]
            client.camera.look_at = place - pose[:, 2] * (distance - ahead)
            client.camera.fov = float(2 * np.arctan(camera.height.item() / 2 / camera.fy.item()))

    def set_orbit(self, degrees_per_second: float) -> None:
        """Turn every browser's camera about what it looks at; 0 stops."""
        self.orbit_radians = float(np.deg2rad(degrees_per_second))
        self.busy.set()

    def time(self) -> float:
        """t that is shown."""
        with self.lock:
            smooth = self.between_frames and self.playhead.playing
            return time_at(self.playhead.position if smooth else self.playhead.frame, self.times)

    def show(self) -> None:
        """Bring slider, buttons and image to where the playhead is."""
        t, playing = self.time(), self.playhead.playing
        if self.slider.value != self.playhead.frame:
            self.slider.value = self.playhead.frame
        if self.viewer.control_panel.time != t:
            self.viewer.control_panel.time = t  # which has the image rendered again
        self.play_button.visible, self.pause_button.visible = not playing, playing

    # ------------------------------------------------------------------ the thread

    def stop(self) -> None:
        """End the thread. Without it the thread ends with the process."""
        self.stopped.set()
        self.busy.set()
        self.thread.join(timeout=5)

    def _finish_rendering(self) -> None:
        """At the process's end: a thread that is torn away while it renders would abort the process, after all else went well."""
        self.stop()
        for machine in list(self.viewer.render_statemachines.values()):
            machine.running = False
            machine.join(timeout=5)

    def _run(self) -> None:
        last, reported = perf_counter(), 0.0
        while not self.stopped.is_set():
            if not self.busy.is_set():
                self.busy.wait(STATUS_SECONDS)
                last = perf_counter()  # playback starts now: idleness is not skipped
            self.stopped.wait(TICK_SECONDS)
            now = perf_counter()
            elapsed, last = now - last, now
            with self.lock:
                was_playing = self.playhead.playing
                self.playhead.advance(elapsed)
            if was_playing:
                self.show()
            if self.orbit_radians:
                self._orbit(self.orbit_radians * elapsed)
            if not self.playhead.playing and not self.orbit_radians:
                self.busy.clear()
            if now - reported >= STATUS_SECONDS:
                reported = now
                self._report()

    def _orbit(self, radians: float) -> None:
        for client in self.viser_server.get_clients().values():
            # A browser that is just connecting has no camera yet, one that leaves has none any more: this thread must go on.
            with suppress(Exception):
                camera = client.camera
                target = np.array(camera.look_at)
                place = orbited(np.array(camera.position), target, np.array(camera.up_direction), radians)
                with client.atomic():
                    camera.position = place
                    camera.look_at = target

    def _report(self) -> None:
        seconds = self.time() * self.duration_seconds
        numbers, legend = self.inspector.statistics, self.inspector.legend()
        text = status_text(self.playhead, seconds, self.duration_seconds, numbers, legend)
        if self.status.content != text:
            self.status.content = text
