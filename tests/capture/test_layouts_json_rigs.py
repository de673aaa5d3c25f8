"""Dynamic 3D Gaussians and HyFluid, and the recognition of layouts."""

import json

import numpy as np

from fourdgs_ns.capture.capture import ImageFrames
from fourdgs_ns.capture.layouts import LAYOUTS, read_capture
from tests.capture import writers


def test_dynamic3dgs(tmp_path):
    writers.write_dynamic3dgs(tmp_path, frames=3)
    capture = read_capture(tmp_path)
    assert capture.layout == "dynamic3dgs"
    assert [c.name for c in capture.cameras] == ["0", "1", "2"]
    assert capture.eval_cameras == ("1",)
    assert not capture.masks_are_mattes
    assert capture.camera("1").masks is None
    assert capture.camera("2").masks == ImageFrames(tuple(tmp_path / "seg/2" / f"{t:06d}.png" for t in range(3)))
    np.testing.assert_allclose(capture.times_seconds, np.arange(3) / 30)
    assert "30 frames per second are assumed" in capture.notes[0]


def test_dynamic3dgs_moving_camera(tmp_path):
    cameras = writers.write_dynamic3dgs(tmp_path, frames=3)
    path = tmp_path / "train_meta.json"
    meta = json.loads(path.read_text())
    meta["w2c"] = json.loads(json.dumps(meta["w2c"]))
    meta["w2c"][2][1][0][3] += 0.5
    writers.write_json(path, meta)
    capture = read_capture(tmp_path)
    still, moving = capture.camera("0"), capture.camera("2")
    assert still.poses.shape == (1, 4, 4) and moving.poses.shape == (3, 4, 4)
    # Adding to t of x' = R x + t moves the centre against the camera's right.
    np.testing.assert_allclose(
        moving.at(2).world_from_camera[:3, 3], cameras[2].centre - 0.5 * cameras[2].right, atol=1e-12
    )


def test_hyfluid(tmp_path):
    writers.write_hyfluid(tmp_path, frames=5, fps=24.0)
    capture = read_capture(tmp_path)
    assert capture.layout == "hyfluid"
    assert capture.eval_cameras == ("train01",)
    assert {c.name for c in capture.cameras} == {"train00", "train01", "train02"}
    assert capture.background == (0.0, 0.25, 1.0)
    np.testing.assert_allclose(capture.times_seconds, np.arange(5) / 24)


def test_hyfluid_stated_length_and_rate_win(tmp_path):
    writers.write_hyfluid(tmp_path, frames=6)
    path = tmp_path / "info.json"
    info = json.loads(path.read_text())
    for e in info["train_videos"] + info["test_videos"]:
        e.update(frame_num=4, frame_rate=60)
    writers.write_json(path, info)
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.times_seconds, np.arange(4) / 60)
    assert any("has 6 frames; info.json says 4" in n for n in capture.notes)
    assert any("stored at 30 frames per second; info.json says 60" in n for n in capture.notes)


def test_a_folder_of_two_layouts_is_read_as_the_first_with_a_note(tmp_path):
    cameras = writers.write_n3dv(tmp_path)
    writers.write_transforms(tmp_path, cameras)
    capture = read_capture(tmp_path)
    assert capture.layout == "n3dv"
    assert "it also looks like transforms" in capture.notes[0]
    assert read_capture(tmp_path, "transforms").layout == "transforms"


def test_names_of_layouts():
    assert all(LAYOUTS[name].name == name for name in LAYOUTS)


def test_only_frames_and_cameras_of_a_read_capture(tmp_path):
    """The contract's own operations work on what the readers return."""
    writers.write_dnerf(tmp_path)
    part = read_capture(tmp_path).only_frames(2, None, 2)
    assert part.num_frames == 2 and part.times_seconds.tolist() == [0.0, 0.5]
    assert part.camera("test").frame_ids.tolist() == [0, 1]
    assert len(part.camera("train").poses) == len(part.camera("train").frames) == 2
