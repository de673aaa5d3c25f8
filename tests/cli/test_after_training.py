"""fourdgs-ns render, evaluate and compare on a finished run: files on disk against the model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from fourdgs_ns.evaluation.reports import comparison_table, unlike_views
from tests.cli.run import assert_one_line_error, files, fourdgs, typed
from tests.plugin.tiny import FRAMES, HEIGHT, WIDTH

STEP = 1 / 255


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image[..., ::-1].astype(np.float32) / 255


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
    """A copy of the run elsewhere: it is found and loaded where it lies now."""
    folder = tmp_path_factory.mktemp("moved") / "run"
    shutil.copytree(run.folder, folder)
    return folder


# ---------------------------------------------------------------------- render


def test_fixed_camera_shows_the_frames_beside_the_truth(run, finished, pipeline, tmp_path):
    told = fourdgs("render", "fixed", finished, "--out", tmp_path / "out", "--outputs", "rgb", "truth", "--camera", "3")
    assert told.code == 0, told.text
    assert files(tmp_path / "out") == [*(f"{i:06d}.png" for i in range(FRAMES)), "recipe.json"]
    cameras = pipeline.datamanager.eval_dataset.cameras
    for frame in range(FRAMES):
        rendered_file = read(tmp_path / "out" / f"{frame:06d}.png")
        assert rendered_file.shape == (HEIGHT, 2 * WIDTH, 3)
        with torch.no_grad():
            rendered = pipeline.model.get_outputs_for_camera(cameras[FRAMES + frame : FRAMES + frame + 1])["rgb"]
        np.testing.assert_allclose(rendered_file[:, :WIDTH], rendered.cpu().numpy(), atol=STEP)
        np.testing.assert_array_equal(rendered_file[:, WIDTH:], read(run.capture / "ims" / "3" / f"{frame:06d}.png"))


def test_slow_motion_renders_instants_between_frames(finished, pipeline, tmp_path):
    told = fourdgs("render", "fixed", finished, "--out", tmp_path / "out", "--speed", 0.5)
    assert told.code == 0, told.text
    assert len(list((tmp_path / "out").glob("*.png"))) == 2 * (FRAMES - 1) + 1
    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    camera.times = torch.tensor([[0.5 / (FRAMES - 1)]])
    with torch.no_grad():
        rendered = pipeline.model.get_outputs_for_camera(camera)["rgb"].cpu().numpy()
    np.testing.assert_allclose(read(tmp_path / "out" / "000001.png"), rendered, atol=STEP)


def test_bullet_time_stands_still_in_time_while_the_camera_moves(finished, pipeline, tmp_path):
    options = ("--at", 0.1, "--length", 0.2, "--degrees", 30, "--fps", 20)
    told = fourdgs("render", "orbit", finished, "--out", tmp_path / "out", *options)
    assert told.code == 0, told.text
    images = [read(tmp_path / "out" / f"{i:06d}.png") for i in range(4)]
    # The swing begins and passes half time at the camera itself, at the frozen instant.
    camera = pipeline.datamanager.eval_dataset.cameras[FRAMES - 1 : FRAMES]
    with torch.no_grad():
        rendered = pipeline.model.get_outputs_for_camera(camera)["rgb"].cpu().numpy()
    np.testing.assert_allclose(images[0], rendered, atol=STEP)
    np.testing.assert_allclose(images[2], rendered, atol=2 * STEP)
    assert np.abs(images[1] - rendered).max() > 5 * STEP


@pytest.mark.parametrize("path", ["spiral", "interpolate"])
def test_moving_cameras_write_videos(finished, tmp_path, path):
    told = fourdgs("render", path, finished, "--out", tmp_path / "film.mp4", "--outputs", "rgb", "depth", "motion")
    assert told.code == 0, told.text
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    shapes = []
    while (got := video.read())[0]:
        shapes.append(got[1].shape)
    assert shapes == [(HEIGHT, 3 * WIDTH, 3)] * FRAMES
    assert files(tmp_path) == ["film.mp4"]


def test_saved_camera_path_keeps_its_times_or_takes_others(finished, pipeline, tmp_path):
    pose = np.eye(4)
    pose[:3] = pipeline.datamanager.eval_dataset.cameras[0].camera_to_worlds.numpy()
    steps = [
        {"camera_to_world": pose.flatten().tolist(), "fov": 60.0, "aspect": 1.5, "render_time": t} for t in (0.0, 1.0)
    ]
    record = {"render_height": 40, "render_width": 60, "fps": 2, "camera_type": "perspective", "camera_path": steps}
    (tmp_path / "path.json").write_text(json.dumps(record))
    for name, options in {"own": (), "frozen": ("--at", 0.0), "slow": ("--speed", 0.5)}.items():
        told = fourdgs(
            *("render", "camera-path", finished, "--file", tmp_path / "path.json", "--out", tmp_path / name, *options)
        )
        assert told.code == 0, told.text
    first, last = (read(tmp_path / "own" / f"{i:06d}.png") for i in range(2))
    assert first.shape == (40, 60, 3)
    assert np.abs(first - last).max() > 3 * STEP
    frozen = [read(tmp_path / "frozen" / f"{i:06d}.png") for i in range(2)]
    np.testing.assert_array_equal(frozen[0], first)
    np.testing.assert_array_equal(frozen[1], first)
    assert len(list((tmp_path / "slow").glob("*.png"))) == 3
    np.testing.assert_array_equal(read(tmp_path / "slow" / "000002.png"), last)


def test_runs_side_by_side_with_truth_and_scores(finished, run, tmp_path):
    told = fourdgs("render", "fixed", finished, run.folder, "--out", tmp_path / "out")
    assert told.code == 0, told.text
    image = read(tmp_path / "out" / "000001.png")
    assert image.shape[1] == 3 * WIDTH and image.shape[0] > HEIGHT + 20
    truth, mine, other = (image[:HEIGHT, k * WIDTH : (k + 1) * WIDTH] for k in range(3))
    np.testing.assert_array_equal(truth, read(run.capture / "ims" / "0" / "000001.png"))
    np.testing.assert_array_equal(mine, other)  # the same run twice
    assert image[HEIGHT:, WIDTH:].max() > 0.5  # something is written


@pytest.mark.parametrize("output", ["rgb", "depth", "motion"])
def test_equal_colours_mean_equal_things_in_scenes_of_another_scale(finished, run, tmp_path, output):
    """The same model once in its own scene and once in the capture's world, which is neither turned nor scaled."""
    mine = tmp_path / "mine"
    shutil.copytree(finished, mine)
    (checkpoint,) = (mine / "nerfstudio_models").iterdir()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    rows = {name: state["pipeline"][f"_model.gauss_params.{name}"] for name in ("opacities", "motion")}
    rows["opacities"] += 3.0
    rows["motion"][:, :3] = torch.randn(len(rows["motion"]), 3, generator=torch.Generator().manual_seed(0))
    torch.save(state, checkpoint)
    told = fourdgs("convert", mine, tmp_path / "same", "--to", "run", "--data", run.capture)
    assert told.code == 0, told.text
    (same,) = (path.parent for path in (tmp_path / "same").glob("*/config.yml"))
    options = ("--outputs", output, "--span", 0.03, 0.04)
    told = fourdgs("render", "fixed", mine, same, "--camera", 0, "--out", tmp_path / "out", *options)
    assert told.code == 0, told.text
    image = read(tmp_path / "out" / "000000.png")[:HEIGHT]
    image = image[:, -2 * WIDTH :]  # frames have their truth on the left
    np.testing.assert_allclose(image[:, WIDTH:], image[:, :WIDTH], atol=3 * STEP)
    assert image.std() > 0.1


