"""``fourdgs-ns convert``: a published checkpoint as a run that Nerfstudio's commands open."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from plyfile import PlyData

from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.rasterization import rasterize
from tests.formats.fudan_writer import capture_tuple, gaussians, save

from .run import assert_one_line_error, files, fourdgs, typed


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Nerfstudio looks methods up by name among the installed plugins' entry points."""
    from nerfstudio.utils import eval_utils

    from fourdgs_ns.plugin.methods import trainer_config

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(eval_utils.all_methods, "4dgs-4dsh", trainer_config("4dgs-4dsh"))
        yield


@pytest.fixture(scope="module")
def raw() -> dict[str, torch.Tensor]:
    """Gaussians in front of the tiny capture's cameras, which look along +z at a wall at depth 2."""
    made = gaussians(300)
    made["xyz"] = made["xyz"] * torch.tensor([0.4, 0.3, 0.2]) + torch.tensor([0.0, 0.0, 2.0])
    return made


@pytest.fixture(scope="module")
def checkpoint(raw, tmp_path_factory):
    return save(tmp_path_factory.mktemp("fudan") / "chkpnt30000.pth", capture_tuple(raw))


@pytest.fixture(scope="module")
def converted(capture, checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "run"
    told = fourdgs("convert", checkpoint, out, "--from", "fudan", "--data", capture, "--duration", 1)
    assert told.code == 0, told.text
    assert "300 Gaussians" in told.text and "new order" in told.text
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    return out / "4dgs-4dsh" / "config.yml"


@pytest.mark.parametrize("mode", ["test", "inference"])
def test_the_run_opens_and_shows_the_files_gaussians(converted, raw, mode):
    from nerfstudio.utils.eval_utils import eval_setup

    from fourdgs_ns.formats.fudan import read_fudan
    from fourdgs_ns.formats.import_options import ImportOptions
    from fourdgs_ns.representation.types import Clip

    pipeline = eval_setup(converted, test_mode=mode)[1]
    model, clip = pipeline.model, pipeline.model.clip
    assert clip.num_frames == 4
    path = next((converted.parents[2].parent).glob("fudan*/chkpnt30000.pth"), None)
    assert path is None or path.exists()
    if mode == "inference":
        return
    camera = pipeline.datamanager.eval_dataset.cameras[2:3]
    t = float(camera.times)
    image = model.get_outputs_for_camera(camera)["rgb"]
    expected = read_fudan(save(converted.parent / "again.pth", capture_tuple(raw)), ImportOptions(duration=1.0), clip)
    representation = expected.representation
    g = representation.at(expected.parameters, t, representation.active(expected.parameters, t))
    rendered = rasterize(g, model.pinhole_cameras(camera)).features[0]
    assert float(rendered.max()) > 0.2
    torch.testing.assert_close(image, rendered.clamp(0, 1), rtol=1e-4, atol=1e-4)
    assert Clip(4, clip.duration_seconds) == expected.clip


def test_it_exports_axes_whose_covariance_is_that_of_the_file(converted, raw, tmp_path, monkeypatch):
    monkeypatch.setenv("FOURDGS_TIME", "50%")
    told = typed("ns-export", "gaussian-splat", "--load-config", converted, "--output-dir", tmp_path)
    assert told.code == 0, told.text
    vertex = PlyData.read(tmp_path / "splat.ply")["vertex"]

    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([vertex[name] for name in names], axis=1).astype(np.float32))

    from fourdgs_ns.representation.parts.rotations4d import rotation_matrices_4d

    rotation = rotation_matrices_4d(raw["rotation"].double(), raw["rotation_r"].double())
    sizes = torch.exp(torch.cat([raw["scaling"], raw["scaling_t"]], dim=-1).double())
    sigma = rotation @ torch.diag_embed(sizes**2) @ rotation.transpose(1, 2)
    cross, variance = sigma[:, :3, 3], sigma[:, 3, 3:]
    means = raw["xyz"] + cross / variance * (0.5 - raw["t"])
    conditional = sigma[:, :3, :3] - cross[:, :, None] * cross[:, None, :] / variance[:, :, None]
    positions = columns("x", "y", "z").double()
    nearest = torch.cdist(positions, means).argmin(dim=1)
    torch.testing.assert_close(positions, means[nearest], rtol=1e-4, atol=1e-4)
    axes = rotation_matrices(columns(*(f"rot_{i}" for i in range(4)))).double()
    scales = torch.exp(columns(*(f"scale_{i}" for i in range(3))).double())
    rebuilt = axes @ torch.diag_embed(scales**2) @ axes.transpose(1, 2)
    torch.testing.assert_close(rebuilt, conditional[nearest], rtol=1e-3, atol=1e-6)
    assert len(nearest) > 200 and "f_rest_44" in vertex.data.dtype.names


