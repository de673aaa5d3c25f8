import json

import numpy as np
import pytest

from fourdgs_ns.capture.capture import VideoFrames
from fourdgs_ns.capture.layouts import read_capture
from tests.capture import writers
from tests.capture.writers import entry

LENS = {"fl_x": 40.0, "w": writers.WIDTH, "h": writers.HEIGHT}


def write_timed(root, key, values, cameras=None, **top):
    """images/<camera>/<i>.png with an entry for each, in mixed order."""
    cameras = cameras or writers.rig()
    entries = []
    for i in reversed(range(len(values))):
        for c in cameras:
            writers.write_image(root / "images" / c.name / f"{i}.png")
            entries.append(entry(c, f"images/{c.name}/{i}.png", **({key: values[i]} if key else {})))
    writers.write_json(root / "transforms.json", {**LENS, **top, "frames": entries})
    return cameras


def test_one_entry_per_camera_stands_for_its_folder(tmp_path):
    writers.write_transforms(tmp_path, frames=4)
    writers.write_json(tmp_path / "metadata.json", {"fps": 50})
    (tmp_path / "cloud.ply").write_bytes(b"ply\n")
    content = json.loads((tmp_path / "transforms.json").read_text())
    writers.write_json(tmp_path / "transforms.json", {**content, "ply_file_path": "cloud.ply"})
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.times_seconds, np.arange(4) / 50)
    assert capture.eval_cameras == ("cam00",)
    assert capture.point_files == (tmp_path / "cloud.ply",)
    assert capture.cameras[2].frames.paths == tuple(tmp_path / "frames/cam02" / f"{i:06d}.png" for i in range(4))


def test_diffuman4d_masks_and_alpha(tmp_path):
    cameras = writers.rig(("01", "13"))
    for c in cameras:
        writers.write_images(tmp_path / "images_alpha" / c.name, range(3), channels=4)
        writers.write_images(tmp_path / "fmasks" / c.name, range(3), channels=1)
    entries = [entry(c, f"images_alpha/{c.name}/000000.png", camera_label=c.name, **LENS) for c in cameras]
    writers.write_json(tmp_path / "transforms.json", {"frames": entries})
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == ["01", "13"]
    assert all(len(c.masks) == 3 for c in capture.cameras) and capture.masks_are_mattes
    assert "alpha channel" in " ".join(capture.notes)


@pytest.mark.parametrize("place", ["videos/{}.mp4", "videos/{}"])
def test_an_entry_may_name_a_video_or_a_folder(place, tmp_path):
    cameras = writers.rig()
    for c in cameras:
        path = tmp_path / place.format(c.name)
        writers.write_video(path, 3, fps=20.0) if path.suffix else writers.write_images(path, range(3))
    writers.write_json(
        tmp_path / "transforms.json", {**LENS, "fps": 20, "frames": [entry(c, place.format(c.name)) for c in cameras]}
    )
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == ["cam00", "cam01", "cam02"]
    np.testing.assert_allclose(capture.times_seconds, np.arange(3) / 20)
    if place.endswith("mp4"):
        assert capture.cameras[0].frames == VideoFrames(tmp_path / "videos/cam00.mp4", (0, 1, 2))


@pytest.mark.parametrize(
    ("key", "values", "top", "seconds"),
    [
        ("time", [0.0, 0.5, 1.0], {}, [0, 0.5, 1.0]),  # seconds, a clip of one second
        ("time", [0.0, 0.5, 1.0], {"fps": 10}, [0, 0.1, 0.2]),  # normalised, the smallest step is a frame
        ("time", [2.0, 2.1, 2.4], {"fps": 10}, [0, 0.1, 0.4]),  # seconds already, with a hole
        ("time", [5, 6, 8], {}, [0, 1 / 30, 3 / 30]),  # frame numbers
        ("frame_id", [7, 8, 10], {"fps": 5}, [0, 0.2, 0.6]),
        (None, [None] * 3, {"fps": 5}, [0, 0.2, 0.4]),  # the numbers in the names
    ],
)
def test_units_of_time(key, values, top, seconds, tmp_path):
    write_timed(tmp_path, key, values, **top)
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.times_seconds, seconds, atol=1e-12)
    for camera in capture.cameras:
        assert camera.frame_ids.tolist() == [0, 1, 2]
        assert [p.stem for p in camera.frames.paths] == ["0", "1", "2"]
        assert camera.poses.shape == (1, 4, 4)


