import numpy as np
import pytest

from fourdgs_ns.capture.capture import ImageFrames, VideoFrames
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.layouts.reading import read_opencv_yaml
from tests.capture import writers


def test_images_masks_and_notes(tmp_path):
    writers.write_easyvolcap(tmp_path)
    for camera in ("00", "01"):
        writers.write_images(tmp_path / "masks" / camera, range(5), channels=1)
    writers.write_images(tmp_path / "images" / "99")
    writers.write_json(tmp_path / "metadata.json", {"fps": 15})
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == ["00", "01", "02"]
    assert capture.eval_cameras == ("00",)
    assert capture.masks_are_mattes
    np.testing.assert_allclose(capture.times_seconds, np.arange(4) / 15)
    assert capture.camera("01").masks == ImageFrames(tuple(tmp_path / "masks/01" / f"{i:06d}.png" for i in range(4)))
    assert capture.camera("02").masks is None
    notes = " ".join(capture.notes)
    assert "no calibration: 99" in notes and "no masks for camera 02" in notes


@pytest.mark.parametrize("rodrigues", [False, True])
def test_both_spellings_of_rotation(rodrigues, tmp_path):
    cameras = writers.write_easyvolcap(tmp_path, rodrigues=rodrigues)
    for truth, camera in zip(cameras, read_capture(tmp_path).cameras, strict=True):
        np.testing.assert_allclose(camera.poses[0], truth.opencv_world_from_camera(), atol=1e-9)


@pytest.mark.parametrize("place", ["videos/{}.mp4", "videos/{}/output.mp4"])
def test_videos_with_video_masks(place, tmp_path):
    cameras = writers.rig(("0000", "0001"))
    writers.write_easyvolcap_calibration(tmp_path, cameras)
    for c in cameras:
        writers.write_video(tmp_path / place.format(c.name), 4)
        writers.write_video(tmp_path / "masks" / f"{c.name}.mp4", 4)
    capture = read_capture(tmp_path)
    assert capture.cameras[1].frames == VideoFrames(tmp_path / place.format("0001"), (0, 1, 2, 3))
    assert capture.cameras[1].masks == VideoFrames(tmp_path / "masks" / "0001.mp4", (0, 1, 2, 3))


def test_optimized_calibration_is_preferred(tmp_path):
    moved = writers.rig(("00", "01", "02"), radius=7.0)
    writers.write_easyvolcap(tmp_path)
    writers.write_easyvolcap_calibration(tmp_path / "optimized", moved)
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.cameras[2].poses[0, :3, 3], moved[2].centre, atol=1e-12)
    assert "optimized is used instead" in " ".join(capture.notes)


def test_sync_shifts_whole_frames_and_keeps_the_rest(tmp_path):
    """A camera whose frame k was exposed at k / 60 - s has frame k + n at the instant k / 60, s = n / 60 + rest."""
    cameras = writers.rig(("00", "01", "02"))
    writers.write_easyvolcap_calibration(tmp_path / "optimized", cameras)
    for c in cameras:
        writers.write_video(tmp_path / "videos" / f"{c.name}.mp4", 10, fps=60.0)
    offsets = {"01": 2 / 60 + 0.004, "02": -1 / 60}
    writers.write_json(tmp_path / "optimized" / "sync.json", offsets)
    capture = read_capture(tmp_path)
    assert capture.numbers().tolist() == list(range(1, 8))
    for name in ("00", "01", "02"):
        camera = capture.camera(name)
        position = np.array(camera.frames.indices)
        exposed = position / 60 - offsets.get(name, 0.0)
        np.testing.assert_allclose(capture.numbers() / 60 + camera.time_offset_seconds, exposed, atol=1e-12)
        assert abs(camera.time_offset_seconds) <= 0.5 / 60


