"""ns-export: the PLY is the slice at FOURDGS_TIME in the capture's own world; poses of cameras."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from plyfile import PlyData
from scipy.spatial.transform import Rotation

from tests.cli.run import assert_one_line_error, typed

try:
    import nerfstudio.scripts.exporter  # noqa: F401
except ImportError as error:  # open3d and pymeshlab want libraries of the system
    pytest.skip(f"Nerfstudio's ns-export cannot be imported here: {error}", allow_module_level=True)

SH_C0 = 0.28209479177387814


def export(config, folder, *options):
    told = typed("ns-export", "gaussian-splat", "--load-config", config, "--output-dir", folder, *options)
    assert told.code == 0, told.text
    vertex = PlyData.read(folder / "splat.ply")["vertex"]
    assert re.search(rf"wrote {re.escape(str(folder))}/splat\.ply: {vertex.count:,} Gaussians at \d\.\d+ s", told.text)
    return vertex


def columns(vertex, *names) -> np.ndarray:
    return np.stack([np.asarray(vertex[name]) for name in names], axis=1)


def positions(vertex) -> np.ndarray:
    return columns(vertex, "x", "y", "z")


def covariances(quats: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """From (w, x, y, z) and standard deviations."""
    axes = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix()
    return np.einsum("nij,nj,nkj->nik", axes, scales**2, axes)


@pytest.fixture(scope="module")
def similarity(run):
    """Rotation, translation and scale of x_scene = scale (R x + t), as the training wrote them down."""
    record = json.loads((run.folder / "dataparser_transforms.json").read_text())
    matrix = np.array(record["transform"])
    assert not np.allclose(matrix[:, :3], np.eye(3)) and record["scale"] != 1  # or the tests would prove nothing
    return matrix[:, :3], matrix[:, 3], record["scale"]


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_ply_is_the_slice_at_t_in_the_world_of_the_capture(run, pipeline, similarity, tmp_path, monkeypatch, t):
    monkeypatch.setenv("FOURDGS_TIME", f"{100 * t}%")
    vertex = export(run.config, tmp_path)
    with torch.no_grad():
        part = pipeline.model.slice(t)
    part = {name: value.cpu().double().numpy() for name, value in part.tensors().items()}
    rotation, translation, scale = similarity
    assert len(vertex.data) == len(part["means"]) > 100

    np.testing.assert_allclose(positions(vertex), (part["means"] / scale - translation) @ rotation, atol=1e-4)
    quats, scales = columns(vertex, *(f"rot_{i}" for i in range(4))), columns(vertex, *(f"scale_{i}" for i in range(3)))
    expected = rotation.T @ covariances(part["quats"], part["scales"]) @ rotation / scale**2
    np.testing.assert_allclose(covariances(quats, np.exp(scales)), expected, rtol=1e-3, atol=1e-3 * expected.max())
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), part["opacities"], atol=1e-5)
    colors = columns(vertex, "f_dc_0", "f_dc_1", "f_dc_2") * SH_C0 + 0.5
    np.testing.assert_allclose(colors, part["features"].clip(0, 1), atol=1e-5)
    assert "f_rest_0" not in vertex.data.dtype.names


def test_rgb_mode_writes_bytes(run, pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("FOURDGS_TIME", "50%")
    vertex = export(run.config, tmp_path, "--ply-color-mode", "rgb")
    with torch.no_grad():
        expected = pipeline.model.slice(0.5).features.clamp(0, 1).cpu().numpy() * 255
    np.testing.assert_allclose(columns(vertex, "red", "green", "blue").astype(float), expected, atol=1)


def test_points_of_the_ply_project_through_the_calibration_of_the_capture(run, pipeline, tmp_path, monkeypatch):
    """Independent of how the frames are defined: the file's matrices and the rendered image agree on where things are."""
    from fourdgs_ns.rasterization import rasterize

    monkeypatch.setenv("FOURDGS_TIME", "0")
    points = positions(export(run.config, tmp_path))
    meta = json.loads((run.capture / "train_meta.json").read_text())
    view, k = np.array(meta["w2c"][0][0]), np.array(meta["k"][0][0])
    seen = (points @ view[:3, :3].T + view[:3, 3]) @ k.T
    pixels = seen[:, :2] / seen[:, 2:]

    dataset = pipeline.datamanager.train_dataset
    assert dataset.camera_name(0) == str(meta["cam_id"][0][0]) == "1"
    with torch.no_grad():
        rendering = rasterize(pipeline.model.slice(0.0), pipeline.model.pinhole_cameras(dataset.cameras[0:1]))
    visible = rendering.radii[0].cpu().numpy() > 0
    assert visible.sum() > 50
    np.testing.assert_allclose(pixels[visible], rendering.means2d[0].cpu().numpy()[visible], atol=0.02)