def test_part_of_the_clip_has_its_truth_where_it_shows_frames(finished, run, tmp_path):
    told = fourdgs("render", "fixed", finished, run.folder, "--out", tmp_path / "out", "--span", "0.0667", "0")
    assert told.code == 0, told.text
    for index, frame in enumerate((2, 1, 0)):  # backwards
        truth = read(tmp_path / "out" / f"{index:06d}.png")[:HEIGHT, :WIDTH]
        np.testing.assert_array_equal(truth, read(run.capture / "ims" / "0" / f"{frame:06d}.png"))
    told = fourdgs("render", "fixed", finished, "--out", tmp_path / "slow", "--speed", "0.5", "--outputs", "truth")
    assert_one_line_error(told, "at its own frames")


def test_going_on_renders_nothing_twice(finished, tmp_path):
    command = ("render", "fixed", finished, "--out", tmp_path / "out")
    assert fourdgs(*command).code == 0
    (tmp_path / "out" / "000002.png").unlink()
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.png")}
    told = fourdgs(*command)
    assert told.code == 0 and "3 images were there already" in told.text
    assert (tmp_path / "out" / "000002.png").exists()
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items())


def test_a_camera_path_that_was_edited_is_not_mixed_with_the_old_one(finished, pipeline, tmp_path):
    pose = np.eye(4)
    pose[:3] = pipeline.datamanager.eval_dataset.cameras[0].camera_to_worlds.numpy()
    for fov in (60.0, 50.0):
        steps = [{"camera_to_world": pose.flatten().tolist(), "fov": fov, "aspect": 1.5, "render_time": 0.5}]
        record = {"render_height": 20, "render_width": 30, "fps": 2, "camera_path": steps}
        (tmp_path / "path.json").write_text(json.dumps(record))
        told = fourdgs("render", "camera-path", finished, "--file", tmp_path / "path.json", "--out", tmp_path / "out")
    assert_one_line_error(told, "images of another path, run or option", "--overwrite")


