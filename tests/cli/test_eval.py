"""ns-eval: its JSON against scores computed from the PNG files of the capture."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict

import cv2
import numpy as np
import pytest
import torch
import yaml

from tests.cli.run import assert_one_line_error, files, typed
from tests.plugin.tiny import FRAMES, HEIGHT, WIDTH


@pytest.fixture(scope="module")
def results(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    told = typed(
        *("ns-eval", "--load-config", run.config, "--output-path", folder / "scores" / "eval.json"),
        *("--render-output-path", folder / "images"),
    )
    assert told.code == 0, told.text
    return {**json.loads((folder / "scores" / "eval.json").read_text())["results"], "images": folder / "images"}


def captured(run, camera: str, frame: int) -> np.ndarray:
    """The capture's own image, RGB in [0, 1]."""
    return cv2.imread(str(run.capture / "ims" / camera / f"{frame:06d}.png"))[..., ::-1].astype(np.float64) / 255


def test_scores_of_every_view_follow_from_the_files(run, pipeline, results):
    dataset = pipeline.datamanager.eval_dataset
    seen = defaultdict(set)
    for view in range(len(dataset)):
        camera, frame = dataset.camera_name(view), dataset.frame_number(view)
        with torch.no_grad():
            rendered = (
                pipeline.model.get_outputs_for_camera(dataset.cameras[view : view + 1])["rgb"].cpu().double().numpy()
            )
        error = ((rendered - captured(run, camera, frame)) ** 2).mean()
        scores = results["per_view"][camera][str(frame)]
        assert scores["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
        assert -1 <= scores["ssim"] <= 1
        seen[camera].add(frame)
    assert seen == {"0": {0, 1, 2, 3}, "3": {0, 1, 2, 3}}


@pytest.mark.parametrize("score", ["psnr", "ssim"])
def test_means_agree(results, score):
    views = {camera: [v[score] for v in frames.values()] for camera, frames in results["per_view"].items()}
    for camera, values in views.items():
        assert results["per_camera"][camera][score] == pytest.approx(np.mean(values))
    everything = np.concatenate(list(views.values()))
    assert len(everything) == 2 * FRAMES
    assert results[score] == pytest.approx(everything.mean())
    assert results[f"{score}_std"] == pytest.approx(everything.std())


def test_images_show_truth_and_render_side_by_side(run, results):
    names = [f"{camera}/{frame:06d}.png" for camera in ("0", "3") for frame in range(FRAMES)]
    assert files(results["images"]) == names
    pair = cv2.imread(str(results["images"] / "3" / "000002.png"))
    assert pair.shape == (HEIGHT, 2 * WIDTH, 3)
    np.testing.assert_array_equal(pair[:, :WIDTH], cv2.imread(str(run.capture / "ims" / "3" / "000002.png")))


def test_number_of_gaussians(pipeline, results):
    assert results["gaussians"] == pipeline.model.num_points


def test_a_capture_that_moved_is_one_line(run, tmp_path):
    config = yaml.load(run.config.read_text(), Loader=yaml.Loader)
    config.pipeline.datamanager.data = tmp_path / "moved"
    (tmp_path / "config.yml").write_text(yaml.dump(config))
    told = typed("ns-eval", "--load-config", tmp_path / "config.yml", "--output-path", tmp_path / "eval.json")
    assert_one_line_error(told, "moved, is not there; say where it is with FOURDGS_DATA=FOLDER")


def test_other_files_beside_the_checkpoint_do_not_matter(run, results, tmp_path):
    """Nor does the step that the training itself went on from."""
    config = yaml.load(run.config.read_text(), Loader=yaml.Loader)
    config.output_dir, config.load_step = tmp_path, 3
    moved = shutil.copytree(run.folder, config.get_base_dir())
    (moved / "config.yml").write_text(yaml.dump(config))
    for name in (".DS_Store", "step-foo.ckpt", "step-000000099.ckpt.part"):
        (moved / "nerfstudio_models" / name).write_text("stray")
    told = typed("ns-eval", "--load-config", moved / "config.yml", "--output-path", tmp_path / "eval.json")
    assert told.code == 0, told.text
    assert json.loads((tmp_path / "eval.json").read_text())["results"]["psnr"] == pytest.approx(results["psnr"])