def test_pruning_a_converted_run_reports_before_and_after(converted):
    told = fourdgs("prune", "--load-config", converted, "--keep", 0.3, "--steps", 3)
    assert told.code == 0, told.text
    for stage, count in (("before", 300), ("pruned", 90), ("fine-tuned", 90)):
        assert f"{stage}: {count} Gaussians" in told.text, told.text
    folder = converted.parent / "pruned"
    assert {"config.yml", "pruning.json", "scores.json"} <= set(files(folder))
    from nerfstudio.utils.eval_utils import eval_setup

    assert eval_setup(folder / "config.yml")[1].model.num_points == 90
    assert_one_line_error(fourdgs("prune", "--load-config", converted), "exists already")


@pytest.mark.parametrize(("keep", "steps"), [(0.5, 0)])
def test_pruning_works_for_the_other_methods(run, keep, steps):
    told = fourdgs("prune", "--load-config", run.config, "--keep", keep, "--steps", steps, "--instants", 2)
    assert told.code == 0, told.text
    assert "pruned:" in told.text and "fine-tuned" not in told.text
    assert any(p.name.endswith("-pruned") for p in run.folder.parent.iterdir())


def test_a_moved_run_is_pruned_where_it_lies(run, tmp_path):
    """Its own checkpoint is read, not the one that the config remembers, and the result is written beside it."""
    folder = tmp_path / "elsewhere" / run.folder.parent.name / "run"
    shutil.copytree(run.folder, folder)
    checkpoint = sorted((folder / "nerfstudio_models").iterdir())[-1]
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state["pipeline"]["_model.gauss_params.opacities"] -= 50.0
    state["pipeline"]["_model.gauss_params.opacities"][:7] += 60.0
    torch.save(state, checkpoint)
    before = files(run.folder.parent)
    told = fourdgs("prune", "--load-config", folder / "config.yml", "--keep", 0.5, "--steps", 0, "--instants", 2)
    assert told.code == 0, told.text
    assert files(run.folder.parent) == before
    report = json.loads((folder.parent / "run-pruned" / "pruning.json").read_text())
    assert 0 < report["pruned"]["gaussians"] <= 7
    state["pipeline"]["_model.gauss_params.opacities"] -= 100.0
    torch.save(state, checkpoint)
    shutil.rmtree(folder.parent / "run-pruned")
    told = fourdgs("prune", "--load-config", folder / "config.yml", "--keep", 0.5, "--steps", 0, "--instants", 2)
    assert_one_line_error(told, "sees any Gaussian")


class TestMistakes:
    """Each is one line, and nothing is left behind."""

    def test_without_a_capture(self, checkpoint, tmp_path):
        told = fourdgs("convert", checkpoint, tmp_path / "run", "--from", "fudan")
        assert_one_line_error(told, "add --data")
        assert files(tmp_path) == []

    def test_a_folder_that_exists(self, checkpoint, capture, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "note.txt").write_text("mine")
        told = fourdgs("convert", checkpoint, tmp_path / "run", "--data", capture, "--duration", 1)
        assert_one_line_error(told, "exists already")
        assert files(tmp_path) == ["run/note.txt"]

    def test_a_damaged_file(self, capture, tmp_path):
        (tmp_path / "broken.pth").write_bytes(b"hello")
        told = fourdgs("convert", tmp_path / "broken.pth", tmp_path / "run", "--data", capture)
        assert_one_line_error(told, "no readable checkpoint")
        assert files(tmp_path) == ["broken.pth"]

    def test_no_capture_there(self, checkpoint, tmp_path):
        assert_one_line_error(fourdgs("convert", checkpoint, tmp_path / "run", "--data", tmp_path / "nowhere"))

    def test_pruning_nothing(self, run, tmp_path):
        assert_one_line_error(fourdgs("prune", "--load-config", tmp_path / "config.yml"), "does not exist")
        assert_one_line_error(fourdgs("prune", "--load-config", run.config, "--keep", 1.5), "--keep is 1.5")
