"""From recordings to a capture that reads back, with true clocks, poses and lenses to compare with."""

import json
import re

import cv2
import numpy as np
import pytest

from fourdgs_ns.bench.process import LATE_FRAMES, errors_of, record
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.common.console import OUT
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.workspace import STEPS
from fourdgs_ns.points.ply import read_points_ply
from fourdgs_ns.process import calibrate
from fourdgs_ns.process.steps import ProcessOptions, process
from tests.capture import writers
from tests.process.clips import numbered, turn, write_clip

FPS, FRAMES = 30.0, 60


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    return folder, record(folder, 3, FRAMES, (320, 240), FPS, 3, lambda: None)


@pytest.fixture(scope="module")
def processed(recordings, tmp_path_factory):
    raw, rig = recordings
    options = ProcessOptions((raw,), tmp_path_factory.mktemp("out") / "capture")
    with OUT.capture() as printed:
        outcome = process(options)
    return options, outcome, printed.get(), rig


@pytest.mark.slow
def test_clocks_poses_and_lenses(processed):
    _, outcome, _, rig = processed
    errors = errors_of(outcome, rig, FPS)
    assert errors.calibrated == 3
    assert errors.sync_milliseconds < 5
    assert errors.position_percent < 0.5
    assert errors.focal_percent < 1.5  # 320x240 pixels; larger images come below one percent


@pytest.mark.slow
def test_the_capture_reads_back(processed):
    options, _, text, rig = processed
    capture = read_capture(options.out)
    assert capture.layout == "transforms" and [c.name for c in capture.cameras] == [c.name for c in rig]
    # One camera starts 7 frames after the first, one 4 before it: 11 frames are not shared by all.
    assert capture.num_frames == FRAMES - (max(LATE_FRAMES[:3]) - min(LATE_FRAMES[:3]))
    assert capture.duration_seconds == pytest.approx((capture.num_frames - 1) / FPS)
    points = read_points_ply(capture.point_files[0])
    assert len(points.positions) > 100 and points.times is not None and points.velocities is not None
    assert (options.out / "contact_sheet.png").stat().st_size > 10_000
    ran = [step for step in STEPS if step != "masks"]
    assert re.findall(r"^(\d/\d) (\w+)$", text, re.MULTILINE) == [(f"{i}/8", step) for i, step in enumerate(ran, 1)]
    assert "ns-train freetime --data /" in text


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do_and_from_redoes(processed):
    from dataclasses import replace

    options, first, _, _ = processed
    before = (options.out / "transforms.json").read_bytes()
    again = process(options)
    assert again.seconds == {}
    redone = process(replace(options, redo_from="points"))
    assert list(redone.seconds) == ["points", "check", "write"]
    assert (options.out / "transforms.json").read_bytes() == before
    assert first.results["calibrate"] == redone.results["calibrate"]


@pytest.mark.slow
def test_masks_and_other_options_redo_only_what_they_decide(processed):
    from dataclasses import replace

    options, _, _, _ = processed
    masked = replace(options, masks="background-subtraction", points="none")
    outcome = process(masked)
    assert "extract" not in outcome.seconds and "calibrate" not in outcome.seconds and "masks" in outcome.seconds
    capture = read_capture(options.out)
    assert all(c.masks is not None and len(c.masks) == len(c.frames) for c in capture.cameras)
    process(replace(options, points="none"))
    assert all(c.masks is None for c in read_capture(options.out).cameras)


def _poses_for(folder, out):
    cameras = writers.rig(("a", "b"))
    writers.write_poses_bounds(out, cameras, 64, 48)
    for i, name in enumerate("ab"):
        write_clip(folder / f"{name}.mp4", [np.roll(image, i, 0) for image in numbered(10)])
    return out / "poses_bounds.npy"