def test_distortion_fisheye_and_size(tmp_path):
    extra = {"D_00": [[0.1, -0.2, 0.01, 0.02, 0.3]], "dist_01": [[0.1, 0.0, 0.0, 0.0]], "rdist_02": [[0.5, 0.25]]}
    numbers = {"H_00": 48.0, "W_00": 64.0, "H_01": -1, "W_01": -1}
    writers.write_easyvolcap(tmp_path, extra=extra, numbers=numbers)
    zero, one, two = read_capture(tmp_path).cameras
    assert zero.camera.distortion == (0.1, -0.2, 0.01, 0.02, 0.3) and not zero.camera.fisheye
    assert one.camera.distortion == (0.1, 0.0, 0.0, 0.0, 0.0)
    assert two.camera.distortion == (0.5, 0.25, 0.0, 0.0) and two.camera.fisheye
    np.testing.assert_allclose(zero.camera.intrinsics[[0, 0, 1, 1], [0, 2, 1, 2]], [20.0, 8.5, 21.0, 5.5])
    np.testing.assert_allclose(one.camera.intrinsics[[0, 0, 1, 1], [0, 2, 1, 2]], [41.0, 17.0, 43.0, 11.0])


def test_flat_images_are_one_frame_of_the_cameras_they_name(tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, writers.rig(("7", "11", "12")))
    for stem in ("007_0001_00001", "11", "12"):
        writers.write_image(tmp_path / "images" / f"{stem}.png")
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == ["11", "12"]
    notes = " ".join(capture.notes)
    assert "no calibration: 007_0001_00001" in notes and "no frames: 7" in notes


def test_only_the_frames_all_cameras_share(tmp_path):
    writers.write_easyvolcap(tmp_path, frames=range(20))
    (tmp_path / "images/01/000000.png").unlink()
    (tmp_path / "images/02/000019.png").unlink()
    capture = read_capture(tmp_path)
    assert capture.numbers().tolist() == list(range(1, 19))
    for camera in capture.cameras:
        assert camera.frames.paths[0].name == "000001.png"
        assert camera.frame_ids.tolist() == list(range(18))
    assert capture.times_seconds[0] == 0


def test_yaml_keeps_names_as_text(tmp_path):
    path = tmp_path / "intri.yml"
    path.write_text("%YAML:1.0\n---\nnames:\n  - 010\n  - no\n  - 1e3\nH_010: 1080.\n")
    assert read_opencv_yaml(path) == {"names": ["010", "no", "1e3"], "H_010": "1080."}


def test_yaml_agrees_with_opencv(tmp_path):
    """What OpenCV itself writes is read back number by number."""
    import cv2

    cameras = writers.rig(("00", "01"))
    files = {}
    for name in ("intri", "extri"):
        files[name] = cv2.FileStorage(str(tmp_path / f"{name}.yml"), cv2.FILE_STORAGE_WRITE)
        files[name].startWriteStruct("names", cv2.FileNode_SEQ)
        for c in cameras:
            files[name].write("", c.name)
        files[name].endWriteStruct()
    for c in cameras:
        files["intri"].write(f"K_{c.name}", np.array([[c.focal / 3, 0, 16], [0, c.focal / 7, 12], [0, 0, 1.0]]))
        files["extri"].write(f"Rot_{c.name}", c.rotation_to_camera())
        files["extri"].write(f"T_{c.name}", c.translation_to_camera())
        writers.write_images(tmp_path / "images" / c.name)
    for file in files.values():
        file.release()
    for truth, camera in zip(cameras, read_capture(tmp_path).cameras, strict=True):
        np.testing.assert_allclose(camera.poses[0], truth.opencv_world_from_camera(), atol=1e-12)
        assert camera.camera.intrinsics[0, 0] == truth.focal / 3


def test_sizes_that_differ_by_rounding_scale_each_axis_by_itself(tmp_path):
    """1923x1080 exports of 1920x1080 calibrations exist: width and height have their own factor."""
    writers.write_easyvolcap(tmp_path, numbers={"H_00": 48.0, "W_00": 64.2})
    intrinsics = read_capture(tmp_path).camera("00").camera.intrinsics
    np.testing.assert_allclose(intrinsics[0], [40 * 32 / 64.2, 0, 17 * 32 / 64.2])
    np.testing.assert_allclose(intrinsics[1], [0, 42 / 2, 11 / 2])
