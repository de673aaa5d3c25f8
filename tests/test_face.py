"""The Python face: its examples run, agree with what the model renders, and cost nothing until they are used."""

from __future__ import annotations

import doctest
import subprocess
import sys

import numpy as np
import pytest

import fourdgs_ns as fg
from fourdgs_ns.formats import npz
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.rendering import still
from tests.formats import scenes


@pytest.fixture
def example(tmp_path):
    npz.write(tmp_path / "example.npz", scenes.freetime(), ExportOptions())
    return tmp_path / "example.npz"


def test_the_examples_run(example, tmp_path):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    found = [
        test for name in fg.__all__ for test in finder.find(getattr(fg, name), name, module=still) if test.examples
    ]
    assert {test.name for test in found} == {"load", "orbit", "render", "save"}
    for test in found:
        test.globs |= {"EXAMPLE": example, "FOLDER": tmp_path}
        runner.run(test)
    assert runner.failures == 0


def test_what_is_printed_is_short(example):
    scene = fg.load(example)
    assert (
        str(scene)
        == f"TrainedScene(freetime, {scene.num_gaussians} Gaussians, 12 frames, {scene.clip.duration_seconds:g} s)"
    )
    gaussians = scene.at(0.5)
    told = str(gaussians)
    assert told.startswith(f"GaussiansAtTime({len(gaussians.ids)} Gaussians on cpu: ids [") and len(told) < 300


@pytest.mark.parametrize("make", [scenes.freetime, lambda: scenes.spacetime("full"), lambda: scenes.fourd(2)])
def test_a_camera_of_the_capture_sees_the_truth(make):
    scene = make()
    cameras = scenes.scene_camera()
    pose = np.linalg.inv(cameras.camera_from_world[0].double().numpy())
    in_capture = scene.world_from_capture.poses_to_capture(pose[None])[0]
    camera = fg.Camera("c", cameras.width, cameras.height, cameras.intrinsics[0].double().numpy(), in_capture)
    image = fg.render(scene, camera, 0.5, device="cpu")
    if scene.decoder is None:
        assert scenes.psnr(image, scenes.truth(scene, 0.5, cameras).clamp(0, 1)) > 60
    assert image.shape == (cameras.height, cameras.width, 3) and bool((image > 0.05).any())


def test_a_turn_keeps_the_distance():
    scene = scenes.freetime()
    ahead, turned = (fg.orbit(scene, degrees) for degrees in (0, 90))
    target = still.start_view(scene).target
    assert np.linalg.norm(ahead.center - target) == pytest.approx(np.linalg.norm(turned.center - target))
    assert not np.allclose(ahead.center, turned.center)


def test_mistakes_are_one_line(tmp_path, example):
    with pytest.raises(fg.UserError, match="does not exist"):
        fg.load(tmp_path / "nothing")
    scene = fg.load(example)
    with pytest.raises(fg.UserError, match="from 0"):
        fg.render(scene, fg.orbit(scene), 1.5)
    with pytest.raises(AttributeError, match="no attribute 'draw'"):
        fg.draw  # noqa: B018


def test_importing_costs_little():
    code = "import time; s = time.perf_counter(); import fourdgs_ns, sys; print(time.perf_counter() - s, 'torch' in sys.modules)"
    least = min(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    )
    seconds, torch_is_there = least.split()
    assert torch_is_there == "False" and float(seconds) < 0.3
