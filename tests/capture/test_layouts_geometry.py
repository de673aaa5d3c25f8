"""Each layout's axes and intrinsics: a point chosen in the camera's own directions lands on the pixel chosen for it."""

import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture
from tests.capture import writers
from tests.capture.writers import HEIGHT, WIDTH, project

A, B, DEPTH = 0.21, -0.13, 2.5
"""The point lies A focal lengths right and -B above the principal point."""

CASES = {
    # writer, then the principal point and fy - fx that it writes
    "n3dv": (writers.write_n3dv, (WIDTH / 2, HEIGHT / 2), 0.0),
    "easyvolcap": (writers.write_easyvolcap, (17.0, 11.0), 2.0),
    "dynamic3dgs": (writers.write_dynamic3dgs, (15.0, 13.0), 0.0),
    "hyfluid": (writers.write_hyfluid, (WIDTH / 2, HEIGHT / 2), 0.0),
    "transforms": (writers.write_transforms, (15.5, 12.5), 1.0),
}


@pytest.mark.parametrize("layout", CASES)
def test_known_point_lands_on_known_pixel(layout, tmp_path):
    write, (cx, cy), taller = CASES[layout]
    written = write(tmp_path)
    capture = read_capture(tmp_path)
    assert capture.layout == layout
    assert [c.name for c in capture.cameras] == sorted(c.name for c in written) or layout == "hyfluid"
    for truth in written:
        camera = capture.camera(truth.name)
        expected = [cx + truth.focal * A, cy + (truth.focal + taller) * B]
        np.testing.assert_allclose(project(camera, truth.point_at(A, B, DEPTH)), expected, atol=1e-9)
        assert camera.poses.shape == (1, 4, 4)
        np.testing.assert_allclose(camera.poses[0], truth.opencv_world_from_camera(), atol=1e-12)
        assert (camera.width, camera.height) == (WIDTH, HEIGHT)
        assert len(camera.frames) == len(camera.frame_ids) == capture.num_frames


def test_dnerf_known_point_at_every_entry(tmp_path):
    written = writers.write_dnerf(tmp_path)
    capture = read_capture(tmp_path)
    for split in ("train", "test"):
        camera = capture.camera(split)
        assert len(camera.poses) == len(written[split])
        for i, truth in enumerate(written[split]):
            expected = [WIDTH / 2 + 40 * A, HEIGHT / 2 + 40 * B]
            np.testing.assert_allclose(project(camera, truth.point_at(A, B, DEPTH), i), expected, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 3])
def test_calibration_at_another_size_is_scaled(factor, tmp_path):
    cameras = writers.rig()
    writers.write_n3dv(tmp_path, cameras)
    writers.write_poses_bounds(
        tmp_path,
        [writers.Camera(c.name, c.centre, c.right, c.down, c.forward, c.focal * factor) for c in cameras],
        WIDTH * factor,
        HEIGHT * factor,
    )
    for truth, camera in zip(cameras, read_capture(tmp_path).cameras, strict=True):
        expected = [WIDTH / 2 + truth.focal * A, HEIGHT / 2 + truth.focal * B]
        np.testing.assert_allclose(project(camera, truth.point_at(A, B, DEPTH)), expected, atol=1e-9)


def test_printed_rotations_become_exact(tmp_path):
    cameras = writers.rig(("00", "01"))
    rounded = [
        writers.Camera(c.name, c.centre, np.round(c.right, 4), np.round(c.down, 4), np.round(c.forward, 4))
        for c in cameras
    ]
    writers.write_easyvolcap(tmp_path, rounded)
    for camera in read_capture(tmp_path).cameras:
        rotation = camera.poses[0, :3, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
