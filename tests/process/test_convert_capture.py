"""Captures keep their cameras, instants and pixels from one layout to another."""

import json

import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.convert_capture import convert_capture, recalibrated
from tests.capture import writers


def _same(a, b, names=True):
    assert a.num_frames == b.num_frames and a.duration_seconds == pytest.approx(b.duration_seconds)
    for x, y in zip(a.cameras, b.cameras, strict=True):
        assert x.name == y.name or not names
        np.testing.assert_allclose(x.at(0).world_from_camera, y.at(0).world_from_camera, atol=1e-8)
        np.testing.assert_allclose(x.camera.intrinsics, y.camera.intrinsics, atol=1e-8)
        np.testing.assert_allclose(x.camera.distortion or (0,) * 5, y.camera.distortion or (0,) * 5)
        assert x.time_offset_seconds == pytest.approx(y.time_offset_seconds)
        for p, q in zip(read_frames(x.frames), read_frames(y.frames), strict=True):
            np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("target", ["transforms", "easyvolcap"])
def test_from_easyvolcap_with_distortion_and_offsets(tmp_path, target):
    extra = {f"D_{n}": np.array([[0.01, -0.02, 1e-3, 2e-3, 3e-3]]).T for n in ("00", "01", "02")}
    writers.write_easyvolcap(tmp_path / "in", extra=extra)
    writers.write_json(tmp_path / "in" / "sync.json", {"00": 0.0, "01": 0.004, "02": -0.006})
    writers.write_json(tmp_path / "in" / "metadata.json", {"fps": 60})
    capture = read_capture(tmp_path / "in")
    convert_capture(capture, tmp_path / "out", target)
    again = read_capture(tmp_path / "out")
    assert again.layout == target
    _same(capture, again)


@pytest.mark.parametrize("target", ["transforms", "easyvolcap", "n3dv"])
def test_from_n3dv_videos(tmp_path, target):
    writers.write_n3dv(tmp_path / "in")
    capture = read_capture(tmp_path / "in")
    convert_capture(capture, tmp_path / "out", target)
    again = read_capture(tmp_path / "out")
    assert again.layout == target
    _same(capture, again)


def test_what_a_layout_cannot_say_is_refused(tmp_path):
    writers.write_transforms(tmp_path / "in")  # principal points off the centre
    capture = read_capture(tmp_path / "in")
    with pytest.raises(UserError, match=r"principal point .* off the centre"):
        convert_capture(capture, tmp_path / "out", "n3dv")
    writers.write_dnerf(tmp_path / "moving")
    with pytest.raises(UserError, match="moves"):
        convert_capture(read_capture(tmp_path / "moving"), tmp_path / "out", "transforms")
    assert not (tmp_path / "out").exists()


def test_another_calibration(tmp_path):
    writers.write_easyvolcap(tmp_path / "in")
    writers.write_json(tmp_path / "in" / "metadata.json", {"fps": 60})
    capture = read_capture(tmp_path / "in")
    moved = writers.rig(("00", "01", "02"), radius=7.0)
    writers.write_transforms(tmp_path / "refined", moved)
    content = json.loads((tmp_path / "refined" / "transforms.json").read_text())
    labelled = {e["camera_label"]: e for e in content["frames"]}
    labelled["01"]["time_offset_seconds"] = 0.004
    for e in labelled.values():
        e |= {"w": 32, "h": 24}
    file = tmp_path / "refined_cameras.json"
    writers.write_json(file, {**content, "frames": list(labelled.values())})
    convert_capture(recalibrated(capture, file), tmp_path / "out", "transforms")
    again = read_capture(tmp_path / "out")
    for camera, truth in zip(again.cameras, moved, strict=True):
        np.testing.assert_allclose(camera.at(0).world_from_camera, truth.opencv_world_from_camera(), atol=1e-9)
    assert [c.time_offset_seconds for c in again.cameras] == [0.0, 0.004, 0.0]
    writers.write_json(file, {**content, "frames": [labelled["00"], labelled["01"]]})
    with pytest.raises(UserError, match="calibrates cameras 00, 01 but not 02"):
        recalibrated(capture, file)
