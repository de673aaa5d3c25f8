"""fourdgs-ns export, convert and info on a real run: no capture needed to export, runs that open and train on after import."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from nerfstudio.engine.trainer import TrainerConfig
from plyfile import PlyData

from fourdgs_ns.evaluation import held_out
from fourdgs_ns.formats import npz, splatv
from fourdgs_ns.formats.registry import load_scene
from fourdgs_ns.formats.to_moving import moving_gaussians
from fourdgs_ns.plugin.runs import LoadedRun
from tests.cli.run import assert_one_line_error, files, fourdgs, typed
from tests.plugin.tiny import train


def succeed(*words: object) -> str:
    told = fourdgs(*words)
    assert told.code == 0, told.text
    return told.text


@pytest.fixture(scope="module")
def moved(run, tmp_path_factory):
    """The run alone, elsewhere: neither capture nor the paths of its config.yml exist for it."""
    folder = tmp_path_factory.mktemp("moved") / "run"
    shutil.copytree(run.folder, folder)
    (folder / "config.yml").write_text("not even read")
    return folder


def test_checkpoint_alone_is_the_model(moved, pipeline):
    model = pipeline.model
    for source in (moved, moved / "config.yml", moved / "nerfstudio_models", next(moved.glob("*/*.ckpt"))):
        scene = load_scene(source)
        for name, value in model.canonical().items():
            assert torch.equal(scene.parameters[name], value.detach().cpu())
        assert scene.clip == model.clip and scene.near == model.near
        np.testing.assert_allclose(
            scene.world_from_capture.as_matrix(), model.world_from_capture.as_matrix(), atol=1e-7
        )
        assert len(scene.camera_centers) == 2


@pytest.mark.parametrize("t", [0.0, 0.6, 1.0])
def test_ply_agrees_with_nerfstudios_exporter(moved, pipeline, tmp_path, t):
    succeed("export", moved, "--format", "ply", "--time", f"{100 * t}%", "--out", tmp_path / "a.ply")
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"]
    means, _, log_scales, opacities, harmonics = pipeline.model.exported(t)
    np.testing.assert_allclose(np.stack([vertex[a] for a in "xyz"], 1), means.cpu(), atol=1e-5)
    np.testing.assert_allclose(vertex["scale_1"], log_scales[:, 1].cpu(), atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), opacities.cpu(), atol=1e-5)
    np.testing.assert_allclose(vertex["f_dc_2"], harmonics[:, 0, 2].cpu(), atol=1e-5)


@pytest.mark.parametrize("name", ["ply", "ply-sequence", "spacetime-ply", "splatv", "npz", "ply4d", "html"])
def test_every_format_is_written_and_recognised(moved, tmp_path, name):
    out = tmp_path / "out"
    told = succeed("export", moved / "config.yml", "--format", name, "--out", out)
    assert f"wrote {out}" in told
    lines = json.loads(succeed("info", out, "--json"))
    what = {
        "ply": "3DGS", "ply-sequence": "sequence", "spacetime-ply": "SpacetimeGaussian", "splatv": "splatv", "npz": "npz",
        "ply4d": "4D PLY", "html": "html",
    }  # fmt: skip
    assert what[name] in lines["what"] and lines["size"].endswith("B")
    if name not in ("ply", "ply-sequence"):
        assert lines["duration"] == "0.1 s" and lines["fps"] == "30" and int(lines["Gaussians"]) > 100
    assert_one_line_error(fourdgs("export", moved, "--format", name, "--out", out), "exists already", "--overwrite")
    succeed("export", moved, "--format", name, "--out", out, "--overwrite")


def test_info_of_a_run(moved):
    told = succeed("info", moved)
    assert "spacetime-gaussian" in told and "lite" in told and "frames 4" in told


def test_default_place_is_beside_the_model(moved, tmp_path):
    shutil.copytree(moved, tmp_path / "run")
    for name in ("splatv", "ply", "ply4d"):
        succeed("export", tmp_path / "run" / "config.yml", "--format", name)
    assert files(tmp_path / "run" / "export") == ["scene-ply4d.ply", "scene.ply", "scene.splatv"]


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        (("--format", "ply", "--time", "1e3"), ("--time 1e3 lies outside the clip, which runs from 0 to",)),
        (("--format", "ply-sequence", "--frames", "0:99"), ("frame 99", "0 to 3")),
        (("--format", "ply-sequence", "--frames", "first"), ("--frames is 'first'",)),
        (("--format", "ply", "--sh-degree", "7"), ("--sh-degree is 7",)),
        (("--format", "ply", "--out", "/proc/nowhere/a.ply"), ("/proc/nowhere",)),
    ],
)
def test_wrong_options_are_one_line(moved, tmp_path, words, phrases):
    if "--out" not in words:
        words = (*words, "--out", tmp_path / "x")
    assert_one_line_error(fourdgs("export", moved, *words), *phrases)
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_names_the_known_ones(moved):
    told = fourdgs("export", moved, "--format", "obj")
    assert told.code != 0 and "ply-sequence" in told.text and "Traceback" not in told.text


def test_what_is_no_model_is_one_line(moved, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "noise.ckpt").write_bytes(b"noise")
    torch.save({"step": 1, "pipeline": {"_model.means": torch.zeros(3)}}, tmp_path / "splatfacto.ckpt")
    state = torch.load(next(moved.glob("*/*.ckpt")), weights_only=True)
    for key in ("world_from_capture", "options"):
        del state["pipeline"]["_model._extra_state"][key]
    torch.save(state, tmp_path / "old.ckpt")
    for path, phrase in [
        ("missing", "does not exist"), ("empty", "no checkpoint"), ("noise.ckpt", "no readable checkpoint"),
        ("splatfacto.ckpt", "not written by a fourdgs-ns method"), ("old.ckpt", "earlier fourdgs-ns"),
    ]:  # fmt: skip
        assert_one_line_error(fourdgs("export", tmp_path / path, "--format", "ply", "--out", tmp_path / "o"), phrase)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert_one_line_error(fourdgs("info", tmp_path / "image.png"), "none of the formats")


def test_diverged_models_are_refused(moved, tmp_path):
    state = torch.load(next(moved.glob("*/*.ckpt")), weights_only=True)
    state["pipeline"]["_model.gauss_params.means"][5:] = float("nan")
    torch.save(state, tmp_path / "bad.ckpt")
    told = fourdgs("export", tmp_path / "bad.ckpt", "--format", "splatv", "--out", tmp_path / "a.splatv")
    assert_one_line_error(told, "diverged")
    assert not (tmp_path / "a.splatv").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(moved, tmp_path, monkeypatch):
    from fourdgs_ns.formats import splatv as module

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.struct, "pack", full)
    told = fourdgs("export", moved, "--format", "splatv", "--out", tmp_path / "a.splatv")
    assert_one_line_error(told, "disk is full")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ conversion


def test_spacetime_ply_becomes_a_run_that_opens_exports_and_trains_on(run, moved, tmp_path):
    from nerfstudio.utils.eval_utils import eval_setup

    succeed("export", moved, "--format", "spacetime-ply", "--out", tmp_path / "a.ply")
    succeed("convert", tmp_path / "a.ply", tmp_path / "imported", "--data", run.capture)
    config_path = next((tmp_path / "imported").rglob("config.yml"))
    model = eval_setup(config_path)[1].model
    t = 1 / 3
    mine, theirs = model.exported(t), load_scene(moved)
    expected = moving_gaussians(theirs, "test", False, []).in_capture(theirs.world_from_capture).at(t)
    torch.testing.assert_close(mine[0], expected.means, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mine[3], expected.opacities, atol=1e-4, rtol=1e-4)
    # It trains on.
    config = yaml.load(config_path.read_text(), Loader=yaml.Loader)
    config.load_dir = next((tmp_path / "imported").rglob("nerfstudio_models"))
    start = int(next(config.load_dir.glob("*.ckpt")).stem.split("-")[1])
    config.output_dir, config.max_num_iterations, config.vis = tmp_path / "more", start + 3, "tensorboard"
    config.machine.device_type = "cpu"
    trainer = train(config, experiment_name="more", timestamp="run")
    assert trainer.finished_step == start + 2


def test_the_command_that_a_conversion_prints_trains_on(run, moved, tmp_path):
    succeed("export", moved, "--format", "spacetime-ply", "--out", tmp_path / "a.ply")
    told = succeed("convert", tmp_path / "a.ply", tmp_path / "imported", "--data", run.capture)
    words = shlex.split(told.split("train on with: ")[1])
    steps = words.index("--max-num-iterations") + 1
    assert int(words[steps]) > 30_000
    words[steps] = "30002"
    data = words.index("multiview-video-data")
    own = [
        *("--output-dir", tmp_path / "more", "--vis", "tensorboard", "--machine.device-type", "cpu"),
        *("--pipeline.datamanager.residency", "disk"),
    ]
    told = typed(*words[:data], *own, *words[data:])
    assert told.code == 0, told.text
    assert len(list((tmp_path / "more").rglob("step-000030001.ckpt"))) == 1
    # In another frame of the scene the Gaussians would be elsewhere.
    told = typed(*words[:data], *own)
    assert_one_line_error(told, "converted model", "--orientation none")


def test_the_ending_of_a_name_says_the_format(moved, tmp_path):
    succeed("export", moved, "--format", "npz", "--out", tmp_path / "a.npz")
    succeed("convert", tmp_path / "a.npz", tmp_path / "b.splatv")
    assert splatv.read(tmp_path / "b.splatv").num_gaussians > 0
    assert_one_line_error(fourdgs("convert", tmp_path / "a.npz", tmp_path / "b.ply"), "three PLY formats")


def test_folders_are_told_apart(run, moved, tmp_path):
    assert json.loads(succeed("info", run.capture, "--json"))["what"] == "a capture (layout dynamic3dgs)"
    succeed("export", moved, "--format", "ply-sequence", "--out", tmp_path / "seq")
    for file in (tmp_path / "seq").iterdir():
        file.rename(file.with_name(file.name.replace("frame_", "theirs-")))
    lines = json.loads(succeed("info", tmp_path / "seq", "--json"))
    assert lines["what"] == "a sequence of 3DGS PLYs" and lines["frames"].startswith("4 ")
    assert_one_line_error(fourdgs("convert", tmp_path / "seq", tmp_path / "a.npz"), "one of its frames")
    assert_one_line_error(fourdgs("info", tmp_path), "it holds seq")
    (tmp_path / "empty.ply").touch()
    assert_one_line_error(fourdgs("info", tmp_path / "empty.ply"), "is empty")


@pytest.mark.parametrize(("name", "bound"), [("npz", 0.1), ("html", 0.3)])
def test_compression_is_scored_on_held_out_views(run, tmp_path, name, bound):
    told = succeed("export", run.folder, "--format", name, "--compressed", "--score", "--out", tmp_path / f"a.{name}")
    found = re.search(r"held-out PSNR ([\d.]+) dB before, ([\d.]+) dB after \(mean of 8 views of 0, 3\)", told)
    assert found is not None, told
    assert abs(float(found[1]) - float(found[2])) < bound
    told = fourdgs("export", run.folder, "--format", "ply", "--score", "--out", tmp_path / "a.ply")
    assert_one_line_error(told, "--score needs")


def test_what_is_stored_is_what_is_scored(pipeline, run, tmp_path):
    """Exactly the run's own score without compression, another with other Gaussians."""
    loaded = LoadedRun(run.config, Mock(spec=TrainerConfig), pipeline, Mock(spec=Path), 0)
    own = held_out.mean_psnr(loaded)
    for name in ("npz", "html"):
        succeed("export", run.folder, "--format", name, "--out", tmp_path / f"a.{name}")
        slices = held_out.stored_slices(tmp_path / f"a.{name}", pipeline.gaussians.world_from_capture)
        assert held_out.mean_psnr(loaded, slices) == pytest.approx(own, abs=1e-4 if name == "npz" else 0.02)

    def half(t: float):
        return (whole := slices(t)).select(torch.arange(0, len(whole.ids), 2))

    assert abs(held_out.mean_psnr(loaded, half) - own) > 0.02


