"""Real captures, when the environment variable FOURDGS_CAPTURES names the folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture

FOLDER = os.environ.get("FOURDGS_CAPTURES", "")


def real(name):
    """A file or folder of the real captures; the test is skipped where they are not at hand: they are data of others."""
    path = Path(FOLDER) / name
    if not FOLDER or not path.exists():
        pytest.skip(f"FOURDGS_CAPTURES has no {name}")
    return path


def capture_of(name):
    return read_capture(real(name))


def optical_axes(capture):
    poses = np.stack([c.poses[0] for c in capture.cameras])
    return poses[:, :3, 3], poses[:, :3, 2]


def nearest_point_of_axes(capture):
    """Least-squares point on all optical axes, and its distance to each."""
    centres, forward = optical_axes(capture)
    projectors = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    point = np.linalg.solve(projectors.sum(0), np.einsum("nij,nj->i", projectors, centres))
    return point, np.linalg.norm(np.einsum("nij,nj->ni", projectors, point - centres), axis=1)


def test_panoptic():
    capture = capture_of("panoptic_basketball_60")
    assert capture.layout == "dynamic3dgs"
    assert len(capture.cameras) == 31 and capture.num_frames == 60
    assert capture.eval_cameras == ("0", "10", "15", "30")
    assert all(c.poses.shape == (1, 4, 4) and len(c.frames) == 60 for c in capture.cameras)
    assert sum(c.masks is not None for c in capture.cameras) == 27 and not capture.masks_are_mattes
    centres, forward = optical_axes(capture)
    middle = np.array([0.0, -1.3, 0.0])
    np.testing.assert_allclose(np.linalg.norm(centres - middle, axis=1), 2.77, atol=0.1)
    inwards = (middle - centres) / np.linalg.norm(middle - centres, axis=1, keepdims=True)
    assert (np.sum(inwards * forward, axis=1) > 0.9).all()


def test_hyfluid():
    capture = capture_of("hyfluid_smoke")
    assert [c.name for c in capture.cameras if c.name in capture.eval_cameras] == ["train02"]
    assert len(capture.cameras) == 5 and capture.num_frames == 120
    assert capture.duration_seconds == pytest.approx(119 / 30)
    assert capture.background == (0.0, 0.0, 0.0)
    # info.json states this point as what the cameras look at.
    point, distances = nearest_point_of_axes(capture)
    np.testing.assert_allclose(point, [0.3382, 0.3880, -0.2610], atol=0.02)
    assert distances.max() < 0.05
    centres, forward = optical_axes(capture)
    assert (np.sum((point - centres) * forward, axis=1) > 0).all()


def test_easymocap():
    capture = capture_of("easymocap_stage_11cam_1frame")
    assert capture.layout == "easyvolcap"
    assert [c.name for c in capture.cameras] == ["11", "12", "13", "15", "17", "19"]
    assert any("no frames: 25, 27, 31, 7, 9" in note for note in capture.notes)
    centres, forward = optical_axes(capture)
    point, _ = nearest_point_of_axes(capture)
    distances = np.linalg.norm(point - centres, axis=1)
    assert distances.min() > 2.5 and distances.max() < 5.0
    assert (np.sum((point - centres) * forward, axis=1) > 0).all()


def test_n3dv_against_colmap():
    """LLFF poses and COLMAP's model of the same images: rotations between cameras, and centres up to a similarity."""
    pycolmap = pytest.importorskip("pycolmap")
    capture = capture_of("n3dv_5cam_1frame")
    assert capture.layout == "n3dv" and [c.name for c in capture.cameras] == ["1", "2", "3", "4", "5"]
    model = pycolmap.Reconstruction(str(capture.root / "sparse" / "0"))
    by_name = {image.name: image for image in model.images.values()}
    # README of the capture: images 1..5 are the cameras 0, 3, 5, 8, 14 of the original rig.
    matched = [by_name[f"{i}.jpg"].cam_from_world() for i in (0, 3, 5, 8, 14)]
    theirs = np.stack([pose.rotation.matrix() for pose in matched])
    their_centres = np.stack([-pose.rotation.matrix().T @ pose.translation for pose in matched])
    ours = np.stack([c.poses[0, :3, :3].T for c in capture.cameras])
    our_centres, _ = optical_axes(capture)
    for i in range(5):
        for j in range(i):
            between = (ours[i] @ ours[j].T).T @ (theirs[i] @ theirs[j].T)
            angle = np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
            assert angle < 0.1
    # Centres, after the best similarity (Umeyama). COLMAP refined each focal length, which moves centres by about 1 %.
    a, b = their_centres - their_centres.mean(0), our_centres - our_centres.mean(0)
    u, stretch, vt = np.linalg.svd(b.T @ a)
    sign = np.diag([1.0, 1.0, np.linalg.det(u @ vt)])
    rotated = a @ (u @ sign @ vt).T * (stretch * np.diag(sign)).sum() / (a**2).sum()
    assert np.linalg.norm(b - rotated, axis=1).max() < 0.02 * np.linalg.norm(b, axis=1).max()


def test_colmap_model_of_a_light_field():
    from fourdgs_ns.capture.layouts.colmap_rig import read_cameras

    cameras = read_cameras(real("static_lfgs_colmap") / "sparse" / "0")
    assert [c.name for c in cameras] == [str(i) for i in range(1, 10)]
    # A grid of views that all look the same way.
    axes = np.stack([c.world_from_camera[:3, 2] for c in cameras])
    assert (axes @ axes[4]).min() > 0.98


@pytest.mark.parametrize(
    ("file", "names", "metres"),
    [
        ("pose2sim_demo/Calib_opencv.toml", ["cam01", "cam02", "cam03", "cam04"], (2.0, 7.0)),
        ("caliscope_sessions/post_optimization/camera_array.toml", ["cam_0", "cam_1", "cam_2", "cam_3"], (0.5, 2.5)),
    ],
)
def test_calibrations_look_at_one_place(file, names, metres):
    from fourdgs_ns.capture.calibration import read_calibration
    from fourdgs_ns.geometry.view_volume import attention_point

    path = real(file)
    size = (1088, 1920) if "pose2sim" in file else (1280, 720)
    result = read_calibration(path, dict.fromkeys(names, size))
    poses = np.stack([c["world_from_camera"] for c in result["cameras"]])
    middle = attention_point(poses)
    distances = np.linalg.norm(poses[:, :3, 3] - middle, axis=1)
    assert metres[0] < distances.min() and distances.max() < metres[1]
    towards = (middle - poses[:, :3, 3]) / distances[:, None]
    assert (towards * poses[:, :3, 2]).sum(axis=1).min() > 0.9
