"""ns-train: a whole training as typed, its products, and what a mistake looks like."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.capture.writers import write_dnerf
from tests.cli.run import (
    SCRIPTS,
    Outcome,
    assert_one_line_error,
    command_line,
    environment,
    files,
    in_a_process,
    typed,
)
from tests.plugin.tiny import CAMERAS, write_capture

SHORT = (
    *("--max-num-iterations", 20, "--steps-per-eval-image", 10, "--machine.device-type", "cpu"),
    *("--pipeline.model.densification.start", 2, "--pipeline.model.densification.every", 4),
)
POINTS = ("multiview-video-data", "--initial-points", "random", "--num-random-points", 300)


def train_command(capture, output, *options, parser=POINTS) -> tuple:
    return ("ns-train", "spacetime-gaussian", "--data", capture, "--output-dir", output, *SHORT, *options, *parser)


def run_folder(output):
    (folder,) = (path.parent for path in output.rglob("config.yml"))
    return folder


def next_commands(out: str) -> dict[str, str]:
    """The lines that the end of a training offers, by what they are for."""
    return dict(re.findall(r"^  (see it|score it|render it|take it) +(.*)$", out, re.MULTILINE))


def test_training_scores_itself_and_says_what_to_type_next(capture, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = typed(*train_command(capture, tmp_path, "--vis", "tensorboard"))
    assert told.code == 0, told.text
    folder = run_folder(tmp_path)
    assert "nerfstudio_models/step-000000019.ckpt" in files(folder)

    record = json.loads((folder / "scores.json").read_text())
    assert record["steps"] == 20
    assert record["gaussians"] > 0 and record["psnr"] > 0 and -1 <= record["ssim"] <= 1
    assert f"Held-out views: {record['psnr']:.2f} dB PSNR" in told.out
    assert len(re.findall(r"^step +(?:10|20)/20 \| held-out", told.out, re.MULTILINE)) == 2

    events = EventAccumulator(str(folder)).Reload()
    curve = [(event.step, event.value) for event in events.Scalars("Held-out/held_out_psnr")]
    assert [step for step, _ in curve] == [9, 19]
    assert {"Held-out/held_out_ssim", "Held-out/gaussians", "Held-out/share_alive"} <= set(events.Tags()["scalars"])

    assert [line.split("  ")[1] for line in told.out.splitlines()[-4:]] == [
        "see it",
        "score it",
        "render it",
        "take it",
    ]


NOISE = (
    "Config",
    "TrainerConfig",
    "profiling",
    "local writer",
    "GradScaler",
    "custom_fwd",
    "Saving",
    "Downloading",
    "alias",
)
"""Words of what Nerfstudio says of itself."""


@pytest.mark.slow
def test_a_first_run_lives_and_each_command_that_it_offers_works_from_another_folder(tmp_path, monkeypatch):
    """All in processes of their own; the run's name wants quotes, and the capture was named relatively."""
    home, elsewhere = tmp_path / "the user's captures", tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_capture(home / "wall")
    monkeypatch.chdir(home)
    command = train_command("wall", "it's here", "--vis", "tensorboard", "--experiment-name", "a b")
    words = [word for word in command_line(*command) if word not in ("-W", "ignore")]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=environment())
    assert told.returncode == 0, told.stderr
    assert [word for word in NOISE if word in told.stdout + told.stderr] == []
    rows = told.stdout.splitlines()
    assert rows[0].startswith("spacetime-gaussian on ") and "training 0/20" in rows
    folder = run_folder(home / "it's here")
    assert rows[1] == f"run: {folder}"

    offered = next_commands("\n".join(rows[-4:]))
    assert set(offered) == {"see it", "score it", "render it", "take it"}
    monkeypatch.chdir(elsewhere)
    for what, line in offered.items():
        if what != "see it":
            done = in_a_shell(line)
            assert done.code == 0, done.text
    assert {"evaluation/evaluation.json", "orbit.mp4", "scene.html"} <= set(files(folder))
    assert shown_by(offered["see it"]) == {"127.0.0.1"}