def test_without_the_variable_it_is_the_first_frame(run, tmp_path, monkeypatch):
    default = export(run.config, tmp_path / "default")
    monkeypatch.setenv("FOURDGS_TIME", "0")
    np.testing.assert_array_equal(default.data, export(run.config, tmp_path / "zero").data)
    monkeypatch.setenv("FOURDGS_TIME", "3f")
    assert not np.array_equal(default["opacity"], export(run.config, tmp_path / "one")["opacity"])


@pytest.mark.parametrize(
    "value, phrase",
    [
        ("noon", "is 'noon'"),
        ("1.5", "1.5 lies outside"),
        ("-1f", "-1f lies outside"),
        ("nan", "is 'nan'"),
        ("", "is ''"),
    ],
)
def test_wrong_time_is_one_line(run, tmp_path, monkeypatch, value, phrase):
    monkeypatch.setenv("FOURDGS_TIME", value)
    told = typed("ns-export", "gaussian-splat", "--load-config", run.config, "--output-dir", tmp_path)
    assert_one_line_error(told, f"FOURDGS_TIME {phrase}")


@pytest.fixture
def edited(run, tmp_path):
    """A copy of the run whose canonical parameters a test can change before they are exported."""

    def edit(change):
        folder = tmp_path / "outputs" / run.folder.relative_to(run.folder.parents[2])
        shutil.copytree(run.folder, folder)
        checkpoint = next(folder.glob("nerfstudio_models/*.ckpt"))
        state = torch.load(checkpoint, weights_only=True)
        prefix = "_model.gauss_params."
        change({k.removeprefix(prefix): v for k, v in state["pipeline"].items() if k.startswith(prefix)})
        torch.save(state, checkpoint)
        config = yaml.load(run.config.read_text(), Loader=yaml.Loader)
        config.output_dir = tmp_path / "outputs"
        (folder / "config.yml").write_text(yaml.dump(config))
        return folder / "config.yml"

    return edit


def test_broken_rows_are_left_out_and_the_others_stay(run, pipeline, edited, tmp_path):
    whole = export(run.config, tmp_path / "whole")
    visible = pipeline.model.slice(0.0).ids

    def break_some(rows):
        rows["means"][visible[3], 1] = float("nan")
        rows["scales"][visible[7], 0] = float("inf")
        rows["opacities"][visible[11]] = float("nan")

    vertex = export(edited(break_some), tmp_path / "part")
    table = columns(vertex, *(p.name for p in vertex.properties))
    assert np.isfinite(table).all()
    before = columns(whole, *(p.name for p in whole.properties))
    assert len(table) == len(before) - 3
    np.testing.assert_array_equal(table, np.delete(before, [3, 7, 11], axis=0))


def test_nothing_to_see_is_one_line(edited, tmp_path, monkeypatch):
    monkeypatch.setenv("FOURDGS_TIME", "25%")
    config = edited(lambda rows: rows["opacities"].fill_(-20.0))
    told = typed("ns-export", "gaussian-splat", "--load-config", config, "--output-dir", tmp_path)
    assert_one_line_error(told, "no Gaussian is visible at t = 0.25", "FOURDGS_TIME")


@pytest.mark.parametrize(
    "command",
    [("pointcloud",), ("pointcloud", "--normal-method", "open3d"), ("poisson",), ("tsdf",)],
    ids=" ".join,
)
def test_exports_that_need_rays_end_in_one_line(run, tmp_path, command):
    told = typed("ns-export", command[0], "--load-config", run.config, "--output-dir", tmp_path, *command[1:])
    assert_one_line_error(told, "asks for rays", "ns-export gaussian-splat")


def test_cameras_are_written_in_the_frame_of_the_scene(run, similarity, tmp_path):
    """Nerfstudio writes scene poses; dataparser_transforms.json beside the run takes them back to the capture's."""
    told = typed("ns-export", "cameras", "--load-config", run.config, "--output-dir", tmp_path)
    assert told.code == 0, told.text
    rotation, translation, scale = similarity
    for split, held_out in (("train", False), ("eval", True)):
        entries = json.loads((tmp_path / f"transforms_{split}.json").read_text())
        assert len(entries) == 8
        for entry in entries:
            name = entry["file_path"].rsplit("/", 2)[1]
            assert (name in ("0", "3")) == held_out
            pose = np.array(entry["transform"])
            turned, centre = rotation.T @ pose[:, :3], rotation.T @ (pose[:, 3] / scale - translation)
            # The tiny rig looks along +z with y down; cameras stand on the x axis. Nerfstudio's look along -z with y up.
            np.testing.assert_allclose(turned, np.diag([1.0, -1.0, -1.0]), atol=1e-5)
            np.testing.assert_allclose(centre, [0.3 * (int(name) - 1.5), 0, 0], atol=1e-5)
