"""What one camera recorded: its pose at every entry, whether it stands still or moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fourdgs_ns.capture.capture import ImageFrames
from tests.capture.small_captures import make_camera

FRAMES = ImageFrames(tuple(Path(f"{i}.png") for i in range(4)))


def moving():
    poses = np.eye(4)[None].repeat(4, 0)
    poses[:, 0, 3] = [10.0, 20.0, 30.0, 40.0]
    return make_camera("a", FRAMES).posed(poses)


def test_a_fixed_camera_has_one_pose_for_all_its_frames():
    still = make_camera("a", FRAMES)
    assert not still.moves and still.poses.shape == (1, 4, 4)
    assert still.at(3) is still.camera
    assert still.take([1, 3]).camera is still.camera
    assert still.time_offset_seconds == 0.0
    late = replace(still, camera=replace(still.camera, time_offset_seconds=0.02))
    assert late.time_offset_seconds == late.take([2]).time_offset_seconds == 0.02


def test_a_moving_camera_has_a_pose_per_frame_and_keeps_them_together():
    camera = moving()
    assert camera.moves and [camera.at(i).center[0] for i in range(4)] == [10.0, 20.0, 30.0, 40.0]
    assert camera.camera.center[0] == 10.0
    part = camera.take([1, 3])
    assert part.frame_ids.tolist() == [1, 3] and part.poses[:, 0, 3].tolist() == [20.0, 40.0]
    assert part.camera.center[0] == 20.0
    assert [part.at(i).name for i in range(2)] == ["a", "a"]


def test_one_frame_of_a_moving_camera_stands_still_and_none_has_no_pose():
    one, none = moving().take([2]), moving().take([])
    assert not one.moves and one.camera.center[0] == 30.0
    assert len(none.frames) == len(none.poses) == 0
