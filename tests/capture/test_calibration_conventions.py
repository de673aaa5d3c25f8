"""Lenses, sizes, axes, paths and texts as other programs and systems write them: read as meant, or refused."""

import json
import unicodedata

import numpy as np
import pytest

from fourdgs_ns.capture.calibration import read_calibration
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.layouts.aniposelib import read_cameras as read_toml
from fourdgs_ns.process.write import transforms
from tests.capture import writers
from tests.capture.refusals import edit_json, refused, replace_in

FISHEYE = (0.03, -0.01, 0.004, 0.0)
RATIONAL = (0.1, 0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6)


def with_lens(root, **fields):
    writers.write_transforms(root)
    edit_json(root / "transforms.json", lambda content: content.update(fields))
    return root


def lens_of(root):
    camera = read_capture(root).cameras[0].camera
    return camera.fisheye, camera.distortion


@pytest.mark.parametrize(
    "named",
    [
        *({"is_fisheye": value} for value in (True, 1, "true")),
        *({"camera_model": name} for name in ("OPENCV_FISHEYE", "fisheye", "EQUIDISTANT", "RADIAL_FISHEYE")),
        {"camera_model": "OPENCV_FISHEYE", "is_fisheye": True},
    ],
)
def test_names_of_the_fisheye(named, tmp_path):
    assert lens_of(with_lens(tmp_path, k1=0.03, k2=-0.01, k3=0.004, k4=0.0, **named)) == (True, FISHEYE)


@pytest.mark.parametrize("named", [{"camera_model": "FULL_OPENCV"}, {"camera_model": "OPENCV"}, {}])
def test_the_rational_model(named, tmp_path):
    fields = dict(zip(("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"), RATIONAL))
    assert lens_of(with_lens(tmp_path, **named, **fields)) == (False, RATIONAL)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"k4": 0.01}, ("k4 0.01", "FULL_OPENCV", "OPENCV_FISHEYE")),
        ({"is_fisheye": True, "camera_model": "OPENCV"}, ("contradict", "is_fisheye")),
        ({"is_fisheye": False, "camera_model": "OPENCV_FISHEYE"}, ("contradict",)),
        ({"is_fisheye": "maybe"}, ("is_fisheye", "'maybe'")),
        ({"is_fisheye": True, "p1": 0.01}, ("p1 0.01",)),
        ({"camera_model": "THIN_PRISM_FISHEYE"}, ("THIN_PRISM_FISHEYE", "known are")),
        ({"rolling_shutter": [0, 0, 0.01]}, ("rolling_shutter",)),
        ({"b1": 0.5}, ("b1 0.5",)),
    ],
)
def test_what_is_unclear_or_not_held_is_refused(fields, words, tmp_path):
    with_lens(tmp_path, **fields)
    refused(lambda: read_capture(tmp_path), "cam00", tmp_path / "transforms.json", *words)


def test_focal_lengths_from_angles(tmp_path):
    writers.write_transforms(tmp_path)

    def angles(content):
        for entry, fields in zip(content["frames"], ({"camera_angle_y": np.pi / 2}, {"x_fov": 90.0}, {"fl_y": 40.0})):
            del entry["fl_x"], entry["fl_y"]
            entry.update(fields)

    edit_json(tmp_path / "transforms.json", angles)
    focal = [c.camera.intrinsics[[0, 1], [0, 1]].tolist() for c in read_capture(tmp_path).cameras]
    np.testing.assert_allclose(focal, [[12, 12], [16, 16], [40, 40]])


@pytest.mark.parametrize("count", [12, 14])
def test_thin_prisms_and_tilt_come_through_opencv_and_our_own_files(count, tmp_path):
    stated = [0.01 * (i + 1) for i in range(count)]
    writers.write_easyvolcap(tmp_path, extra={"D_01": [stated]})
    camera = read_capture(tmp_path).camera("01").camera
    assert camera.distortion == pytest.approx(stated) and not camera.fisheye
    entry = transforms([camera], {"01": "f"}, 30.0)["frames"][0]
    with_lens(tmp_path / "again", **{k: v for k, v in entry.items() if k not in ("file_path", "transform_matrix")})
    assert lens_of(tmp_path / "again") == (False, pytest.approx(stated))