# ---------------------------------------------------------------------- evaluate, compare


@pytest.fixture(scope="module")
def evaluation(finished):
    told = fourdgs("evaluate", finished)
    assert told.code == 0, told.text
    return json.loads((finished / "evaluation" / "evaluation.json").read_text())


def test_every_view_has_every_score(run, evaluation):
    views = evaluation["per_view"]
    assert {camera: sorted(frames) for camera, frames in views.items()} == {c: ["0", "1", "2", "3"] for c in "03"}
    for frames in views.values():
        assert "flicker" not in frames["0"] and frames["1"]["flicker"] > 0
        for scores in frames.values():
            assert {"psnr", "ssim", "ssim_range2", "psnr_affine", "moving", "psnr_moving", "ssim_moving"} <= set(scores)
            assert scores["ssim_range2"] > scores["ssim"]
    # What ns-eval says about the same views.
    recorded = json.loads((run.folder / "scores.json").read_text())
    assert evaluation["mean"]["psnr"] == pytest.approx(recorded["psnr"], abs=1e-3)
    assert evaluation["moving_from"] == {"0": "variance", "3": "variance"}
    means = {camera: np.mean([s["psnr"] for s in frames.values()]) for camera, frames in views.items()}
    assert {c: s["psnr"] for c, s in evaluation["per_camera"].items()} == pytest.approx(means)


def test_moving_regions_are_where_the_square_passes(run, pipeline, evaluation):
    stack = np.stack([read(run.capture / "ims" / "0" / f"{f:06d}.png") for f in range(FRAMES)])
    region = stack.std(axis=0).max(axis=-1) > 0.04
    assert 0.02 < region.mean() < 0.5
    with torch.no_grad():
        rendered = (
            pipeline.model.get_outputs_for_camera(pipeline.datamanager.eval_dataset.cameras[2:3])["rgb"].cpu().numpy()
        )
    expected = -10 * np.log10(((rendered - stack[2])[region] ** 2).mean())
    scores = evaluation["per_view"]["0"]["2"]
    assert scores["psnr_moving"] == pytest.approx(expected, abs=1e-3)
    assert scores["moving"] == pytest.approx(region.mean())


def test_a_colour_map_per_camera_never_makes_a_camera_worse(evaluation):
    for frames in evaluation["per_view"].values():
        plain, fitted = (np.array([s[key] for s in frames.values()]) for key in ("psnr", "psnr_affine"))
        # Mean squared errors over the camera's frames, for which the map is fitted.
        assert (10 ** (-fitted / 10)).mean() <= (10 ** (-plain / 10)).mean() + 1e-9


