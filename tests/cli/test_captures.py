"""Captures of every shape train: with mattes, from one moving camera, with two image sizes, from disk."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from fourdgs_ns.common.errors import UserError
from tests.capture.writers import entry, rig, write_dnerf, write_easyvolcap, write_image, write_json
from tests.cli.run import typed
from tests.plugin.tiny import make_config, train


def png(path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    order = [2, 1, 0, 3][: array.shape[-1]] if array.ndim == 3 else None
    assert cv2.imwrite(str(path), array if order is None else np.ascontiguousarray(array[..., order]))


def assert_trained(trainer, steps: int) -> None:
    """All steps done, every parameter finite and moved from where it started by the data."""
    assert trainer.finished_step == steps - 1
    model = trainer.pipeline.gaussians
    for name, value in model.gauss_params.items():
        assert torch.isfinite(value).all(), name
    scores = json.loads((trainer.base_dir / "scores.json").read_text())
    assert np.isfinite(scores["psnr"]) and scores["steps"] == steps


@pytest.fixture(scope="module")
def matted(tmp_path_factory):
    """Three cameras whose mattes cut out the left half of random images."""
    root = tmp_path_factory.mktemp("matted")
    rng = np.random.default_rng(1)
    for camera in write_easyvolcap(root, frames=range(3)):
        for frame in range(3):
            png(root / "images" / camera.name / f"{frame:06d}.png", rng.integers(0, 256, (24, 32, 3), np.uint8))
            matte = np.zeros((24, 32), np.uint8)
            matte[:, :16] = 255
            png(root / "masks" / camera.name / f"{frame:06d}.png", matte)
    return root


@pytest.mark.parametrize("background", ["capture", "random"])
def test_mattes_are_composited_over_the_background_of_each_step(matted, tmp_path, background):
    config = make_config(matted, tmp_path, 8)
    config.pipeline.model.background_color = background
    trainer = train(config)
    assert_trained(trainer, 8)
    pipeline = trainer.pipeline
    model, manager = pipeline.gaussians.train(), pipeline.datamanager
    used = []
    for step in (3, 4):
        model.step = step
        camera, batch = manager.next_train(step)
        assert batch["image"].shape == (2, 24, 32, 4)
        outputs = model(camera)
        used.append(outputs["background"])
        truth = model.ground_truth(batch, outputs["background"])
        image = batch["image"].float() / 255
        torch.testing.assert_close(truth[:, :, :16], image[:, :, :16, :3])
        torch.testing.assert_close(truth[:, :, 16:], used[-1].expand(2, 24, 16, 3))
    if background == "capture":
        assert torch.equal(used[0], torch.zeros(3)) and torch.equal(used[1], used[0])
    else:
        assert not torch.equal(used[0], used[1])


def test_the_viewer_is_shown_composited_images(matted, tmp_path):
    config = make_config(matted, tmp_path, 1)
    manager = config.pipeline.datamanager.setup(test_mode="test", device="cpu")
    dataset = manager.train_dataset
    shown = dataset[4]["image"]
    assert shown.shape == (24, 32, 3) and shown.dtype == torch.float32
    file = matted / "images" / dataset.camera_name(4) / f"{dataset.frame_number(4):06d}.png"
    image = cv2.imread(str(file))[..., ::-1] / 255
    np.testing.assert_allclose(shown[:, :16], image[:, :16], atol=1e-6)
    assert not shown[:, 16:].any()


def test_masks_can_be_ignored(matted, tmp_path):
    config = make_config(matted, tmp_path, 3)
    config.pipeline.datamanager.dataparser.masks = "ignore"
    trainer = train(config)
    assert trainer.pipeline.datamanager.next_train(0)[1]["image"].shape == (2, 24, 32, 3)


def test_one_moving_camera(tmp_path):
    """D-NeRF: a pose and a time per image, one view per instant, mattes over white."""
    poses = write_dnerf(tmp_path / "scene", train=5, test=3)
    trainer = train(make_config(tmp_path / "scene", tmp_path / "out", 10))
    assert_trained(trainer, 10)
    manager = trainer.pipeline.datamanager
    dataset = manager.train_dataset
    assert len(dataset) == 5
    frame = dataset.facts.world_from_capture
    for view, camera in enumerate(poses["train"]):
        centre = torch.from_numpy(frame.points_from_capture(camera.centre[None]))
        torch.testing.assert_close(dataset.cameras.camera_to_worlds[view, None, :, 3], centre)
    torch.testing.assert_close(dataset.cameras.times[:, 0], torch.linspace(0, 1, 5))
    # Every instant was seen by one camera: a batch is one view, and five steps visit all.
    visits = [int(view) for step in range(5) for view in manager.next_train(step)[1]["image_idx"]]
    assert sorted(visits) == [0, 1, 2, 3, 4]
    assert torch.equal(trainer.pipeline.gaussians.capture_background, torch.ones(3))
    told = typed("ns-eval", "--load-config", trainer.base_dir / "config.yml", "--output-path", tmp_path / "eval.json")
    assert told.code == 0, told.text
    per_view = json.loads((tmp_path / "eval.json").read_text())["results"]["per_view"]
    assert [len(frames) for frames in per_view.values()] == [3]


def test_cameras_of_two_image_sizes(tmp_path):
    """A batch holds one size; both take part."""
    sizes = {"cam00": (32, 24), "cam01": (32, 24), "cam02": (40, 20), "cam03": (40, 20), "cam04": (40, 20)}
    entries = []
    for camera in rig(tuple(sizes)):
        width, height = sizes[camera.name]
        for frame in range(3):
            write_image(tmp_path / "frames" / camera.name / f"{frame:06d}.png", width, height)
        lens = {"fl_x": camera.focal, "fl_y": camera.focal, "cx": width / 2, "cy": height / 2, "w": width, "h": height}
        entries.append(entry(camera, f"frames/{camera.name}/000000.png", camera_label=camera.name, **lens))
    write_json(tmp_path / "transforms.json", {"fps": 30, "frames": entries})
    config = make_config(tmp_path, tmp_path / "out", 10)
    config.pipeline.datamanager.dataparser.eval_cameras = ("cam00", "cam02")
    trainer = train(config)
    assert_trained(trainer, 10)
    shapes = {tuple(trainer.pipeline.datamanager.next_train(step)[1]["image"].shape) for step in range(10)}
    assert shapes == {(1, 24, 32, 3), (2, 20, 40, 3)}
    per_size = trainer.pipeline.get_average_eval_image_metrics()
    assert np.isfinite(per_size["psnr"])


def test_frames_read_from_disk_train_the_same(capture, tmp_path):
    """Where frames wait changes nothing, bit for bit."""
    models = {}
    for residency in ("ram", "disk"):
        config = make_config(capture, tmp_path / residency, 9)
        config.pipeline.datamanager.residency = residency
        models[residency] = train(config).pipeline.gaussians
    assert models["ram"].num_points > 300
    for name, value in models["ram"].gauss_params.items():
        assert torch.equal(value, models["disk"].gauss_params[name]), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the frames do fit there")
def test_frames_on_a_gpu_that_is_not_there_are_refused(capture, tmp_path):
    config = make_config(capture, tmp_path, 3)
    config.pipeline.datamanager.residency = "gpu"
    with pytest.raises(UserError, match="residency is 'gpu' but training runs on the CPU"):
        train(config)