@pytest.mark.parametrize("flag", [{"fisheye_01": 1}, {"camera_model_01": "equidistant"}])
def test_a_flag_in_yml(flag, tmp_path):
    writers.write_easyvolcap(tmp_path, extra={"D_01": [[0.1, 0.2, 0.3, 0.4]]}, numbers=flag)
    camera = read_capture(tmp_path).camera("01").camera
    assert (camera.fisheye, camera.distortion) == (True, (0.1, 0.2, 0.3, 0.4))


def test_two_lenses_in_yml(tmp_path):
    writers.write_easyvolcap(tmp_path, extra={"D_01": [[0.1] * 5], "rdist_01": [[0.1] * 4]})
    refused(lambda: read_capture(tmp_path), tmp_path / "intri.yml", "rdist_01", "D_01")


@pytest.mark.parametrize(("flag", "fisheye"), [("true", True), ("false", False), ('"false"', False), ("1", True)])
def test_the_flag_of_toml(flag, fisheye, tmp_path):
    file = tmp_path / "Calib.toml"
    file.write_bytes(
        b"\xef\xbb\xbf[cam]\r\nsize = [32, 24]\r\nmatrix = [[40, 0, 16], [0, 40, 12], [0, 0, 1]]\r\n"
        b"distortions = [0.1, 0, 0, 0]\r\nrotation = [0, 0, 0]\r\ntranslation = [0, 0, 1]\r\nfisheye = " + flag.encode()
    )
    assert read_toml(file)[0].fisheye is fisheye


# Intrinsics of another size


def test_frames_smaller_than_the_calibration_that_states_no_size(tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, writers.rig(("00", "01")))
    for name in ("00", "01"):
        writers.write_images(tmp_path / "images" / name, width=16, height=12)
    refused(lambda: read_capture(tmp_path), "camera '00'", "(17, 11)", "16x12", "W_00 and H_00")
    for name in ("00", "01"):
        text = (tmp_path / "intri.yml").read_text()
        (tmp_path / "intri.yml").write_text(text + f"W_{name}: 32\nH_{name}: 24\n")
    capture = read_capture(tmp_path)
    np.testing.assert_allclose(capture.camera("00").camera.intrinsics[:2, 2], [8.5, 5.5])
    assert not any("principal point" in note for note in capture.notes)


def test_a_size_that_was_changed_without_the_focal_length(tmp_path):
    writers.write_transforms(tmp_path)
    edit_json(tmp_path / "transforms.json", lambda c: [e.update(w=16, h=12) for e in c["frames"]])
    for path in (tmp_path / "frames").rglob("*.png"):
        writers.write_image(path, 16, 12)
    assert "principal point of camera cam00, cam01, cam02" in " ".join(read_capture(tmp_path).notes)


def test_a_cropped_image_is_not_accused(tmp_path):
    writers.write_transforms(tmp_path)
    edit_json(tmp_path / "transforms.json", lambda c: [e.update(cx=4.0, cy=13.0) for e in c["frames"]])
    assert not any("principal point" in note for note in read_capture(tmp_path).notes)


# Files of other systems


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(encoding, tmp_path):
    writers.write_easyvolcap(tmp_path / "yml")
    writers.write_transforms(tmp_path / "json")
    for file in (*(tmp_path / "yml").glob("*.yml"), tmp_path / "json" / "transforms.json"):
        file.write_bytes(file.read_text().replace("\n", "\r\n").encode(encoding))
    assert len(read_capture(tmp_path / "yml").cameras) == len(read_capture(tmp_path / "json").cameras) == 3


