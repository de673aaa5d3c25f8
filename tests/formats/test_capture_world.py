"""Canonical parameters in the capture's world render as they do in the training's world."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.capture_world import scene_in_capture
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.registry import write_scene
from fourdgs_ns.formats.start_view import start_view
from fourdgs_ns.geometry.world import WorldFromCapture
from tests.formats import scenes

MODELS = {
    "lite": scenes.spacetime,
    "freetime": scenes.freetime,
    "flat-top": lambda: scenes.freetime("flat-top", 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_renders_the_same(name):
    scene = MODELS[name]()
    moved = scene_in_capture(scene)
    assert moved.world_from_capture is None and scene_in_capture(moved) is moved
    cameras = scenes.scene_camera()
    for t in scenes.random_times(2):
        rendered = scenes.truth(moved, t, scenes.capture_camera(cameras, scene.world_from_capture))
        assert scenes.psnr(rendered, scenes.truth(scene, t, cameras)) > 60


def test_rounding_in_a_world_far_away_is_told(tmp_path):
    scene = scenes.freetime()
    near = scene.world_from_capture
    assert not any("rounded" in note for note in write_scene(tmp_path / "near.ply", scene, "ply", ExportOptions()))
    far = replace(scene, world_from_capture=WorldFromCapture(near.rotation, near.translation + 4e6, near.scale))
    assert "rounded to 0.25" in write_scene(tmp_path / "far.ply", far, "ply", ExportOptions())[-1]
    assert not any("rounded" in note for note in write_scene(tmp_path / "far.npz", far, "npz", ExportOptions()))


def test_a_decoder_knows_no_other_frame():
    with pytest.raises(UserError, match="decoder"):
        scene_in_capture(scenes.spacetime("full"))
    unframed = scenes.spacetime("full", framed=False)
    assert scene_in_capture(unframed) is unframed


def test_the_start_is_a_training_camera_wherever_the_model_lies():
    scene = scenes.spacetime()
    scene.camera_centers = torch.tensor([[-1.0, -4.0, 0.0], [0.1, -4.0, 0.2], [1.0, -4.0, 0.0]])
    views = [start_view(s) for s in (scene, scene_in_capture(scene))]
    expected = scene.world_from_capture.gaussians_to_capture(
        scene.camera_centers, torch.ones(3, 4), scene.camera_centers
    )[0][1]
    for view in views:
        torch.testing.assert_close(torch.from_numpy(view.eye).float(), expected, atol=1e-4, rtol=1e-4)
        assert view.near == pytest.approx(scene.near / scene.world_from_capture.scale)
    # Up is z of the scene.
    up = torch.from_numpy(views[0].up @ scene.world_from_capture.rotation.T)
    torch.testing.assert_close(up, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
