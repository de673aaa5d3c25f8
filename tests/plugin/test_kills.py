"""A training that is killed at any moment, started again, ends as the unbroken one: bit for bit, for every method."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fourdgs_ns.capture.frames import building
from fourdgs_ns.plugin import datamanager
from fourdgs_ns.plugin.checkpoints import checkpoints_in
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainer
from tests.plugin.test_resume import assert_equal, everything
from tests.plugin.tiny import METHODS, make_config, tiny_surroundings, train, write_capture

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
STEPS = 14


def kill_self(*args: object, **kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(calls: int, function: Callable) -> Callable:
    """``function``, but the process is killed at the call after so many."""
    count = iter(range(calls + 1))

    def counted(*args: object, **kwargs: object) -> object:
        return kill_self() if next(count) == calls else function(*args, **kwargs)

    return counted


def half_written(calls: int) -> Callable:
    """``torch.save`` that is killed in the middle of a file."""
    save, count = torch.save, iter(range(calls + 1))

    def saving(state: object, told) -> None:
        save(state, told)
        if next(count) == calls:
            told.file.truncate(told.file.tell() // 2)
            kill_self()

    return saving


STAGES = {
    "points": (datamanager, "starting_points", lambda: kill_self, 0),
    "decoding": (building, "write_at", lambda: after(6, building.write_at), 0),
    "before the first checkpoint": (
        DynamicGaussiansTrainer, "train_iteration", lambda: after(2, DynamicGaussiansTrainer.train_iteration), 0,
    ),
    "between checkpoints": (
        DynamicGaussiansTrainer, "train_iteration", lambda: after(10, DynamicGaussiansTrainer.train_iteration), 9,
    ),
    "while a checkpoint is written": (torch, "save", lambda: half_written(1), 5),
    "last evaluation": (DynamicGaussiansPipeline, "score", lambda: after(1, DynamicGaussiansPipeline.score), STEPS),
}  # fmt: skip
"""What is replaced by what, and how many steps are saved then."""


def config_of(capture: Path, output: Path, method: str):
    config = make_config(capture, output, STEPS, method)
    config.steps_per_save = 4
    return config


@pytest.fixture(scope="module", autouse=True)
def surroundings():
    with tiny_surroundings():
        yield


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture"))


@pytest.fixture(scope="module", params=METHODS)
def unbroken(request, capture, tmp_path_factory):
    """The method, and the state after a whole training."""
    return request.param, everything(train(config_of(capture, tmp_path_factory.mktemp("whole"), request.param)))


@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_started_again(capture, tmp_path, unbroken, stage):
    method, whole = unbroken
    shutil.rmtree(capture / ".fourdgs", ignore_errors=True)
    owner, name, make, saved = STAGES[stage]
    config = config_of(capture, tmp_path, method)
    child = os.fork()
    if child == 0:
        try:
            setattr(owner, name, make())
            train(config)
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    again = config_of(capture, tmp_path, method)
    found = checkpoints_in(again.get_checkpoint_dir())
    assert (max(found) + 1 if found else 0) == saved
    if found:
        again.load_dir = again.get_checkpoint_dir()
    trainer = train(again)
    assert trainer.config.timestamp == "run" and trainer.finished_step == STEPS - 1
    assert_equal(whole, everything(trainer))
    assert (trainer.base_dir / "scores.json").exists() and not list(trainer.base_dir.rglob("*.part"))