def test_tables_and_heat_maps_are_written(finished, evaluation):
    assert {"evaluation.json", "views.csv", "heatmap-psnr.png", "heatmap-flicker.png"} <= set(
        files(finished / "evaluation")
    )
    with open(finished / "evaluation" / "views.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * FRAMES
    for row in rows:
        assert float(row["psnr"]) == pytest.approx(evaluation["per_view"][row["camera"]][row["frame"]]["psnr"])
    assert float(rows[3]["seconds"]) == pytest.approx(0.1)


def test_compare_uses_finished_evaluations_and_writes_a_table(finished, evaluation, tmp_path):
    stamp = (finished / "evaluation" / "evaluation.json").stat().st_mtime_ns
    told = fourdgs("compare", finished, finished / "config.yml", "--output", tmp_path / "table.csv")
    assert told.code == 0, told.text
    assert (finished / "evaluation" / "evaluation.json").stat().st_mtime_ns == stamp
    with open(tmp_path / "table.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert float(rows[0]["psnr"]) == pytest.approx(evaluation["mean"]["psnr"])
    assert int(rows[0]["gaussians"]) == evaluation["gaussians"]


def test_the_best_of_each_score_is_marked():
    runs = {
        "a": {"psnr": 30.0, "flicker": 0.2, "fps": 9.0},
        "b": {"psnr": 29.0, "flicker": 0.1, "fps": 5.0, "lpips": 0.3},
    }
    table = comparison_table(runs)
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    assert cells == [
        ["psnr", "flicker", "fps", "lpips"],
        ["30.00", "0.2000", "9.0000", "-"],
        ["29.00", "0.1000", "5.0000", "0.3000"],
    ]
    marked = [[str(cell.style) == "bold green" for cell in column.cells] for column in table.columns[1:]]
    assert marked == [[True, False, False, False], [False, True, False, True]]


def test_runs_scored_on_other_views_are_told():
    def report(data: str, camera: str, frames: int) -> dict:
        return {"data": data, "per_view": {camera: {str(frame): {} for frame in range(frames)}}}

    reports = {"a": report("x", "0", 4), "b": report("x", "0", 4), "c": report("x", "1", 4), "d": report("y", "0", 4)}
    told = unlike_views(reports)
    assert len(told) == 2
    assert told[0].startswith("c was scored on 4 views of 1, a on 4 views of 0") and "--eval-cameras" in told[0]
    assert told[1].startswith("d was scored on y, a on x")


# ---------------------------------------------------------------------- a capture that was moved


@pytest.fixture(scope="module")
def moved(run, finished, tmp_path_factory):
    """A run whose capture is no longer where it was, and where that is now."""
    folder = tmp_path_factory.mktemp("away") / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "evaluation", ignore_errors=True)
    config = yaml.load((folder / "config.yml").read_text(), Loader=yaml.Loader)
    config.data = config.pipeline.datamanager.data = config.pipeline.datamanager.dataparser.data = Path("/old/gone")
    (folder / "config.yml").write_text(yaml.dump(config))
    return folder, run.capture


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "RUN", "--output", "OUT"),
        ("render", "orbit", "RUN", "--out", "OUT", "--at", "0", "--length", "0.1"),
        ("compare", "RUN", "RUN"),
        ("export", "RUN", "--format", "npz", "--score", "--out", "OUT"),
        ("prune", "--load-config", "RUN", "--steps", "0", "--keep", "0.5"),
    ],
    ids=lambda command: command[0],
)
def test_a_moved_capture_is_asked_for_and_then_read(moved, tmp_path, command):
    folder, capture = moved
    words = [{"RUN": folder, "OUT": tmp_path / "out"}.get(word, word) for word in command]
    assert_one_line_error(fourdgs(*words), "the capture of", "gone, is not there; say where it is with --data")
    words += ["--overwrite"] * (command[0] == "export")
    told = fourdgs(*words, "--data", capture)
    assert told.code == 0, told.text


def test_nerfstudios_commands_read_it_by_a_variable(moved, tmp_path, monkeypatch):
    folder, capture = moved
    command = ("ns-eval", "--load-config", folder, "--output-path", tmp_path / "eval.json")
    assert_one_line_error(typed(*command), "say where it is with FOURDGS_DATA=FOLDER before the command")
    monkeypatch.setenv("FOURDGS_DATA", str(capture))
    told = typed(*command)
    assert told.code == 0 and (tmp_path / "eval.json").exists(), told.text


