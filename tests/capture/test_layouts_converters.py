"""Layouts that other tools' converters write, each as its documentation describes it."""

import numpy as np
import pytest

from fourdgs_ns.capture.capture import ImageFrames, VideoFrames
from fourdgs_ns.capture.layouts import read_capture
from tests.capture import writers


def _same_rig(capture, rig):
    for camera, truth in zip(capture.cameras, rig, strict=True):
        assert camera.name == truth.name
        np.testing.assert_allclose(camera.at(0).world_from_camera, truth.opencv_world_from_camera(), atol=1e-9)


@pytest.mark.parametrize("masks", ["masks", "mask", "bgmtv2"])
def test_dna_rendering_and_zju_mocap_after_their_converters(tmp_path, masks):
    """EasyVolcap: numbered cameras, images as JPEG, masks in a folder named after their origin, distortion in D_."""
    names = ("00", "12", "23")
    rig = writers.rig(names)
    writers.write_easyvolcap_calibration(tmp_path, rig, extra={f"D_{n}": [[0.01, 0.02, 0, 0, 0.03]] for n in names})
    for name in names:
        writers.write_images(tmp_path / "images" / name, range(6), pattern="{:06d}.jpg")
        writers.write_images(tmp_path / masks / name, range(6), channels=1)
    capture = read_capture(tmp_path)
    assert capture.layout == "easyvolcap" and capture.num_frames == 6
    assert all(c.camera.distortion == (0.01, 0.02, 0.0, 0.0, 0.03) and c.masks is not None for c in capture.cameras)
    _same_rig(capture, rig)


def test_nhr_starts_to_count_at_one(tmp_path):
    rig = writers.rig(("0", "1", "10"))
    writers.write_easyvolcap_calibration(tmp_path, rig)
    for c in rig:
        writers.write_images(tmp_path / "images" / c.name, range(1, 8), pattern="{:03d}.jpg")
    capture = read_capture(tmp_path)
    assert capture.numbers().tolist() == list(range(1, 8)) and capture.times_seconds[0] == 0
    _same_rig(capture, rig)


def test_enerf_outdoor_and_mobile_stage(tmp_path):
    """Videos per camera with videos of the masks, calibration refined in optimized/."""
    rig = writers.rig(("03", "04", "05"))
    writers.write_easyvolcap_calibration(tmp_path, writers.rig(("03", "04", "05"), radius=4.0))
    writers.write_easyvolcap_calibration(tmp_path / "optimized", rig)
    for c in rig:
        writers.write_video(tmp_path / "videos" / f"{c.name}.mp4", 5)
    capture = read_capture(tmp_path)
    assert all(isinstance(c.frames, VideoFrames) for c in capture.cameras) and capture.num_frames == 5
    _same_rig(capture, rig)


def test_selfcap_with_two_image_sizes(tmp_path):
    """Its cameras differ in size, which W_ and H_ state; sync.json holds seconds for some."""
    rig = writers.rig(("00", "01", "02"))
    writers.write_easyvolcap_calibration(
        tmp_path, rig, numbers={"W_00": 32, "H_00": 24, "W_01": 64.0, "H_01": 48.0, "W_02": 24, "H_02": 32}
    )
    for c, (width, height) in zip(rig, ((32, 24), (64, 48), (24, 32)), strict=True):
        for k in range(6):
            writers.write_image(tmp_path / "images" / c.name / f"{k:06d}.png", width, height)
    writers.write_json(tmp_path / "sync.json", {"01": 0.004, "02": 1 / 60})
    writers.write_json(tmp_path / "metadata.json", {"fps": 60})
    capture = read_capture(tmp_path)
    assert [(c.width, c.height) for c in capture.cameras] == [(32, 24), (64, 48), (24, 32)]
    assert [c.camera.intrinsics[0, 0] for c in capture.cameras] == pytest.approx([c.focal for c in rig])
    assert [c.time_offset_seconds for c in capture.cameras] == pytest.approx([0.0, -0.004, 0.0])
    assert capture.num_frames == 5
    _same_rig(capture, rig)


def test_hypernerf_with_two_cameras_held_out_in_turns(tmp_path):
    """vrig scenes: names say the side, image sizes are those of rgb/<scale>x, tangential distortion has its own key."""
    instants = 3
    rig = writers.rig([f"{side}{i}_{i:05d}" for i in range(instants) for side in ("left", "right")])
    metadata = {}
    for k, c in enumerate(rig):
        writers.write_image(tmp_path / "rgb" / "1x" / f"{c.name}.png")
        metadata[c.name] = {"warp_id": k // 2, "appearance_id": k // 2, "camera_id": k % 2}
        writers.write_json(
            tmp_path / "camera" / f"{c.name}.json",
            {
                **{"orientation": c.rotation_to_camera().tolist(), "position": c.centre.tolist(), "focal_length": 45.0},
                **{"principal_point": [16.5, 12.25], "skew": 0.0, "pixel_aspect_ratio": 1.0, "image_size": [32, 24]},
                **{"radial_distortion": [0.02, -0.01, 0.001], "tangential": [0.001, -0.002]},
            },
        )
    ids = [c.name for c in rig]
    writers.write_json(tmp_path / "dataset.json", {"count": 6, "ids": ids, "train_ids": ids[::2], "val_ids": ids[1::2]})
    writers.write_json(tmp_path / "metadata.json", metadata)
    writers.write_json(tmp_path / "scene.json", {"scale": 0.1, "center": [0, 0, 0], "near": 0.1, "far": 2.0})
    capture = read_capture(tmp_path)
    assert capture.layout == "nerfies" and capture.num_frames == instants
    left, right = capture.camera("camera0"), capture.camera("camera1_val")
    assert capture.eval_cameras == ("camera1_val",) and isinstance(left.frames, ImageFrames)
    assert left.camera.distortion == (0.02, -0.01, 0.001, -0.002, 0.001)
    assert left.camera.intrinsics[:2, 2].tolist() == [16.5, 12.25]
    for i in range(instants):
        np.testing.assert_allclose(left.at(i).world_from_camera, rig[2 * i].opencv_world_from_camera(), atol=1e-9)
        np.testing.assert_allclose(right.at(i).world_from_camera, rig[2 * i + 1].opencv_world_from_camera(), atol=1e-9)


def test_diffuman4d_output(tmp_path):
    """One entry per camera with camera_label; RGBA frames in images/<label>, calibration per entry."""
    rig = writers.rig(("00", "07", "13"))
    entries = []
    for c in rig:
        writers.write_images(tmp_path / "images" / c.name, range(4), channels=4)
        lens = {"fl_x": c.focal, "fl_y": c.focal, "cx": 16.0, "cy": 12.0, "w": 32, "h": 24}
        entries.append(writers.entry(c, f"images/{c.name}/000000.png", camera_label=c.name, **lens))
    writers.write_json(tmp_path / "transforms.json", {"camera_model": "PINHOLE", "frames": entries})
    capture = read_capture(tmp_path)
    assert capture.layout == "transforms" and capture.num_frames == 4
    assert any("alpha" in note for note in capture.notes)
    _same_rig(capture, rig)
