"""A training whose GPU memory runs out ends in one line, and what it saved is whole. A stand-in raises where a GPU would."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.plugin import model
from fourdgs_ns.plugin.checkpoints import check_checkpoint
from fourdgs_ns.rasterization import render
from fourdgs_ns.training import memory
from fourdgs_ns.viewer.inspector import Inspector
from tests.plugin.tiny import make_config, train, write_capture
from tests.training.test_memory import GB, out_of_memory


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("memory") / "capture")


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(memory, "gpu_memory", lambda: (1 * GB, 24 * GB, 20 * GB))


def after(calls: int, function):
    """``function`` for some calls, then no memory."""
    left = iter(range(calls))

    def stand_in(*args, **kwargs):
        return function(*args, **kwargs) if next(left, None) is not None else out_of_memory()

    return stand_in


def fails(config) -> str:
    with pytest.raises(memory.OutOfMemory) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_in_a_step_and_the_checkpoint_before_it_is_whole(capture, tmp_path, monkeypatch):
    config = make_config(capture, tmp_path, 12)
    config.steps_per_save = 3
    monkeypatch.setattr(render, "render_at", after(8, render.render_at))
    line = fails(config)
    assert "ran out while rendering: " in line and "2 image(s) of 48x32" in line and "--load-dir" in line
    folder = config.get_base_dir() / "nerfstudio_models"
    (saved,) = folder.iterdir()
    check_checkpoint(saved)
    assert saved.name in line and not list(config.get_base_dir().glob("*.part"))


def test_in_the_backward_pass(capture, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "backward", out_of_memory)
    line = fails(make_config(capture, tmp_path, 4))
    assert "while training: 300 Gaussians" in line and "2 image(s) of 48x32" in line
    assert "--load-dir" not in line, "nothing was saved yet"


def test_while_gaussians_are_added(capture, tmp_path, monkeypatch):
    monkeypatch.setattr("fourdgs_ns.densification.gradient.edit_rows", out_of_memory)
    line = fails(make_config(capture, tmp_path, 12))
    assert "while Gaussians were added after step 5" in line and "max-gaussians" in line


def test_while_held_out_views_are_scored(capture, tmp_path, monkeypatch):
    monkeypatch.setattr(model.DynamicGaussiansModel, "get_image_metrics_and_images", out_of_memory)
    assert "while a held-out view was scored" in fails(make_config(capture, tmp_path, 2))


def test_in_the_viewer_which_goes_on(capture, tmp_path, monkeypatch):
    pipeline = train(make_config(capture, tmp_path, 2)).pipeline
    pipeline.eval()
    inspector, camera = (
        Inspector(pipeline.gaussians, pipeline.datamanager.train_dataset, pipeline.datamanager.eval_dataset),
        pipeline.datamanager.eval_dataset.cameras[0:1],
    )
    monkeypatch.setattr(render, "render_at", after(0, render.render_at))
    image = inspector.render(camera)["rgb"]
    assert image.shape == (32, 48, 3) and not bool(image.any())
    assert "GPU memory ran out while rendering" in inspector.statistics.refusal
    monkeypatch.undo()
    assert bool(inspector.render(camera)["rgb"].any()) and inspector.statistics.refusal == ""


def test_a_training_plans_with_the_memory_that_is_free(capture, tmp_path, monkeypatch, capsys):
    config = make_config(capture, tmp_path, 4)
    config.pipeline.model.densification.max_gaussians = 1_000_000
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    assert config.pipeline.model.densification.max_gaussians == 1_000_000, "nothing to plan on the CPU"
    monkeypatch.setattr(memory, "gpu_memory", lambda: (GB // 10, 24 * GB, 0))
    trainer.device = "cuda"
    trainer.plan_memory()
    allowed = trainer.pipeline.gaussians.densifier.config.max_gaussians
    assert 10_000 < allowed < 100_000
    assert f"at most {allowed:,} Gaussians instead of 1,000,000" in " ".join(capsys.readouterr().out.split())
    assert 0 < trainer.pipeline.datamanager.reserved_bytes <= GB // 10
