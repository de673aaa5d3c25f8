"""Options that reach from the command line into a training."""

from __future__ import annotations

import pytest

from fourdgs_ns.initialization.ply import write_points_ply
from tests.training.tiny import make_config, train, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture"))


def test_gaussians_in_front_of_training_cameras_are_pruned(capture, tmp_path):
    config = make_config(capture, tmp_path, 6)
    config.pipeline.model.densification.prune_near = 0.5
    trainer = train(config)
    model = trainer.pipeline.gaussians
    centers = trainer.pipeline.datamanager.train_dataset.metadata["train_camera_centers"]
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
    colors = train(config).pipeline.gaussians.camera_colors
    assert float(colors.matrices.abs().max()) > 1e-4
    assert float(colors.matrices.mean(0).abs().max()) < 1e-6