def test_imported_calibration_without_sound(tmp_path):
    calibration = _poses_for(tmp_path / "in", tmp_path)
    options = ProcessOptions(
        (tmp_path / "in",), tmp_path / "out", calibration=str(calibration), points="none", sync_offsets=("b=0.05",)
    )
    process(options)
    capture = read_capture(tmp_path / "out")
    # b started a frame and a half later: of 10 frames 8 are shared, and a's lie half a frame off.
    assert capture.num_frames == 8
    offsets = {c.name: c.time_offset_seconds for c in capture.cameras}
    assert offsets["b"] == pytest.approx(0, abs=1e-6) and abs(offsets["a"]) == pytest.approx(0.5 / 30, abs=1e-4)
    content = json.loads((tmp_path / "out" / "metadata.json").read_text())
    assert content["sync"] == "given" and content["cameras"] == ["a", "b"]


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_in_a_step_leaves_no_capture_and_the_next_run_goes_on(tmp_path, monkeypatch, step):
    calibration = _poses_for(tmp_path / "in", tmp_path)
    points = "sift" if step == "points" else "none"
    options = ProcessOptions(
        (tmp_path / "in",),
        tmp_path / "out",
        calibration=str(calibration),
        points=points,
        masks="background-subtraction" if step == "masks" else "none",
    )
    from fourdgs_ns.common.workspace import Workspace

    real = Workspace.run

    def interrupted(self, name, facts, compute, reuse=None):
        def stop():
            compute()
            raise KeyboardInterrupt

        return real(self, name, facts, stop if name == step else compute, reuse)

    monkeypatch.setattr(Workspace, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process(options)
    assert step == "write" or not (tmp_path / "out" / "transforms.json").exists()
    assert not list((tmp_path / "out").rglob("*.partial*")) and not list((tmp_path / "out").rglob("*.tmp"))
    monkeypatch.setattr(Workspace, "run", real)
    outcome = process(options)
    assert step in outcome.seconds and not set(STEPS[: STEPS.index(step)]) & outcome.seconds.keys()
    assert len(read_capture(tmp_path / "out").cameras) == 2


def test_cameras_of_two_sizes(tmp_path):
    """Each keeps its size; a calibration that is made for one size is scaled to the other."""
    writers.write_poses_bounds(tmp_path, writers.rig(("a", "b")), 64, 48)
    write_clip(tmp_path / "in" / "a.mp4", numbered(6))
    write_clip(tmp_path / "in" / "b.mp4", numbered(6, 128, 96))
    options = ProcessOptions(
        (tmp_path / "in",), tmp_path / "out", calibration=str(tmp_path / "poses_bounds.npy"), points="none"
    )
    process(options)
    a, b = read_capture(tmp_path / "out").cameras
    assert (a.width, a.height, b.width, b.height) == (64, 48, 128, 96)
    assert (a.camera.intrinsics[0, 0], b.camera.intrinsics[0, 0]) == pytest.approx(
        (40.0, 2 * 41.0)
    )  # for 64x48: 40 and 41


def test_a_calibration_of_other_cameras(tmp_path):
    _poses_for(tmp_path / "in", tmp_path)
    writers.write_easyvolcap_calibration(tmp_path / "other", writers.rig(("left", "right")))
    options = ProcessOptions((tmp_path / "in",), tmp_path / "out", calibration=str(tmp_path / "other"))
    with pytest.raises(UserError, match="calibrates cameras left, right but not a, b; it may be of another rig"):
        process(options)
    assert not (tmp_path / "out" / "transforms.json").exists()


def test_a_clip_upside_down_is_turned(tmp_path):
    """The flag of a phone that was held the wrong way round."""
    calibration = _poses_for(tmp_path / "in", tmp_path)
    turn(tmp_path / "in" / "b.mp4", 180)
    options = ProcessOptions((tmp_path / "in",), tmp_path / "out", calibration=str(calibration), points="none")
    process(options)
    image = next(read_frames(read_capture(tmp_path / "out").camera("b").frames))
    assert image[-6:-2, -6:].min() > 200 > image[:6, :6].max()  # the bright corner is below right now


def test_masks_reach_the_training(tmp_path):
    """A bright square before a wall: where nothing moves, the truth is background."""
    from tests.plugin.tiny import make_config, train

    writers.write_poses_bounds(tmp_path, writers.rig(("a", "b", "c")), 64, 48)
    wall = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 160, (48, 64, 3), dtype=np.uint8), (0, 0), 2)
    for i, name in enumerate("abc"):
        images = [wall.copy() for _ in range(10)]
        for k, image in enumerate(images):
            image[16:32, 4 * k + 2 * i : 4 * k + 2 * i + 12] = 250
        write_clip(tmp_path / "in" / f"{name}.mp4", images)
    options = ProcessOptions(
        (tmp_path / "in",),
        tmp_path / "out",
        calibration=str(tmp_path / "poses_bounds.npy"),
        masks="background-subtraction",
        points="none",
    )
    process(options)
    config = make_config(tmp_path / "out", tmp_path / "run", 3)
    config.pipeline.datamanager.dataparser.masks = "alpha"
    trainer = train(config)
    image = trainer.pipeline.datamanager.next_train(0)[1]["image"].float()
    square = image[..., :3].mean(dim=-1) > 220
    assert image.shape[-1] == 4 and float(image[..., 3][square].mean()) > 200 and float(image[:, :10, :, 3].mean()) < 5


def test_folders_that_are_refused(tmp_path):
    _poses_for(tmp_path / "in", tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already holds files of something else"):
        process(ProcessOptions((tmp_path / "in",), tmp_path / "other"))
    with pytest.raises(UserError, match="is the folder of the videos"):
        process(ProcessOptions((tmp_path / "in",), tmp_path / "in"))
    with pytest.raises(UserError, match="--calibration nowhere does not exist"):
        process(ProcessOptions((tmp_path / "in",), tmp_path / "out", calibration="nowhere"))


@pytest.mark.slow
def test_cameras_without_overlap_are_named(tmp_path):
    rng = np.random.default_rng(0)
    frames = {}
    for name in ("left", "right"):
        image = cv2.GaussianBlur(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), (0, 0), 1.5)
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), image)
        frames[name] = [tmp_path / f"{name}.jpg"]
    with pytest.raises(UserError, match="left: no other camera sees the same things"):
        calibrate.solve_rig(frames)
