"""Every method through Nerfstudio's commands; what is the same for all of them is tested on spacetime-gaussian."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from plyfile import PlyData

from tests.plugin.tiny import make_config, train

from .run import typed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["full", "freetime", "fourd"])
def trained(request, capture, tmp_path_factory):
    """Folder of a short run and its pipeline."""
    trainer = train(make_config(capture, tmp_path_factory.mktemp(request.param), 14, request.param))
    return trainer.base_dir, trainer.pipeline


def test_it_is_evaluated_rendered_and_exported(trained, tmp_path, monkeypatch):
    folder, pipeline = trained
    config = folder / "config.yml"
    done = typed("ns-eval", "--load-config", config, "--output-path", tmp_path / "scores.json")
    assert done.code == 0, done.text
    scores = json.loads((tmp_path / "scores.json").read_text())["results"]
    assert abs(scores["psnr"] - json.loads((folder / "scores.json").read_text())["psnr"]) < 1e-3
    done = typed(
        "ns-render", "dataset", "--load-config", config, "--output-path", tmp_path / "out",
        "--rendered-output-names", "rgb", "--split", "test",
    )  # fmt: skip
    assert done.code == 0, done.text
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 4
    pytest.importorskip("nerfstudio.scripts.exporter", exc_type=(ImportError, OSError))
    monkeypatch.setenv("FOURDGS_TIME", "50%")
    done = typed("ns-export", "gaussian-splat", "--load-config", config, "--output-dir", tmp_path / "ply")
    assert done.code == 0, done.text
    (path,) = (tmp_path / "ply").glob("*.ply")
    vertices = PlyData.read(str(path))["vertex"]
    model = pipeline.gaussians
    expected = model.exported(0.5)
    assert len(vertices) <= len(expected[0])
    names = vertices.data.dtype.names
    harmonics = expected[4].shape[1]
    assert sum(name.startswith("f_rest") for name in names) == 3 * (harmonics - 1)
    # Nerfstudio leaves out what is fainter than 1/255; what it writes stands where the slice is.
    found = np.stack([vertices[axis] for axis in "xyz"], axis=1)
    distances = np.linalg.norm(expected[0].numpy()[None] - found[:, None], axis=-1).min(axis=1)
    assert distances.max() < 1e-5


def test_it_is_inspected_in_the_viewer(trained):
    """Every colouring gives another image than the scene's own colours, from the viewer only."""
    from fourdgs_ns.inspection.colorings import COLORINGS

    pipeline = trained[1]
    pipeline.eval()
    model, inspector = pipeline.gaussians, pipeline.time_controls.inspector
    camera = pipeline.datamanager.eval_dataset.cameras[1:2]

    def shown() -> np.ndarray:
        model.set_background(torch.zeros(3))
        return model.get_outputs_for_camera(camera)["rgb"].numpy()

    own = shown()
    np.testing.assert_array_equal(own, model.get_outputs_for_camera(camera)["rgb"].numpy())
    for coloring in COLORINGS:
        inspector.coloring = coloring
        assert np.abs(shown() - own).mean() > 0.01, coloring
        np.testing.assert_array_equal(own, model.get_outputs_for_camera(camera)["rgb"].numpy())
