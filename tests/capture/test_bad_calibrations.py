"""Calibrations of N3DV and EasyVolcap that cannot be used end in one sentence that names the file or camera and the remedy."""

from pathlib import Path

import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.layouts.conventions import checked_pose
from tests.capture import writers
from tests.capture.refusals import refused, replace_in, truncate

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
    writers.write_easyvolcap(tmp_path, extra={"D_01": [[0.1] * 15]})
    refused(lambda: read_capture(tmp_path), "camera '01'", "15 distortion coefficients")


def test_offsets_without_a_rate(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_json(tmp_path / "sync.json", {"00": 0.1})
    refused(lambda: read_capture(tmp_path), "sync.json", "metadata.json")


def test_a_transposed_pose_is_told():
    """Its translation stands in the last row, and the camera would stand at the origin."""
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    refused(lambda: checked_pose(pose.T, "cam01", Path("transforms.json")), "cam01", "transforms.json", "transposed")
