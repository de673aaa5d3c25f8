"""Calibration files of other tools: one rig described in words, written in each format, read back as the same cameras."""

import json
import struct

import cv2
import numpy as np
import pytest

from fourdgs_ns.capture.calibration import read_calibration
from fourdgs_ns.common.errors import UserError
from tests.capture import writers

SIZES = {"cam00": (32, 24), "cam01": (32, 24), "cam02": (32, 24)}


@pytest.fixture
def rig():
    return writers.rig()


def _check(result, rig, sizes=SIZES, focal=lambda c: c.focal):
    assert [c["name"] for c in result["cameras"]] == list(sizes)
    for found, made in zip(result["cameras"], rig, strict=True):
        np.testing.assert_allclose(found["world_from_camera"], made.opencv_world_from_camera(), atol=1e-6)
        assert found["intrinsics"][0][0] == pytest.approx(focal(made))
        assert (found["width"], found["height"]) == sizes[found["name"]]


def _toml(rig, path, prefix="", names=None, extra=""):
    lines = []
    for i, c in enumerate(rig):
        rotation = cv2.Rodrigues(c.rotation_to_camera())[0].ravel().tolist()
        name = c.name if names is None else names[i]
        lines += [
            f"[{prefix}{name}]",
            f'name = "{name}"',
            "size = [32.0, 24.0]",
            f"matrix = [[{c.focal}, 0.0, 15.5], [0.0, {c.focal}, 11.5], [0.0, 0.0, 1.0]]",
            "distortions = [0.01, -0.02, 0.0, 0.0]",
            f"rotation = {rotation}",
            f"translation = {c.translation_to_camera().tolist()}",
        ]
    path.write_text("\n".join([*lines, "[metadata]", "error = 0.0", extra]))
    return path


def test_aniposelib_and_pose2sim(rig, tmp_path):
    result = read_calibration(_toml(rig, tmp_path / "Calib.toml"), SIZES)
    _check(result, rig)
    # OpenCV counts pixel centres from 0: 15.5 is the middle of 32 pixels.
    assert result["cameras"][0]["intrinsics"][0][2] == pytest.approx(16.0)
    assert result["cameras"][0]["distortion"][:2] == [0.01, -0.02]


def test_caliscope_numbers_find_their_cameras(rig, tmp_path):
    path = _toml(rig, tmp_path / "camera_array.toml", "cameras.", names=["0", "1", "2"])
    _check(read_calibration(tmp_path, SIZES), rig)
    _check(read_calibration(path, SIZES), rig)


def test_scaled_frames(rig, tmp_path):
    half = dict.fromkeys(SIZES, (16, 12))
    _check(read_calibration(_toml(rig, tmp_path / "Calib.toml"), half), rig, half, lambda c: c.focal / 2)
    with pytest.raises(UserError, match="another aspect"):
        read_calibration(tmp_path / "Calib.toml", dict.fromkeys(SIZES, (16, 16)))


def test_llff_by_order(rig, tmp_path):
    writers.write_poses_bounds(tmp_path, rig)
    _check(read_calibration(tmp_path / "poses_bounds.npy", SIZES), rig)
    with pytest.raises(UserError, match="3 cameras without names but there are 2"):
        read_calibration(tmp_path, {"cam00": (32, 24), "cam01": (32, 24)})


def test_easymocap(rig, tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, rig, rodrigues=True)
    _check(read_calibration(tmp_path, SIZES), rig)
    _check(read_calibration(tmp_path / "intri.yml", SIZES), rig)


def test_transforms(rig, tmp_path):
    writers.write_transforms(tmp_path, rig)
    _check(read_calibration(tmp_path / "transforms.json", SIZES), rig)


def _quaternion(rotation):
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return w, x, y, z


def test_technicolor(rig, tmp_path):
    rows = ["f cu cv ar skew qw qx qy qz tx ty tz"]
    for c in rig:
        numbers = [
            c.focal * 64,
            1020.0,
            540.0,
            1.0,
            0.0,
            *_quaternion(c.rotation_to_camera()),
            *c.translation_to_camera(),
        ]
        rows.append(" ".join(map(str, numbers)))
    (tmp_path / "cameras_parameters.txt").write_text("\n".join(rows))
    sizes = dict.fromkeys(SIZES, (2048, 1088))
    result = read_calibration(tmp_path / "cameras_parameters.txt", sizes)
    _check(result, rig, sizes, lambda c: 64 * c.focal)
    assert result["cameras"][1]["intrinsics"][0][2] == 1020.0