def test_paths_from_windows(tmp_path):
    writers.write_transforms(tmp_path)
    text = (tmp_path / "transforms.json").read_text()
    (tmp_path / "transforms.json").write_text(
        text.replace("frames/cam0", "frames\\\\cam0").replace("/000000", "\\\\000000")
    )
    assert "\\" in json.loads((tmp_path / "transforms.json").read_text())["frames"][0]["file_path"]
    assert read_capture(tmp_path).num_frames == 4


def test_strays_of_other_systems_and_capital_suffixes(tmp_path):
    writers.write_transforms(tmp_path)
    for camera in ("cam00", "cam01", "cam02"):
        for path in (tmp_path / "frames" / camera).glob("*.png"):
            path.rename(path.with_suffix(".PNG"))
        for stray in ("._000000.PNG", ".DS_Store", "Thumbs.db"):
            (tmp_path / "frames" / camera / stray).write_bytes(b"x")
    replace_in(tmp_path / "transforms.json", "cam00/000000.png", "cam00/000000.PNG")
    replace_in(tmp_path / "transforms.json", "cam01/000000.png", "cam01/000000.PNG")
    replace_in(tmp_path / "transforms.json", "cam02/000000.png", "cam02/000000.PNG")
    assert read_capture(tmp_path).num_frames == 4


def test_accents_in_one_or_two_characters(tmp_path):
    cameras = writers.rig(("caméra1", "caméra2"))
    writers.write_easyvolcap(tmp_path / "yml", cameras)
    writers.write_transforms(tmp_path / "json", cameras)
    for name in ("caméra1", "caméra2"):
        writers.write_images(tmp_path / "yml" / "masks" / name, channels=1)
        for folder in ("yml/images", "yml/masks", "json/frames"):
            (tmp_path / folder / name).rename(tmp_path / folder / unicodedata.normalize("NFD", name))
    for layout in ("yml", "json"):
        capture = read_capture(tmp_path / layout)
        assert [c.name for c in capture.cameras] == ["caméra1", "caméra2"]
        assert all((c.masks is not None) == (layout == "yml") for c in capture.cameras)


def test_poses_of_three_rows(tmp_path):
    cameras = writers.write_transforms(tmp_path)
    edit_json(tmp_path / "transforms.json", lambda c: [e["transform_matrix"].pop() for e in c["frames"]])
    pose = read_capture(tmp_path).cameras[1].camera.world_from_camera
    np.testing.assert_allclose(pose, cameras[1].opencv_world_from_camera(), atol=1e-12)


def test_a_calibration_of_a_camera_that_moves(tmp_path):
    cameras, entries = writers.rig(), []
    for i in range(3):
        for c, posed in zip(cameras, (cameras[0], cameras[i], cameras[2])):
            fields = {"camera_label": c.name, "time": i / 30, "fl_x": 40.0, "w": 32, "h": 24}
            entries.append(writers.entry(posed, f"images/{c.name}/{i}.png", **fields))
    writers.write_json(tmp_path / "transforms.json", {"frames": entries})
    sizes = {c.name: (32, 24) for c in cameras}
    refused(lambda: read_calibration(tmp_path, sizes), "camera 'cam01'", "degrees", "3 entries")


@pytest.mark.parametrize(("turn", "word"), [(np.diag([1.0, -1.0, -1.0, 1.0]), "flipped"), (np.eye(4), None)])
def test_axes_of_another_convention_are_said(turn, word, tmp_path):
    writers.write_transforms(tmp_path, writers.rig([f"cam0{i}" for i in range(4)]))

    def change(content):
        for e in content["frames"]:
            e["transform_matrix"] = (np.array(e["transform_matrix"]) @ turn).tolist()

    edit_json(tmp_path / "transforms.json", change)
    said = [note for note in read_capture(tmp_path).notes if "no common place" in note]
    assert [word in note for note in said] == ([] if word is None else [True])
