"""Wrong input of every kind ends in one sentence that names the file or camera and says what to do."""

import json
import re

import av
import cv2
import numpy as np
import pytest
import writers
from writers import entry

from fourdgs_ns.data.layouts import LAYOUTS, read_capture
from fourdgs_ns.data.probe import probe_image, probe_video
from fourdgs_ns.errors import UserError

REMEDY = re.compile(
    r"[;?(][^;]*\b(put|give|write|cut|copy|export|calibrate|check|add|remove|delete|choose|number|re-encode|rename|"
    r"did you mean|scaled|correct|replace|convert)\b"
)


def refused(action, *named):
    """The message, after checking that it is one line, names everything in ``named`` and ends with a remedy."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in named:
        assert str(word) in message, f"{word!r} is not in: {message}"
    assert REMEDY.search(message), f"no remedy in: {message}"


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def replace_in(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# Folders


def test_missing_folder(tmp_path):
    refused(lambda: read_capture(tmp_path / "nowhere"), "nowhere", "does not exist")


def test_file_instead_of_folder(tmp_path):
    video = writers.write_video(tmp_path / "cam00.mp4")
    refused(lambda: read_capture(video), "cam00.mp4", "not a folder")


def test_empty_folder(tmp_path):
    refused(
        lambda: read_capture(tmp_path), tmp_path, "holds nothing", "poses_bounds.npy", "intri.yml", "transforms.json"
    )


def test_folder_of_no_layout(tmp_path):
    writers.write_image(tmp_path / "holiday.png")
    refused(lambda: read_capture(tmp_path), "holds holiday.png")


def test_folder_above_the_capture(tmp_path):
    writers.write_n3dv(tmp_path / "scene")
    refused(lambda: read_capture(tmp_path), f"did you mean {tmp_path / 'scene'}?")


def test_unknown_layout(tmp_path):
    refused(lambda: read_capture(tmp_path, "llff"), "llff", *LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_by_name_on_an_empty_folder(layout, tmp_path):
    refused(lambda: read_capture(tmp_path, layout), tmp_path)


# Videos


def test_no_videos(tmp_path):
    writers.write_poses_bounds(tmp_path, writers.rig())
    refused(lambda: read_capture(tmp_path), tmp_path, "cam*.mp4")


def test_text_named_mp4(tmp_path):
    writers.write_n3dv(tmp_path)
    (tmp_path / "cam01.mp4").write_text("this is no video\n" * 50)
    refused(lambda: read_capture(tmp_path), tmp_path / "cam01.mp4", "not a video", "ffmpeg")


def test_empty_mp4(tmp_path):
    writers.write_n3dv(tmp_path)
    (tmp_path / "cam01.mp4").write_bytes(b"")
    refused(lambda: read_capture(tmp_path), tmp_path / "cam01.mp4", "0 bytes")


def test_truncated_mp4(tmp_path, capfd):
    writers.write_n3dv(tmp_path, frames=30)
    truncate(tmp_path / "cam02.mp4", 1000)
    refused(lambda: read_capture(tmp_path), tmp_path / "cam02.mp4", "cut off")
    assert "moov" not in capfd.readouterr().err  # FFmpeg's own words stay away


def test_download_that_stopped_early(tmp_path):
    """With its index in front (as for streaming) a cut file still opens and promises every frame."""
    with av.open(str(tmp_path / "cam00.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = writers.WIDTH, writers.HEIGHT, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (20, writers.HEIGHT, writers.WIDTH, 3), np.uint8)
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    path = tmp_path / "cam00.mp4"
    assert probe_video(path).frame_count == 20
    truncate(path, path.stat().st_size * 2 // 3)
    refused(lambda: probe_video(path), path, "ends before its last frame")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({cv2.CAP_PROP_FRAME_COUNT: 0.0}, "0 frames"),
        ({cv2.CAP_PROP_FRAME_COUNT: -2562047788015215.0}, "frames, so the file is truncated"),
        ({cv2.CAP_PROP_FRAME_COUNT: 2e7}, "20000000 frames"),
        ({cv2.CAP_PROP_FPS: 0.0}, "0 frames per second"),
        ({cv2.CAP_PROP_FPS: float("nan")}, "nan frames per second"),
        ({cv2.CAP_PROP_FRAME_WIDTH: 100_000.0}, "100000x24"),
        ({cv2.CAP_PROP_FRAME_HEIGHT: 0.0}, "32x0"),
    ],
)
def test_header_that_claims_the_impossible(header, found, tmp_path, monkeypatch):
    path = writers.write_video(tmp_path / "cam00.mp4")
    original = cv2.VideoCapture

    class Liar:
        def __init__(self, *args):
            self.reader = original(*args)

        def isOpened(self):
            return self.reader.isOpened()

        def get(self, key):
            return header.get(key, self.reader.get(key))

        def release(self):
            self.reader.release()

    monkeypatch.setattr(cv2, "VideoCapture", Liar)
    refused(lambda: probe_video(path), path, found)


def test_different_rates(tmp_path):
    writers.write_n3dv(tmp_path)
    writers.write_video(tmp_path / "cam01.mp4", 5, fps=25.0)
    refused(lambda: read_capture(tmp_path), "cam01", "25", "30", "ffmpeg -i INPUT -r 30")


def test_rates_that_drift_apart_over_a_long_clip(tmp_path):
    writers.write_n3dv(tmp_path, frames=600)
    writers.write_video(tmp_path / "cam01.mp4", 600, fps=29.97)
    refused(lambda: read_capture(tmp_path), "cam01", "29.97", "ffmpeg")


def test_unequal_lengths(tmp_path):
    writers.write_n3dv(tmp_path, frames=20)
    writers.write_video(tmp_path / "cam02.mp4", 10)
    refused(lambda: read_capture(tmp_path), "cam02", "has 10 frames", "20", "cut all cameras")


# N3DV


def test_other_number_of_rows(tmp_path):
    cameras = writers.write_n3dv(tmp_path)
    writers.write_poses_bounds(tmp_path, cameras[:2])
    refused(lambda: read_capture(tmp_path), tmp_path / "poses_bounds.npy", "2 rows", "3 cameras", "cam02")


def test_one_camera(tmp_path):
    writers.write_n3dv(tmp_path, writers.rig(("cam00",)))
    refused(lambda: read_capture(tmp_path), "1 usable camera", "cam00", "at least 2")


@pytest.mark.parametrize("shape", [(3, 15), (51,), (3, 17, 1)])
def test_poses_of_another_shape(shape, tmp_path):
    writers.write_n3dv(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", np.ones(shape))
    refused(lambda: read_capture(tmp_path), "poses_bounds.npy", "x".join(map(str, shape)), "Nx17")


def test_pickled_poses_are_not_run(tmp_path):
    writers.write_n3dv(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", np.array([{"pose": 1}], dtype=object), allow_pickle=True)
    refused(lambda: read_capture(tmp_path), "poses_bounds.npy", "not a readable .npy")


def test_truncated_poses(tmp_path):
    writers.write_n3dv(tmp_path)
    truncate(tmp_path / "poses_bounds.npy", 200)
    refused(lambda: read_capture(tmp_path), "poses_bounds.npy", "not a readable .npy")


def test_poses_of_text(tmp_path):
    writers.write_n3dv(tmp_path)
    np.save(tmp_path / "poses_bounds.npy", np.array([["a"] * 17] * 3))
    refused(lambda: read_capture(tmp_path), "poses_bounds.npy", "instead of an array of numbers")


def change_row(tmp_path, column, value):
    path = tmp_path / "poses_bounds.npy"
    rows = np.load(path)
    rows[1, column] = value
    np.save(path, rows)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pose_that_is_not_finite(value, tmp_path):
    writers.write_n3dv(tmp_path)
    change_row(tmp_path, 3, value)
    refused(lambda: read_capture(tmp_path), "cam01", "poses_bounds.npy", "NaN or infinite")


def test_pose_that_is_no_rotation(tmp_path):
    writers.write_n3dv(tmp_path)
    change_row(tmp_path, 0, 3.0)
    refused(lambda: read_capture(tmp_path), "cam01", "poses_bounds.npy", "no rotation")


@pytest.mark.parametrize("focal", [0.0, -40.0, np.nan])
def test_focal_length(focal, tmp_path):
    writers.write_n3dv(tmp_path)
    change_row(tmp_path, 14, focal)
    refused(lambda: read_capture(tmp_path), "cam01", "poses_bounds.npy")


def test_aspect(tmp_path):
    writers.write_n3dv(tmp_path)
    writers.write_video(tmp_path / "cam01.mp4", 5, width=24, height=32)
    refused(lambda: read_capture(tmp_path), "cam01", "24x32", "32x24", "aspect")


def test_two_files_for_one_camera(tmp_path):
    writers.write_n3dv(tmp_path)
    writers.write_video(tmp_path / "cam01.avi", 5)
    refused(lambda: read_capture(tmp_path), "cam01.mp4", "cam01.avi", "delete one")


# Images


def test_gap_in_the_numbering(tmp_path):
    writers.write_easyvolcap(tmp_path, frames=range(10))
    (tmp_path / "images/01/000004.png").unlink()
    refused(lambda: read_capture(tmp_path), "camera '01'", "lacks frame 4", "000003.png", "000005.png")


def test_gap_in_steps_of_ten(tmp_path):
    writers.write_easyvolcap(tmp_path, frames=range(0, 80, 10))
    (tmp_path / "images/01/000040.png").unlink()
    refused(lambda: read_capture(tmp_path), "camera '01'", "lacks frame 40")


def test_two_files_for_one_frame(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_image(tmp_path / "images/01/000002.jpg")
    refused(lambda: read_capture(tmp_path), "camera '01'", "two files for frame 2", "000002.jpg")


def test_sizes_inside_a_camera(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_image(tmp_path / "images/01/000003.png", 16, 12)
    refused(lambda: read_capture(tmp_path), "camera '01'", "000003.png", "16x12", "32x24")


def test_text_named_png(tmp_path):
    writers.write_easyvolcap(tmp_path)
    (tmp_path / "images/01/000000.png").write_text("no image")
    refused(lambda: read_capture(tmp_path), tmp_path / "images/01/000000.png", "not an image")


def test_image_header_that_claims_the_impossible(tmp_path):
    """A PNG header of 100000x100000 pixels must be refused without allocating them."""
    path = writers.write_image(tmp_path / "bomb.png")
    content = bytearray(path.read_bytes())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    path.write_bytes(content)
    refused(lambda: probe_image(path), path)


def test_frame_numbers_that_do_not_meet(tmp_path):
    cameras = writers.rig(("00", "01"))
    writers.write_easyvolcap_calibration(tmp_path, cameras)
    writers.write_images(tmp_path / "images/00", range(5))
    writers.write_images(tmp_path / "images/01", range(100, 105))
    refused(lambda: read_capture(tmp_path), "'00' has frames 0 to 4", "'01' has 100 to 104")


def test_frame_without_mask(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_images(tmp_path / "masks/01", range(3), channels=1)
    refused(lambda: read_capture(tmp_path), "frame 3 of camera '01'", "masks")


def test_masks_of_another_size(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_images(tmp_path / "masks/01", range(4), 16, 12, channels=1)
    refused(lambda: read_capture(tmp_path), "camera '01'", "16x12", "32x24")


# EasyVolcap


@pytest.mark.parametrize(
    ("file", "key"), [("intri.yml", "K_01"), ("extri.yml", "T_01"), ("extri.yml", "Rot_01"), ("extri.yml", "names")]
)
def test_missing_entry(file, key, tmp_path):
    writers.write_easyvolcap(tmp_path)
    replace_in(tmp_path / file, f"{key}:", f"other_{key}:")
    refused(lambda: read_capture(tmp_path), tmp_path / file, key)


def test_yaml_that_does_not_parse(tmp_path):
    writers.write_easyvolcap(tmp_path)
    replace_in(tmp_path / "intri.yml", "data: [", "data: [[")
    refused(lambda: read_capture(tmp_path), tmp_path / "intri.yml", "not valid YAML", "line")


def test_yaml_matrix_of_another_size(tmp_path):
    writers.write_easyvolcap(tmp_path)
    replace_in(tmp_path / "intri.yml", "rows: 3", "rows: 4")
    refused(lambda: read_capture(tmp_path), "K_00", "intri.yml", "says 4x3 but lists 9")


def test_singular_intrinsics(tmp_path):
    writers.write_easyvolcap(tmp_path, extra={"K_01": np.zeros((3, 3))})
    refused(lambda: read_capture(tmp_path), "camera '01'", "intri.yml", "focal lengths 0 and 0")


def test_transposed_intrinsics(tmp_path):
    writers.write_easyvolcap(tmp_path, extra={"K_01": [[40, 0, 0], [0, 40, 0], [16, 12, 1]]})
    refused(lambda: read_capture(tmp_path), "camera '01'", "intri.yml", "no pinhole matrix")


def test_mirrored_rotation(tmp_path):
    cameras = writers.rig(("00", "01"))
    one = cameras[1]
    cameras[1] = writers.Camera("01", one.centre, -one.right, one.down, one.forward)
    writers.write_easyvolcap(tmp_path, cameras)
    refused(lambda: read_capture(tmp_path), "camera '01'", "extri.yml", "mirrors")


def test_names_that_do_not_meet(tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, writers.rig(("00", "01")))
    for name in ("a", "b"):
        writers.write_images(tmp_path / "images" / name)
    refused(lambda: read_capture(tmp_path), tmp_path, "00, 01", "a, b")


def test_no_images(tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, writers.rig())
    refused(lambda: read_capture(tmp_path), tmp_path, "images/<camera>", "videos/<camera>.mp4")


def test_too_many_distortion_coefficients(tmp_path):
    writers.write_easyvolcap(tmp_path, extra={"D_01": [[0.1] * 12]})
    refused(lambda: read_capture(tmp_path), "camera '01'", "12 distortion coefficients")


def test_offsets_without_a_rate(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_json(tmp_path / "sync.json", {"00": 0.1})
    refused(lambda: read_capture(tmp_path), "sync.json", "metadata.json")


# JSON layouts


@pytest.mark.parametrize("text", ["{", "[]", "", "{'frames': 1}", "[" * 100_000])
def test_json_that_does_not_parse(text, tmp_path):
    writers.write_transforms(tmp_path)
    (tmp_path / "transforms.json").write_text(text)
    refused(lambda: read_capture(tmp_path), tmp_path / "transforms.json")


def test_json_that_is_no_text(tmp_path):
    writers.write_hyfluid(tmp_path)
    (tmp_path / "info.json").write_bytes(b'{"train_videos": "\xff\xfe"}')
    refused(lambda: read_capture(tmp_path), tmp_path / "info.json", "not a text file")


def test_named_image_is_missing(tmp_path):
    writers.write_dynamic3dgs(tmp_path)
    (tmp_path / "ims/2/000001.png").unlink()
    refused(lambda: read_capture(tmp_path), "train_meta.json", tmp_path / "ims/2/000001.png")


def test_label_is_missing(tmp_path):
    writers.write_dynamic3dgs(tmp_path)
    (tmp_path / "seg/2/000001.png").unlink()
    refused(lambda: read_capture(tmp_path), "camera '2'", tmp_path / "seg/2/000001.png")


def test_tables_of_unequal_length(tmp_path):
    writers.write_dynamic3dgs(tmp_path)
    edit_json(tmp_path / "train_meta.json", lambda meta: meta["k"].pop())
    refused(lambda: read_capture(tmp_path), "train_meta.json", "k for 2 frames")


def test_zooming_camera(tmp_path):
    writers.write_dynamic3dgs(tmp_path)
    edit_json(tmp_path / "train_meta.json", lambda meta: meta["k"][2][1][0].__setitem__(0, 60.0))
    refused(lambda: read_capture(tmp_path), "camera '2' at frame 2", "train_meta.json", "zooming")


def test_camera_in_both_splits(tmp_path):
    writers.write_dynamic3dgs(tmp_path)
    (tmp_path / "test_meta.json").write_text((tmp_path / "train_meta.json").read_text())
    refused(lambda: read_capture(tmp_path), "camera '0'", "train_meta.json", "test_meta.json")


def test_named_video_is_missing(tmp_path):
    writers.write_hyfluid(tmp_path)
    (tmp_path / "train02.mp4").unlink()
    refused(lambda: read_capture(tmp_path), "info.json", tmp_path / "train02.mp4")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("camera_angle_x", 0.0),
        ("camera_angle_x", "wide"),
        ("camera_angle_x", 10**400),
        ("transform_matrix", [[1, 0], [0, 1]]),
        ("camera_hw", [24, 0]),
        ("frame_num", 0),
        ("frame_rate", -30),
    ],
)
def test_fields_of_hyfluid(field, value, tmp_path):
    writers.write_hyfluid(tmp_path)
    edit_json(tmp_path / "info.json", lambda info: info["train_videos"][1].__setitem__(field, value))
    refused(lambda: read_capture(tmp_path), "train02", "info.json")


def change_entry(tmp_path, **fields):
    edit_json(tmp_path / "transforms.json", lambda content: content["frames"][1].update(fields))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"transform_matrix": [[float("nan")] * 4] * 4}, ["cam01", "NaN"]),
        ({"fl_x": 0}, ["cam01", "focal lengths"]),
        ({"fl_x": None}, ["fl_x", "cam01", "None"]),
        ({"camera_model": "EQUIRECTANGULAR"}, ["cam01", "EQUIRECTANGULAR", "OPENCV_FISHEYE"]),
        ({"w": 48}, ["cam01", "48x24", "aspect"]),
        ({"file_path": "frames/cam01/000009.png"}, ["frames/cam01/000009.png", "does not exist"]),
        ({"file_path": 7}, ["entry 1", "file_path"]),
        ({"k1": float("inf")}, ["k1", "cam01"]),
    ],
)
def test_fields_of_transforms(fields, named, tmp_path):
    writers.write_transforms(tmp_path)
    change_entry(tmp_path, **fields)
    refused(lambda: read_capture(tmp_path), "transforms.json", *named)


def test_static_transforms(tmp_path):
    cameras = writers.rig()
    for i, _ in enumerate(cameras):
        writers.write_image(tmp_path / "images" / f"frame_{i:05d}.png")
    entries = [entry(c, f"images/frame_{i:05d}.png") for i, c in enumerate(cameras)]
    writers.write_json(tmp_path / "transforms.json", {"fl_x": 40, "frames": entries})
    refused(lambda: read_capture(tmp_path), "transforms.json", "static scene", "camera_label", "time")


def test_two_images_of_one_instant(tmp_path):
    cameras = writers.rig()
    for i, _ in enumerate(cameras):
        writers.write_image(tmp_path / "images" / f"{i}.png")
    entries = [entry(c, f"images/{i}.png", time=0.5) for i, c in enumerate(cameras)]
    writers.write_json(tmp_path / "transforms.json", {"fl_x": 40, "frames": entries})
    refused(lambda: read_capture(tmp_path), "transforms.json", "0.png", "1.png", "camera_label")


@pytest.mark.parametrize(("key", "value"), [("time", "noon"), ("time", 1e30), ("frame_id", 0.5)])
def test_instants_that_are_none(key, value, tmp_path):
    cameras = writers.rig()
    for c in cameras:
        writers.write_images(tmp_path / c.name, range(2))
    entries = [entry(c, f"{c.name}/{i:06d}.png", **{key: i}) for c in cameras for i in range(2)]
    entries[3][key] = value
    writers.write_json(tmp_path / "transforms.json", {"fl_x": 40, "frames": entries})
    refused(lambda: read_capture(tmp_path), "transforms.json", key, "000001.png")


def test_time_only_in_some_entries(tmp_path):
    cameras = writers.rig()
    for c in cameras:
        writers.write_images(tmp_path / c.name, range(2))
    entries = [entry(c, f"{c.name}/{i:06d}.png", time=i) for c in cameras for i in range(2)]
    del entries[3]["time"]
    writers.write_json(tmp_path / "transforms.json", {"fl_x": 40, "frames": entries})
    refused(lambda: read_capture(tmp_path), "transforms.json", "'time'", "000001.png")


def test_dnerf_without_time(tmp_path):
    writers.write_dnerf(tmp_path)
    for split in ("train", "test"):
        edit_json(tmp_path / f"transforms_{split}.json", lambda c: [f.pop("time") for f in c["frames"]])
    refused(lambda: read_capture(tmp_path), "transforms_train.json", "static")


def test_rate_of_metadata(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_json(tmp_path / "metadata.json", {"fps": 0})
    refused(lambda: read_capture(tmp_path), "metadata.json", "0 frames per second")
