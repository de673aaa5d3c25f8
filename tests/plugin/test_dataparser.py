"""The dataparser: cheap, and its cameras see what the capture's cameras see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourdgs_ns.capture import sources
from fourdgs_ns.capture.frame_range import parse_frames
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.selection import automatic_downscale
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from tests.plugin.tiny import write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture"))


def outputs(capture, split="train", **options):
    return MultiViewVideoDataParserConfig(data=capture, **options).setup().get_dataparser_outputs(split)


def test_nothing_is_decoded(capture, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr(sources, "read_frames", refuse)
    monkeypatch.setattr("cv2.imread", refuse)
    assert len(outputs(capture).image_filenames) == 12


def test_times_ids_and_split(capture):
    train, held_out = outputs(capture), outputs(capture, "test")
    assert train.cameras.times.shape == (12, 1)
    np.testing.assert_allclose(train.cameras.times[:4, 0], [0, 1 / 3, 2 / 3, 1], atol=1e-6)
    assert train.cameras.metadata["cam_id"][:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert train.cameras.metadata["frame_id"].shape == (12, 1)
    assert CaptureFacts.of(train.metadata).camera_names == ("1", "2", "3") and CaptureFacts.of(
        held_out.metadata
    ).camera_names == ("0",)
    assert len(set(train.image_filenames)) == 12


def test_a_camera_named_twice_counts_once(capture):
    held_out = outputs(capture, "test", eval_cameras=("3", "3"), train_cameras=("1", "2", "1"))
    assert CaptureFacts.of(held_out.metadata).camera_names == ("3",) and len(held_out.cameras) == 4
    assert CaptureFacts.of(held_out.metadata).train_camera_names == ("1", "2")


@pytest.mark.parametrize(
    "options", [{}, {"orientation": "none", "center": "none", "scale_scene": False}, {"center": "cameras"}]
)
def test_projection_through_nerfstudios_cameras_equals_the_captures(capture, options):
    parsed = outputs(capture, downscale_factor=2, **options)
    source = read_capture(capture).camera("2")
    point = np.array([0.2, -0.1, 2.0])
    local = np.linalg.inv(source.at(0).world_from_camera) @ np.append(point, 1)
    expected = (source.camera.intrinsics @ (local[:3] / local[2]))[:2] / 2
    camera = parsed.cameras[4]
    scene = torch.from_numpy(CaptureFacts.of(parsed.metadata).world_from_capture.points_from_capture(point[None])[0])
    pose = camera.camera_to_worlds
    in_camera = pose[:, :3].T @ (scene - pose[:, 3])
    u = float(camera.fx * in_camera[0] / -in_camera[2] + camera.cx)
    v = float(camera.fy * -in_camera[1] / -in_camera[2] + camera.cy)
    np.testing.assert_allclose([u, v], expected, atol=1e-3)
    assert (int(camera.width), int(camera.height)) == (24, 16)


def test_nerfstudios_own_transform_undoes_the_scene_frame(capture):
    parsed = outputs(capture)
    opencv = parsed.transform_poses_to_original_space(
        parsed.cameras.camera_to_worlds.clone(), camera_convention="opencv"
    )
    source = read_capture(capture)
    for view, name in ((0, "1"), (5, "2")):
        np.testing.assert_allclose(opencv[view], source.camera(name).at(0).world_from_camera[:3], atol=1e-5)


def test_the_rig_has_extent_one(capture):
    parsed = outputs(capture)
    centers = parsed.cameras.camera_to_worlds[:, :, 3]
    largest = float((centers - centers.mean(0)).norm(dim=-1).max())
    assert 1.1 * largest == pytest.approx(1.0, abs=1e-5)
    assert CaptureFacts.of(parsed.metadata).extent == pytest.approx(1.0)


def test_frames_option_restarts_time(capture):
    parsed = outputs(capture, frames="1:4:2")
    np.testing.assert_allclose(parsed.cameras.times[:2, 0], [0, 1])
    assert (
        CaptureFacts.of(parsed.metadata).clip.num_frames == 2 and CaptureFacts.of(parsed.metadata).clip.first_frame == 1
    )
    assert CaptureFacts.of(parsed.metadata).clip.duration_seconds == pytest.approx(2 / 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, (None, None, None)), ("0:50", (0, 50, None)), ("::2", (None, None, 2)), ("5:", (5, None, None))],
)
def test_frames_syntax(text, expected):
    assert parse_frames(text) == expected


@pytest.mark.parametrize("text", ["7", "a:b", "1:2:3:4", "0:9:-1", "0:9:0", ""])
def test_wrong_frames_syntax(text):
    with pytest.raises(UserError, match="write start:stop"):
        parse_frames(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_cameras": ("7",)}, "has no camera '7'; it has: 0, 1, 2, 3|has no camera '7'"),
        ({"train_cameras": ("nobody",)}, "has no camera 'nobody'"),
        ({"eval_cameras": ("0", "1", "2", "3")}, "no camera of .* is left to train on"),
        ({"eval_cameras": ("1",), "train_cameras": ("1", "2")}, "camera 1 is in --eval-cameras and in --train-cameras"),
        ({"frames": "9:12"}, "selects no frame"),
        ({"downscale_factor": 0.5}, "--downscale-factor is 0.5; give 1 or more"),
        ({"layout": "betamax"}, "betamax"),
    ],
)
def test_wrong_options_are_one_sentence(capture, options, message):
    with pytest.raises(UserError, match=message) as caught:
        outputs(capture, **options)
    assert "\n" not in str(caught.value)


def test_automatic_downscale_keeps_small_frames_and_halves_n3dv(capture):
    source = read_capture(capture)
    assert automatic_downscale(source) == 1
    large = replace(source, cameras=tuple(replace(c, camera=c.camera.resized(2704, 2028)) for c in source.cameras))
    assert automatic_downscale(large) == 2


def _late(recorded, seconds):
    return replace(recorded, camera=replace(recorded.camera, time_offset_seconds=seconds))


@pytest.mark.parametrize("late", [1.4, -0.5, 0.02, 50.0])
def test_exposures_outside_the_clip_are_left_out(capture, late):
    whole = read_capture(capture)
    interval = whole.duration_seconds / (whole.num_frames - 1)
    cameras = (*whole.cameras[:-1], _late(whole.cameras[-1], late * interval))
    found = replace(whole, cameras=cameras).exposed_within()
    assert [len(c.frames) for c in found.cameras[:-1]] == [4] * (len(cameras) - 1)
    wanted = {1.4: [0, 1], -0.5: [1, 2, 3], 0.02: [0, 1, 2, 3], 50.0: [0, 1, 2, 3]}[late]
    assert found.cameras[-1].frame_ids.tolist() == wanted and len(found.cameras[-1].frames) == len(wanted)
    told = [note for note in found.notes if "outside the clip" in note]
    assert len(told) == (len(wanted) < 4)
    if told:
        assert f"{cameras[-1].name}'s clock" in told[0] and f"{4 - len(wanted)} of its frames" in told[0]
