"""Our 4D PLY: columns mean what the comments say, and models come back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import gaussian_ply, ply4d
from fourdgs_ns.formats.export_options import ExportOptions
from tests.formats import scenes

MODELS = {
    "4d": scenes.fourd,
    "lite": scenes.spacetime,
    "freetime": scenes.freetime,
    "gated": lambda: scenes.freetime("gated", 1),
    "flat-top": lambda: scenes.freetime("flat-top", 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_against_the_renderer(name, tmp_path):
    scene = MODELS[name]()
    ply4d.write(tmp_path / "a.ply", scene, ExportOptions())
    back = ply4d.read(tmp_path / "a.ply")
    assert back.method == ("freetime" if name == "4d" else scene.method) and back.clip == scene.clip
    cameras = scenes.scene_camera()
    for t in scenes.random_times():
        rendered = scenes.truth(back, t, scenes.capture_camera(cameras, scene.world_from_capture))
        assert scenes.psnr(rendered, scenes.truth(scene, t, cameras)) > 60


def test_columns_are_in_seconds_and_units(tmp_path):
    """The comments' formulas, evaluated with NumPy on the columns."""
    scene = scenes.freetime("flat-top", 0, framed=False)
    ply4d.write(tmp_path / "a.ply", scene, ExportOptions())
    v = PlyData.read(tmp_path / "a.ply")["vertex"]
    for t in scenes.random_times():
        dt = t * scene.clip.duration_seconds - v["time_center"]
        beyond = np.maximum(np.abs(dt) - v["time_plateau"], 0) / v["time_sigma"]
        weight = v["time_gate"] + (1 - v["time_gate"]) * np.exp(-0.5 * beyond**2)
        opacity = weight / (1 + np.exp(-v["opacity"]))
        part = scene.representation.at(scene.parameters, t, scene.representation.active(scene.parameters, t))
        keep, seen = opacity > 1.01 / 255, part.opacities > 1.01 / 255
        np.testing.assert_allclose(opacity[keep], part.opacities[seen], atol=1e-5)
        np.testing.assert_allclose((v["y"] + dt * v["velocity_y"])[keep], part.means[seen, 1], atol=1e-5)


def test_other_plys_are_named(tmp_path):
    gaussian_ply.write(tmp_path / "a.ply", scenes.spacetime(), ExportOptions(time=0.5))
    with pytest.raises(UserError, match="no 4D PLY"):
        ply4d.read(tmp_path / "a.ply")
    ply4d.write(tmp_path / "b.ply", scenes.spacetime(), ExportOptions())
    with pytest.raises(UserError, match=r"4D PLY of fourdgs-ns.*--from ply4d"):
        gaussian_ply.read(tmp_path / "b.ply")