def test_archives_convert_to_other_formats(moved, tmp_path):
    succeed("export", moved, "--format", "npz", "--out", tmp_path / "a.npz", "--compressed")
    succeed("convert", tmp_path / "a.npz", tmp_path / "b.splatv", "--to", "splatv")
    assert splatv.read(tmp_path / "b.splatv").num_gaussians <= npz.read(tmp_path / "a.npz").num_gaussians
    succeed("convert", tmp_path / "b.splatv", tmp_path / "c.ply", "--to", "ply4d")
    succeed("convert", tmp_path / "c.ply", tmp_path / "d.html", "--to", "html")
    succeed("export", tmp_path / "a.npz", "--format", "ply", "--out", tmp_path / "e.ply")
    succeed("convert", tmp_path / "e.ply", tmp_path / "f.npz", "--to", "npz")
    assert npz.read(tmp_path / "f.npz").method == "freetime"


def test_conversion_says_what_is_missing(moved, tmp_path):
    succeed("export", moved, "--format", "ply", "--out", tmp_path / "a.ply")
    assert_one_line_error(fourdgs("convert", tmp_path / "a.ply", tmp_path / "b"), "--data")
    assert_one_line_error(
        fourdgs("convert", tmp_path / "a.ply", tmp_path / "b", "--data", tmp_path / "none"), "no folder"
    )
    told = fourdgs("convert", tmp_path / "a.ply", tmp_path / "b", "--from", "spacetime-ply", "--to", "npz")
    assert_one_line_error(told, "static 3DGS PLY", "--from ply")
    succeed("export", moved, "--format", "html", "--out", tmp_path / "a.html")
    assert_one_line_error(fourdgs("convert", tmp_path / "a.html", tmp_path / "b", "--to", "npz"), "cannot be converted")
