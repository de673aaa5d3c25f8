"""Which images, poses and features a key frame is made of."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourdgs_ns.capture.capture import ImageFrames
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points import instants, sift
from fourdgs_ns.points.instants import matching_downscale
from fourdgs_ns.points.key_frames import find_key_frames
from fourdgs_ns.points.matcher import no_points
from fourdgs_ns.points.sift import SiftMatcher


@pytest.fixture
def images_of(monkeypatch):
    """Runs the key frames of a capture and returns what was to be triangulated, one list of images per key frame."""

    def run(capture, frames):
        seen = []

        def record(images):
            seen.append(images)
            return no_points(len(images))

        monkeypatch.setattr(sift, "triangulate", record)
        find_key_frames(
            capture,
            capture.cameras,
            key_frames=frames,
            times=np.linspace(0, 1, capture.num_frames),
            downscale=1.0,
            matcher=SiftMatcher(),
            progress=False,
        )
        return seen

    return run


def test_moving_and_late_cameras_come_with_the_pose_of_the_instant(rig, images_of):
    capture = rig.capture.only_cameras(["cam0", "cam1"])
    moving, late = capture.cameras
    poses = np.repeat(moving.poses, 3, axis=0)
    poses[:, 0, 3] = [10.0, 20.0, 30.0]
    capture = replace(capture, cameras=(moving.posed(poses), late.take([1, 2])))
    first, last = images_of(capture, [0, 2])
    assert [image.camera.world_from_camera[0, 3] for image in first] == [10.0]
    assert [image.camera.world_from_camera[0, 3] for image in last] == [30.0, late.poses[0, 0, 3]]
    assert min(len(image.pixels) for image in first + last) > 100


def test_mattes_restrict_features_and_labels_do_not(rig, images_of, tmp_path):
    matte = np.zeros((300, 400), np.uint8)
    matte[:, :200] = 255
    assert cv2.imwrite(str(tmp_path / "matte.png"), matte)
    camera = replace(rig.capture.camera("cam0"), masks=ImageFrames((tmp_path / "matte.png",) * 3))
    capture = replace(rig.capture, cameras=(camera,))
    ((cut_out,),) = images_of(capture, [0])
    ((whole,),) = images_of(replace(capture, masks_are_mattes=False), [0])
    assert len(cut_out.pixels) > 50 and cut_out.pixels[:, 0].max() < 200
    assert whole.pixels[:, 0].max() > 350


def test_alpha_of_the_frames_restricts_features(rig, images_of, tmp_path):
    frame = cv2.imread(rig.capture.camera("cam0").frames.describe(0))
    alpha = np.zeros((300, 400, 1), np.uint8)
    alpha[100:] = 255
    assert cv2.imwrite(str(tmp_path / "cut.png"), np.concatenate([frame, alpha], axis=2))
    camera = replace(rig.capture.camera("cam0"), frames=ImageFrames((tmp_path / "cut.png",) * 3))
    ((image,),) = images_of(replace(rig.capture, cameras=(camera,)), [1])
    assert len(image.pixels) > 50 and image.pixels[:, 1].min() > 100


def test_distorted_camera_is_undistorted_before_features_are_found(rig, images_of):
    recorded = rig.capture.camera("cam0")
    camera = replace(recorded.camera, distortion=(-0.2, 0.05, 0.0, 0.0))
    ((image,),) = images_of(replace(rig.capture, cameras=(replace(recorded, camera=camera),)), [0])
    ((plain,),) = images_of(replace(rig.capture, cameras=(recorded,)), [0])
    # Seen from the true lens, the undistorted features are where they were found without undistortion.
    rays = (image.pixels - image.camera.intrinsics[:2, 2]) / np.diag(image.camera.intrinsics)[:2]
    source = cv2.projectPoints(
        np.concatenate([rays, np.ones((len(rays), 1))], axis=1),
        np.zeros(3),
        np.zeros(3),
        camera.intrinsics,
        np.array(camera.distortion),
    )[0][:, 0]
    nearest = np.linalg.norm(source[:, None] - plain.pixels[None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.5


def test_images_are_matched_at_a_useful_size(rig):
    def size(width, downscale):
        recorded = rig.capture.cameras[0]
        large = replace(recorded, camera=replace(recorded.camera, width=width, height=100))
        return width / matching_downscale(large, downscale)

    assert size(2704, 1) == pytest.approx(1600)
    assert size(2704, 2) == pytest.approx(1352)
    assert size(2704, 8) == pytest.approx(1000)
    assert size(640, 2) == 640


def test_two_trainings_started_at_once_find_points_once(rig, monkeypatch):
    counted = []

    def count(images):
        counted.append(1)
        time.sleep(0.1)
        return no_points(len(images))

    monkeypatch.setattr(sift, "triangulate", count)

    def find(_):
        return find_key_frames(
            rig.capture,
            [rig.capture.camera(name) for name in rig.train[:2]],
            key_frames=[0, 2],
            times=np.linspace(0, 1, 3),
            downscale=1.0,
            matcher=SiftMatcher(),
            progress=False,
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(find, range(2))
    assert len(counted) == 2 and first.directory == second.directory


def test_a_damaged_frame_is_named_while_other_cameras_are_still_being_decoded(rig, monkeypatch, tmp_path):
    """The first camera fails at once, the second is in the middle of a slow image: it cannot be closed yet."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    first, second = rig.capture.only_cameras(["cam0", "cam1"]).cameras
    slow = threading.Event()

    def decode(source):
        if source.paths[0] == bad:
            assert slow.wait(10)
        else:
            slow.set()
            time.sleep(0.2)
        yield from read_frames(source)

    monkeypatch.setattr(instants, "read_frames", decode)
    cameras = [replace(first, frames=ImageFrames((bad,)), frame_ids=np.array([0])), second.take([0])]
    with pytest.raises(UserError, match=r"bad\.png cannot be decoded"):
        list(instants.read_instants(rig.capture, cameras, [0], {"cam0": 1.0, "cam1": 1.0}))
