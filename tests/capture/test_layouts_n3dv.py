import numpy as np
import pytest

from fourdgs_ns.capture.capture import ImageFrames, VideoFrames
from fourdgs_ns.capture.layouts import read_capture
from tests.capture import writers


def test_videos(tmp_path):
    writers.write_n3dv(tmp_path, frames=6, fps=25.0)
    (tmp_path / "points3D.ply").write_bytes(b"ply\n")
    capture = read_capture(tmp_path)
    assert capture.eval_cameras == ("cam00",)
    assert capture.cameras[1].frames == VideoFrames(tmp_path / "cam01.mp4", (0, 1, 2, 3, 4, 5))
    np.testing.assert_allclose(capture.times_seconds, np.arange(6) / 25)
    assert capture.numbers().tolist() == [0, 1, 2, 3, 4, 5]
    assert capture.point_files == (tmp_path / "points3D.ply",)
    assert capture.notes == ()


@pytest.mark.parametrize("folder", ["cam{}", "cam{}/images", "images/cam{}"])
def test_images_in_folders(folder, tmp_path):
    cameras = writers.rig()
    writers.write_poses_bounds(tmp_path, cameras)
    for i in range(3):
        writers.write_images(tmp_path / folder.format(f"0{i}"), range(3), pattern="{}.png")
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == ["cam00", "cam01", "cam02"]
    assert capture.num_frames == 3
    assert "30 frames per second are assumed" in capture.notes[0]


def test_one_image_per_camera_is_one_frame_in_natural_order(tmp_path):
    names = [str(i + 1) for i in range(11)]
    writers.write_poses_bounds(tmp_path, writers.rig(names))
    (tmp_path / "poses_bounds.txt").write_text("\n".join(names))
    for name in names:
        writers.write_image(tmp_path / "images" / f"{name}.png")
        writers.write_image(tmp_path / "images_4" / f"{name}.png", 8, 6)
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == names
    assert capture.num_frames == 1
    assert capture.cameras[9].frames == ImageFrames((tmp_path / "images" / "10.png",))
    assert capture.notes == ()


def test_one_frame_fewer_is_cut_with_a_note(tmp_path):
    writers.write_n3dv(tmp_path, frames=6)
    writers.write_video(tmp_path / "cam01.mp4", 5)
    capture = read_capture(tmp_path)
    assert capture.num_frames == 5
    assert all(len(c.frames) == 5 for c in capture.cameras)
    assert "cam00 has 6" in capture.notes[0] and "cam01" not in capture.notes[0]


def test_metadata_rate_wins_over_the_header(tmp_path):
    writers.write_n3dv(tmp_path, fps=30.0)
    writers.write_json(tmp_path / "metadata.json", {"fps": 120})
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.times_seconds, np.arange(5) / 120)
    assert "stored at 30 fps; metadata.json says 120" in capture.notes[0]


def test_slightly_different_rates_are_one_rate(tmp_path):
    writers.write_n3dv(tmp_path)
    writers.write_video(tmp_path / "cam02.mp4", 5, fps=29.97)
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.times_seconds, np.arange(5) / 30)
    assert "29.97 to 30" in capture.notes[0]
