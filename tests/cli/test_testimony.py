"""A synthetic capture with right and with wrong poses through the commands that look at its pictures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.run import Outcome, fourdgs, typed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("testimony") / "right"
    small = ("--cameras", 5, "--frames", 4, "--size", 160, 120, "--samples", 4, "--no-ground-truth")
    assert fourdgs("synth", "--out", root, "--layout", "transforms", *small).code == 0
    return root


@pytest.fixture
def edited(right, tmp_path):
    """Makes a copy of the capture in which ``change`` was applied to the frames of transforms.json."""

    def edit(change) -> Path:
        root = shutil.copytree(right, tmp_path / "edited", ignore=shutil.ignore_patterns(".fourdgs"))
        content = json.loads((root / "transforms.json").read_text())
        content["frames"] = change(content["frames"])
        (root / "transforms.json").write_text(json.dumps(content))
        return root

    return edit


def opencv_axes(frames: list[dict]) -> list[dict]:
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    return [{**f, "transform_matrix": (np.array(f["transform_matrix"]) @ flip).tolist()} for f in frames]


def colors(outcome: Outcome) -> dict[str, str]:
    """Name of each item of a check -> its colour."""
    lines = [line.split() for line in outcome.out.splitlines()]
    return {words[1]: words[0] for words in lines if words and words[0] in ("green", "yellow", "red")}


def started(root: Path, *words: object) -> Outcome:
    few = ("--max-num-iterations", 2, "--vis", "tensorboard", "--output-dir", root.parent / "out")
    return typed("ns-train", "freetime", "--data", root, *few, *words)


def test_right_poses_are_accused_by_no_command(right):
    assert colors(fourdgs("check", right))["testimony"] == "green"
    for outcome in (fourdgs("init", right), started(right)):
        assert outcome.code == 0 and "contradict" not in outcome.text


def test_opencv_axes_are_named_by_all_commands_and_stop_a_training(edited):
    root = edited(opencv_axes)
    checked, found, trained = fourdgs("check", root), fourdgs("init", root), started(root)
    assert checked.code == 1 and colors(checked)["testimony"] == "red"
    for outcome in (checked, found, trained):
        assert "of all" in outcome.text and "y and z of the poses are flipped" in outcome.text
    assert trained.code == 1 and "error:" in trained.err and "--trust-poses True" in trained.err
    going_on = started(root, "multiview-video-data", "--trust-poses", "True")
    assert going_on.code == 0 and "random points, which costs quality" in going_on.text


def test_check_says_what_is_wrong_with_odd_pictures(edited):
    root = edited(lambda frames: frames)
    files = sorted(root.glob("frames/cam01/*"))
    for path in files:
        cv2.imwrite(str(path), np.zeros((120, 160, 3), np.uint8))
    outcome = fourdgs("check", root)
    assert outcome.code == 1 and "nothing to see: cam01" in outcome.text and "stops brighter" not in outcome.text
    for path, other in zip(files, sorted(root.glob("frames/cam02/*"))):
        shutil.copy(other, path)
    assert "the same frames under two names: cam01 and cam02" in fourdgs("check", root).text


def test_check_says_that_two_cameras_stand_in_one_place(edited):
    def same(frames: list[dict]) -> list[dict]:
        poses = {f["camera_label"]: f["transform_matrix"] for f in frames}
        return [
            {**f, "transform_matrix": poses["cam02" if f["camera_label"] == "cam01" else f["camera_label"]]}
            for f in frames
        ]

    outcome = fourdgs("check", edited(same))
    assert outcome.code == 1 and colors(outcome)["places"] == "red" and "cam01 and cam02" in outcome.text


def test_check_reads_captures_whose_cameras_share_no_window_of_frames(edited):
    def alternating(frames: list[dict]) -> list[dict]:
        times, cameras = (sorted({f[key] for f in frames}) for key in ("time", "camera_label"))
        return [f for f in frames if times.index(f["time"]) == cameras.index(f["camera_label"]) % len(times)]

    outcome = fourdgs("check", edited(alternating))
    assert outcome.code == 1 and colors(outcome)["overlap"] == "red" and "Traceback" not in outcome.text