def test_immersive(rig, tmp_path):
    entries = []
    for c in rig:
        entries.append(
            {
                **{"name": c.name, "width": 32.0, "height": 24.0, "focal_length": c.focal, "pixel_aspect_ratio": 1.0},
                **{"principal_point": [16.0, 12.0], "radial_distortion": [0.05, -0.01, 0.0], "skew": 0.0},
                "orientation": cv2.Rodrigues(c.rotation_to_camera())[0].ravel().tolist(),
                "position": c.centre.tolist(),
            }
        )
    writers.write_json(tmp_path / "models.json", entries)
    result = read_calibration(tmp_path / "models.json", SIZES)
    _check(result, rig)
    assert all(c["fisheye"] for c in result["cameras"])
    assert result["cameras"][0]["distortion"] == [0.05, -0.01, 0.0, 0.0]


def write_colmap_text(folder, rig, names):
    folder.mkdir(parents=True, exist_ok=True)
    cameras = [f"{i + 1} OPENCV 32 24 {c.focal} {c.focal} 16 12 0.01 0 0 0" for i, c in enumerate(rig)]
    (folder / "cameras.txt").write_text("# cameras\n" + "\n".join(cameras) + "\n")
    lines = []
    for i, (c, name) in enumerate(zip(rig, names, strict=True)):
        numbers = [*_quaternion(c.rotation_to_camera()), *c.translation_to_camera()]
        lines += [f"{i + 1} {' '.join(map(str, numbers))} {i + 1} {name}", "1.0 2.0 -1 3.0 4.0 5"]
    (folder / "images.txt").write_text("# images\n" + "\n".join(lines) + "\n")


def write_colmap_binary(folder, rig, names):
    folder.mkdir(parents=True, exist_ok=True)
    cameras = struct.pack("<Q", len(rig))
    images = struct.pack("<Q", len(rig))
    for i, (c, name) in enumerate(zip(rig, names, strict=True)):
        cameras += struct.pack("<iiQQ", i + 1, 1, 32, 24) + struct.pack("<4d", c.focal, c.focal, 16, 12)
        images += struct.pack("<i7di", i + 1, *_quaternion(c.rotation_to_camera()), *c.translation_to_camera(), i + 1)
        images += name.encode() + b"\0" + struct.pack("<Q", 1) + struct.pack("<ddq", 1.0, 2.0, -1)
    (folder / "cameras.bin").write_bytes(cameras)
    (folder / "images.bin").write_bytes(images)


@pytest.mark.parametrize("writer", [write_colmap_text, write_colmap_binary])
@pytest.mark.parametrize("pattern", ["rig1/{}/image0001.jpg", "{}.jpg"])
def test_colmap(rig, tmp_path, writer, pattern):
    writer(tmp_path / "sparse" / "0", rig, [pattern.format(c.name) for c in rig])
    _check(read_calibration(tmp_path, SIZES), rig)


def test_cut_off_colmap_model(rig, tmp_path):
    write_colmap_binary(tmp_path, rig, [f"{c.name}.jpg" for c in rig])
    file = tmp_path / "images.bin"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"images\.bin ends before its last entry"):
        read_calibration(tmp_path, SIZES)
    file.write_bytes(struct.pack("<Q", 1 << 60))
    with pytest.raises(UserError, match=r"images\.bin ends before its last entry"):
        read_calibration(tmp_path, SIZES)


def test_another_rig_is_refused(rig, tmp_path):
    path = _toml(rig, tmp_path / "Calib.toml")
    with pytest.raises(
        UserError, match=r"calibrates cameras cam00, cam01, cam02 but not left; it may be of another rig"
    ):
        read_calibration(path, {"left": (32, 24), "cam01": (32, 24)})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.toml", "not toml ["),
        ("models.json", "[{}]"),
        ("x.json", json.dumps({"a": 1})),
        ("cameras_parameters.txt", "1 2 3"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        read_calibration(tmp_path / name, SIZES)


def test_unknown_file(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(UserError, match=r"no calibration that is known"):
        read_calibration(tmp_path / "notes.md", SIZES)
