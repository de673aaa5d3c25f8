"""Nerfstudio's own methods on our dataparser: every view is a file that they can open, and there are points to start from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fourdgs_ns.capture.frames.store import open_frame_store
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.common.files import write_bytes
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.dataparser_specs import multiview_video_data
from fourdgs_ns.plugin.other_methods import MultiViewVideoFiles
from tests.cli.run import typed, without_lpips
from tests.plugin.tiny import write_capture


@pytest.fixture
def capture(tmp_path):
    return write_capture(tmp_path / "wall")


def outputs(capture, split="train", **options):
    options = {"initial_points": "random", **options}
    config = MultiViewVideoDataParserConfig(_target=MultiViewVideoFiles, data=capture, **options)
    return config.setup().get_dataparser_outputs(split)


def test_it_is_what_the_commands_offer():
    assert multiview_video_data.config._target is MultiViewVideoFiles


def test_images_that_can_be_used_as_they_lie_are_not_copied(capture):
    names = outputs(capture).image_filenames
    assert names[:2] == [capture / "ims" / "1" / "000000.png", capture / "ims" / "1" / "000001.png"]
    assert not [*capture.glob(".fourdgs/*")]


def test_resampled_frames_are_written_once_and_are_those_of_the_store(capture, monkeypatch):
    parsed = outputs(capture, downscale_factor=2, frames="1:4:2")
    store = open_frame_store(read_capture(capture).only_frames(1, 4, 2), 2, masks=False)
    assert len(parsed.image_filenames) == len(parsed.cameras) == 6
    for view, file in enumerate(parsed.image_filenames):
        name = CaptureFacts.of(parsed.metadata).camera_names[view // 2]
        np.testing.assert_array_equal(np.asarray(Image.open(file)), store.read(name, view % 2))
    monkeypatch.setattr(cv2, "imencode", None)  # nothing is written again
    assert outputs(capture, downscale_factor=2, frames="1:4:2").image_filenames == parsed.image_filenames


def test_mattes_become_alpha(capture):
    matte = np.zeros((32, 48), np.uint8)
    matte[8:20, 10:30] = 255
    for camera in "0123":
        for frame in range(4):
            file = capture / "seg" / camera / f"{frame:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, cv2.imencode(".png", matte)[1].tobytes())
    first = outputs(capture, masks="alpha").image_filenames[0]
    np.testing.assert_array_equal(np.asarray(Image.open(first))[..., 3], matte)


def test_points_are_in_the_world_of_the_cameras(capture):
    """The wall of the tiny capture lies at depth 2 of all cameras."""
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3)) + np.array([0, 0, 2])
    rows = "\n".join(f"{x} {y} {z} 10 20 30" for x, y, z in points)
    properties = "".join(
        f"property {kind}\n" for kind in ("float x", "float y", "float z", "uchar red", "uchar green", "uchar blue")
    )
    (capture / "points3D.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 50\n{properties}end_header\n{rows}\n")
    parsed = outputs(capture, initial_points="auto")
    expected = CaptureFacts.of(parsed.metadata).world_from_capture.points_from_capture(points)
    torch.testing.assert_close(parsed.metadata["points3D_xyz"], torch.from_numpy(expected).float(), atol=1e-5, rtol=0)
    assert parsed.metadata["points3D_rgb"].tolist() == [[10, 20, 30]] * 50
    assert "points3D_xyz" not in outputs(capture, "test", initial_points="auto").metadata


@pytest.mark.slow
def test_nerfacto_trains_on_it(capture, tmp_path, monkeypatch):
    """Splatfacto wants a GPU: tests/gpu trains it."""

    without_lpips(monkeypatch)
    words = ["--pipeline.model.implementation", "torch", "--pipeline.datamanager.train-num-rays-per-batch", "32"]
    told = typed(
        "ns-train", "nerfacto", "--output-dir", tmp_path / "out", "--max-num-iterations", 3, "--vis", "tensorboard",
        "--machine.device-type", "cpu", *words, "multiview-video-data", "--data", capture, "--frames", "0:1",
        "--downscale-factor", 2,
    )  # fmt: skip
    assert told.code == 0, told.text
    assert list((tmp_path / "out").rglob("step-*.ckpt"))
