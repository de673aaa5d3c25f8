"""Layouts that are described by JSON: wrong files end in one sentence that names the file or camera and says what to do."""

import pytest

from fourdgs_ns.capture.layouts import read_capture
from tests.capture import writers
from tests.capture.refusals import edit_json, refused
from tests.capture.writers import entry


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