# ---------------------------------------------------------------------- mistakes


class TestMistakes:
    """Each is one line with what to type next, and nothing is written."""

    def render(self, finished, tmp_path, *options, path="fixed"):
        told = fourdgs("render", path, finished, "--out", tmp_path / "out", *options)
        assert files(tmp_path) == []
        return told

    @pytest.mark.parametrize("options", [("--at", 0.2), ("--span", 0.0, 3.0), ("--span", -1.0, 0.1)])
    def test_times_outside_the_clip(self, finished, tmp_path, options):
        assert_one_line_error(
            self.render(finished, tmp_path, *options), "outside the clip, which runs from 0 to 0.100 s"
        )

    def test_unknown_camera(self, finished, tmp_path):
        assert_one_line_error(self.render(finished, tmp_path, "--camera", "9"), "no camera '9'; it has: 0, 3, 1, 2")

    def test_speed_of_nothing(self, finished, tmp_path):
        assert_one_line_error(self.render(finished, tmp_path, "--speed", 0), "--speed is 0")

    def test_truth_where_no_camera_stood(self, finished, tmp_path):
        told = self.render(finished, tmp_path, "--outputs", "truth", path="orbit")
        assert_one_line_error(told, "use the path fixed")

    def test_no_camera_path(self, finished, tmp_path):
        told = self.render(finished, tmp_path, "--file", tmp_path / "none.json", path="camera-path")
        assert_one_line_error(told, "none.json does not exist")

    @pytest.mark.parametrize("command", [("render", "fixed"), ("evaluate",), ("compare", ".")])
    def test_a_run_that_does_not_exist(self, tmp_path, command):
        options = ("--out", tmp_path / "out") if command[0] == "render" else ()
        words = (
            (*command[:1], tmp_path / "no", tmp_path / "no") if command[0] == "compare" else (*command, tmp_path / "no")
        )
        assert_one_line_error(fourdgs(*words, *options), "no does not exist; give the config.yml of a run")

    def test_a_folder_of_runs_names_the_newest(self, run, tmp_path):
        told = fourdgs("evaluate", run.folder.parent)
        assert_one_line_error(told, "is no run but holds 1", str(run.folder))

    def test_a_run_of_another_package(self, tmp_path):
        from nerfstudio.configs.method_configs import method_configs

        (tmp_path / "config.yml").write_text(yaml.dump(method_configs["splatfacto"]))
        assert_one_line_error(fourdgs("evaluate", tmp_path), "is a run of 'splatfacto', not of a fourdgs-ns method")

    def test_a_file_that_is_no_config(self, tmp_path):
        (tmp_path / "config.yml").write_bytes(b"\xff\xfe\x00")
        assert_one_line_error(fourdgs("evaluate", tmp_path), "cannot be read")

    def test_a_run_without_checkpoint(self, finished, tmp_path):
        shutil.copy(finished / "config.yml", tmp_path)
        config = yaml.load((tmp_path / "config.yml").read_text(), Loader=yaml.Loader)
        config.output_dir = tmp_path / "nowhere"
        (tmp_path / "config.yml").write_text(yaml.dump(config))
        assert_one_line_error(fourdgs("evaluate", tmp_path), "has no checkpoint yet")

    def test_a_damaged_checkpoint(self, finished, tmp_path):
        shutil.copytree(finished, tmp_path / "run")
        next((tmp_path / "run" / "nerfstudio_models").iterdir()).write_bytes(b"PK\x03\x04 cut off")
        assert_one_line_error(fourdgs("evaluate", tmp_path / "run"), "no readable checkpoint")

    def test_an_output_that_cannot_be_written(self, finished, tmp_path):
        (tmp_path / "taken").write_text("")
        told = fourdgs("render", "fixed", finished, "--out", tmp_path / "taken" / "out")
        assert_one_line_error(told, "cannot be written")
        told = fourdgs("evaluate", finished, "--output", tmp_path / "taken" / "scores")
        assert_one_line_error(told, "cannot be written")

    def test_comparing_one_run(self, finished):
        assert_one_line_error(fourdgs("compare", finished), "name two or more")