def test_times_rounded_differently_are_one_instant(tmp_path):
    cameras = writers.rig()
    entries = []
    for digits, c in enumerate(cameras, start=6):
        for i in range(4):
            writers.write_image(tmp_path / "images" / c.name / f"{i}.png")
            entries.append(entry(c, f"images/{c.name}/{i}.png", time=round(i / 3, digits)))
    writers.write_json(tmp_path / "transforms.json", {**LENS, "frames": entries})
    assert read_capture(tmp_path).num_frames == 4


def test_a_camera_may_lack_instants(tmp_path):
    cameras = write_timed(tmp_path, "time", [0.0, 0.5, 1.0])
    content = json.loads((tmp_path / "transforms.json").read_text())
    content["frames"] = [f for f in content["frames"] if f["file_path"] != "images/cam01/1.png"]
    writers.write_json(tmp_path / "transforms.json", content)
    capture = read_capture(tmp_path)
    assert capture.camera(cameras[1].name).frame_ids.tolist() == [0, 2]
    assert "cam01 has 2" in " ".join(capture.notes)


def test_moving_monocular(tmp_path):
    poses = writers.rig([str(i) for i in range(4)])
    entries = []
    for i, c in enumerate(poses):
        writers.write_image(tmp_path / "rgb" / f"{i:03d}.png")
        entries.append(entry(c, f"rgb/{i:03d}.png", time=i / 3))
    writers.write_json(tmp_path / "transforms.json", {**LENS, "frames": entries})
    capture = read_capture(tmp_path)
    (camera,) = capture.cameras
    assert capture.eval_cameras == ()
    np.testing.assert_allclose(camera.poses, [c.opencv_world_from_camera() for c in poses], atol=1e-12)


def test_lens_models(tmp_path):
    one, two, three = writers.rig()
    for c in (one, two, three):
        writers.write_images(tmp_path / c.name, range(2))
    fields = {"k1": 0.1, "k2": 0.2, "p1": 0.3, "p2": 0.4}
    entries = [
        entry(one, "cam00/000000.png", **LENS, **fields, camera_model="OPENCV"),
        entry(two, "cam01/000000.png", fl_x=40.0, k1=0.1, k4=0.2, camera_model="OPENCV_FISHEYE"),
        entry(three, "cam02/000000.png", camera_angle_x=np.pi / 2),
    ]
    writers.write_json(tmp_path / "transforms.json", {"frames": entries})
    a, b, c = read_capture(tmp_path).cameras
    assert (a.camera.distortion, a.camera.fisheye) == ((0.1, 0.2, 0.3, 0.4, 0.0), False)
    assert (b.camera.distortion, b.camera.fisheye) == ((0.1, 0.0, 0.0, 0.2), True)
    np.testing.assert_allclose(c.camera.intrinsics, [[16, 0, 16], [0, 16, 12], [0, 0, 1]])


def test_dnerf(tmp_path):
    writers.write_dnerf(tmp_path, train=5, test=3)
    capture = read_capture(tmp_path)
    assert capture.layout == "dnerf"
    assert [c.name for c in capture.cameras] == ["train", "test"]
    assert capture.eval_cameras == ("test",)
    assert capture.background == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(capture.times_seconds, [0, 0.25, 0.5, 0.75, 1.0])
    assert capture.camera("train").frame_ids.tolist() == [0, 1, 2, 3, 4]
    assert capture.camera("test").frame_ids.tolist() == [0, 2, 4]
    assert capture.camera("test").frames.paths[0] == tmp_path / "test" / "r_000.png"
    assert "transforms_val.json" in " ".join(capture.notes)


def test_splits_of_a_fixed_rig(tmp_path):
    """Fudan's conversion of N3DV: images/cam01_0000.png, camera 0 in the test split, time in seconds."""
    held, *others = writers.rig()
    for split, cameras in (("test", [held]), ("train", others)):
        entries = []
        for c in cameras:
            for t in range(3):
                writers.write_image(tmp_path / "images" / f"{c.name}_{t:04d}.png")
                entries.append(entry(c, f"images/{c.name}_{t:04d}", time=t / 30))
        writers.write_json(tmp_path / f"transforms_{split}.json", {**LENS, "frames": entries})
    capture = read_capture(tmp_path)
    assert [c.name for c in capture.cameras] == ["cam00", "cam01", "cam02"]
    assert capture.eval_cameras == ("cam00",)
    assert all(len(c.poses) == 1 for c in capture.cameras)
    np.testing.assert_allclose(capture.times_seconds, [0, 1 / 30, 2 / 30])
    assert capture.background is None