def in_a_shell(line: str) -> Outcome:
    """A line as it is pasted."""
    words = line.replace("fourdgs-ns", f"{shlex.quote(sys.executable)} -m tests.cli.fourdgs", 1)
    python_path = str(Path(__file__).parents[2])
    done = subprocess.run(
        words, shell=True, capture_output=True, text=True, check=False, timeout=300,
        env=environment(PYTHONPATH=python_path),
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def shown_by(line: str) -> set[str]:
    """Addresses at which a viewer listens, once it does."""
    process = subprocess.Popen(
        command_line(*shlex.split(line)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            found = {
                c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN
            }
            if found:
                return found
            time.sleep(0.2)
        return set()
    finally:
        process.kill()
        process.wait()


def test_verbose_prints_what_nerfstudio_says(capture, tmp_path):
    told = typed(*train_command(capture, tmp_path, "--vis", "tensorboard", "--verbose", "True"))
    assert told.code == 0 and "Saving config to" in told.text and "disabled local writer" in told.text


def test_going_on_with_a_run(run, tmp_path):
    """The total is what --max-num-iterations says, not that many more."""
    parser = (*POINTS, "--eval-cameras", "0", "3")
    told = typed(*train_command(run.capture, tmp_path, "--load-dir", run.folder / "nerfstudio_models", parser=parser))
    assert told.code == 0, told.text
    assert files(run_folder(tmp_path) / "nerfstudio_models") == ["step-000000019.ckpt"]
    assert json.loads((run_folder(tmp_path) / "scores.json").read_text())["steps"] == 20


@pytest.mark.slow
def test_the_plain_command_ends_by_itself_and_is_seen_on_this_machine_only(capture, tmp_path):
    """In a process of its own, with the method's default of viewer and tensorboard."""
    process = subprocess.Popen(
        command_line(*train_command(capture, tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    addresses = set()
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        try:
            connections = psutil.Process(process.pid).net_connections()
        except psutil.NoSuchProcess:
            break
        addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
        time.sleep(0.1)
    process.kill()
    out = process.communicate()[0]
    assert process.returncode == 0, out
    assert addresses == {"127.0.0.1"}
    assert out.count("LPIPS is left out") == 1  # there is no way to its weights
    assert "Held-out views:" in out and set(next_commands(out)) == {"see it", "score it", "render it", "take it"}
    assert "scores.json" in files(run_folder(tmp_path))


@pytest.mark.slow
def test_sigterm_saves_and_the_command_that_it_prints_goes_on(capture, tmp_path, monkeypatch):
    """In processes of their own, with relative paths; the second runs in another folder."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    words = train_command(os.path.relpath(capture), "out put", "--vis", "tensorboard", "--max-num-iterations", 100_000)
    command = [sys.executable, "-W", "ignore", "-m", SCRIPTS["ns-train"], *map(str, words[1:])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
    assert process.stdout is not None
    for line in process.stdout:
        if re.match(r"step +\d+/", line):
            break
    process.terminate()
    began = time.monotonic()
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and time.monotonic() - began < 2.5, out
    assert "Traceback" not in out and out.count("Go on with:") == 1
    go_on = shlex.split(out.strip().splitlines()[-1])
    (saved,) = Path("out put").rglob("step-*.ckpt")
    steps = int(saved.stem.removeprefix("step-")) + 3
    go_on[go_on.index("100000")] = str(steps)
    done = subprocess.run(go_on, capture_output=True, text=True, cwd=there, env=environment(), timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert saved.exists() and list(there.iterdir()) == []
    assert len(list(Path("out put").rglob(f"step-{steps - 1:09d}.ckpt"))) == 1


@pytest.mark.slow
def test_a_mistake_in_a_real_process_is_one_line_and_exit_code_1(tmp_path):
    told = in_a_process(*train_command(tmp_path / "nowhere", tmp_path / "out"))
    assert_one_line_error(told, "nowhere does not exist", "give the folder that holds the videos")


class TestMistakes:
    """Each is one ``error:`` line that says what to type, and exit code 1."""

    def test_no_data(self, tmp_path):
        told = typed("ns-train", "freetime", "--output-dir", tmp_path / "out", "--vis", "tensorboard")
        assert_one_line_error(told, "no capture is given; add --data with its folder: ns-train freetime --data")
        assert files(tmp_path) == []

    def attempt(self, capture, output, *options, parser=POINTS) -> Outcome:
        return typed(*train_command(capture, output, "--vis", "tensorboard", *options, parser=parser))

    def test_wrong_data(self, tmp_path):
        told = self.attempt(tmp_path / "nowhere", tmp_path / "out")
        assert_one_line_error(told, "nowhere does not exist")

    def test_a_folder_that_is_no_capture(self, tmp_path):
        (tmp_path / "holiday").mkdir()
        assert_one_line_error(self.attempt(tmp_path / "holiday", tmp_path), "follows no known layout")

    def test_unknown_held_out_camera(self, capture, tmp_path):
        told = self.attempt(capture, tmp_path, parser=(*POINTS, "--eval-cameras", "left"))
        assert_one_line_error(told, "no camera 'left'", "it has: " + ", ".join(CAMERAS))

    def test_every_camera_held_out(self, capture, tmp_path):
        told = self.attempt(capture, tmp_path, parser=(*POINTS, "--eval-cameras", *CAMERAS))
        assert_one_line_error(told, "is left to train on", "hold out fewer")

    def test_empty_range_of_frames(self, capture, tmp_path):
        told = self.attempt(capture, tmp_path, parser=(*POINTS, "--frames", "7:9"))
        assert_one_line_error(told, "selects no frame", "frames 0 to 3")

    def test_malformed_range_of_frames(self, capture, tmp_path):
        told = self.attempt(capture, tmp_path, parser=(*POINTS, "--frames", "first"))
        assert_one_line_error(told, "--frames is 'first'", "for instance 0:50")

    def test_wrong_load_dir(self, capture, tmp_path):
        told = self.attempt(capture, tmp_path, "--load-dir", tmp_path / "nowhere")
        assert_one_line_error(told, "is no directory", "nerfstudio_models")

    def test_too_small_downscale(self, capture, tmp_path):
        told = self.attempt(capture, tmp_path, parser=(*POINTS, "--downscale-factor", 0.5))
        assert_one_line_error(told, "--downscale-factor is 0.5", "give 1 or more")

    def test_several_devices(self, capture, tmp_path):
        """Refused before Nerfstudio starts processes and before anything is written."""
        told = self.attempt(capture, tmp_path, "--machine.num-devices", 2)
        assert_one_line_error(told, "several GPUs", "--machine.num-devices 1")
        assert files(tmp_path) == []

    def test_another_dataparser(self, tmp_path):
        write_dnerf(tmp_path / "bouncing")
        told = self.attempt(tmp_path / "bouncing", tmp_path, parser=("dnerf-data",))
        assert_one_line_error(told, "multiview-video-data")
