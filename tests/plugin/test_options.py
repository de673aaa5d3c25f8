"""Options that reach from the command line into a training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fourdgs_ns.capture.calibration import read_calibration
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points.ply import write_points_ply
from tests.plugin.tiny import make_config, train, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture"))


def test_gaussians_in_front_of_training_cameras_are_pruned(capture, tmp_path):
    config = make_config(capture, tmp_path, 6)
    config.pipeline.model.densification.prune_near = 0.5
    trainer = train(config)
    model = trainer.pipeline.gaussians
    centers = trainer.pipeline.datamanager.train_dataset.facts.train_camera_centers
    distances = (model.gauss_params["means"].detach()[:, None] - centers).norm(dim=-1).amin(dim=1)
    # Pruned at step 4; two more steps move nothing far.
    assert float(distances.min()) > 0.45 * model.densifier.extent


def test_static_points_are_kept_once(capture, tmp_path):
    """The same cloud seen at three instants, one point of it moving."""
    import numpy as np

    rng = np.random.default_rng(0)
    still = rng.uniform(-0.5, 0.5, (40, 3)) + np.array([0, 0, 2])
    clouds = [np.vstack([still, [[0.3 * k, 0.0, 1.0]]]) for k in range(3)]
    colors = np.tile(rng.integers(0, 255, (41, 3)), (3, 1)).astype(np.uint8)
    times = np.repeat([0.0, 0.5, 1.0], 41).astype(np.float32)
    root = write_capture(tmp_path / "capture")
    write_points_ply(root / "points3D.ply", np.vstack(clouds).astype(np.float32), colors, times)
    counts = {}
    for rule in ("none", "static"):
        config = make_config(root, tmp_path / rule, 1)
        config.pipeline.datamanager.dataparser.initial_points = "ply"
        config.pipeline.datamanager.dataparser.thin_points = rule
        counts[rule] = train(config).pipeline.gaussians.num_points
    assert counts == {"none": 123, "static": 43}


def test_camera_colours_are_learned_and_average_to_nothing(capture, tmp_path):
    config = make_config(capture, tmp_path, 8)
    config.pipeline.model.color_correction = True
    colors = train(config).pipeline.gaussians.corrections.colors
    assert float(colors.matrices.abs().max()) > 1e-4
    assert float(colors.matrices.mean(0).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("field", "value"),
    [("mixed_precision", True), ("log_gradients", True), ("gradient_accumulation_steps", {"means": 2})],
)
def test_options_that_cannot_be_honoured_are_refused(capture, tmp_path, field, value):
    config = make_config(capture, tmp_path, 2)
    setattr(config, field, value)
    with pytest.raises(UserError, match="leave it away"):
        config.setup(local_rank=0, world_size=1)


@pytest.mark.parametrize(
    ("option", "method"),
    [
        ("velocity_smoothness", "freetime"),
        ("trajectory_smoothness", "lite"),
        ("temporal_consistency", "freetime"),
        ("opacity_regularization", "lite"),
    ],
)
def test_priors_are_part_of_the_loss(capture, tmp_path, option, method):
    """With the same seed and data, the prior changes what is learned and is named among the losses."""
    learned = {}
    for weight in (0.0, 0.5):
        config = make_config(capture, tmp_path / str(weight), 3, method)
        config.pipeline.model.opacity_regularization = 0.0
        setattr(config.pipeline.model, option, weight)
        trainer = train(config)
        _, losses, _ = trainer.pipeline.get_train_loss_dict(step=3)
        learned[weight] = trainer.pipeline.gaussians.gauss_params["means"].detach().clone(), set(losses)
    names = {"opacity_regularization": "opacity"}.get(option, option.split("_")[1 if "consistency" in option else 0])
    assert learned[0.5][1] - learned[0.0][1] == {names}
    if option != "opacity_regularization":
        assert not torch.equal(learned[0.0][0], learned[0.5][0])


@pytest.mark.parametrize("bounded", [True, False])
def test_colours_of_lite_stay_where_web_players_know_them(capture, tmp_path, bounded):
    config = make_config(capture, tmp_path, 3)
    config.pipeline.model.representation.bounded_colors = bounded
    config.optimizers["features_dc"]["optimizer"].lr = 1.0
    colors = train(config).pipeline.gaussians.gauss_params["features_dc"]
    assert (float(colors.min()) >= 0 and float(colors.max()) <= 1) == bounded


def test_time_offsets_need_single_cameras(capture, tmp_path):
    config = make_config(capture, tmp_path, 2)
    config.pipeline.model.time_offsets = True
    with pytest.raises(UserError, match="batch-size 1"):
        train(config)
    config = make_config(capture, tmp_path / "single", 6)
    config.pipeline.model.time_offsets, config.pipeline.datamanager.batch_size = True, 1
    model = train(config).pipeline.gaussians
    assert float(model.corrections.clocks.offsets.abs().max()) > 0
    assert float(model.corrections.clocks.offsets.median()) == 0


def test_refined_poses_are_written_in_the_captures_world(capture, tmp_path):
    config = make_config(capture, tmp_path, 6)
    config.pipeline.model.pose_correction, config.pipeline.datamanager.batch_size = True, 1
    trainer = train(config)
    file = trainer.base_dir / "refined_cameras.json"
    entries = {e["camera_label"]: e for e in json.loads(file.read_text())["frames"]}
    assert sorted(entries) == ["0", "1", "2", "3"] and "moved" not in entries["0"]  # camera 0 is held out
    sizes = {name: (e["w"], e["h"]) for name, e in entries.items()}
    for found in read_calibration(file, sizes)["cameras"]:
        name, camera, pose = found["name"], entries[found["name"]], np.array(found["world_from_camera"])
        # The capture puts camera k at x = 0.3 (k - 1.5); a few steps of a small rate move nobody far.
        np.testing.assert_allclose(pose[:3, 3], [0.3 * (int(name) - 1.5), 0, 0], atol=1e-3)
        np.testing.assert_allclose(pose[:3, :3], np.eye(3), atol=1e-3)
        assert name == "0" or (0 < camera["moved"] < 1e-3 and 0 <= camera["turned_degrees"] < 0.1)
