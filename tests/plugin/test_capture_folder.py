"""A run finds its capture from every folder and after it was moved, or says in one line how to tell it where it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.plugin.capture_folder import locate_capture, locate_for_command, make_absolute
from fourdgs_ns.plugin.methods import trainer_config


@pytest.fixture
def config():
    return trainer_config("freetime")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project with a capture and a run in it; the current folder is another one."""
    (tmp_path / "project" / "captures" / "stage").mkdir(parents=True)
    (tmp_path / "project" / "outputs" / "a" / "run").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def test_what_is_typed_relatively_is_kept_absolutely(config, place, monkeypatch):
    monkeypatch.chdir(place)
    config.data = config.pipeline.datamanager.data = Path("captures/stage")
    make_absolute(config)
    assert config.data == config.pipeline.datamanager.data == place / "captures" / "stage"
    assert config.output_dir == place / "outputs"


def test_a_folder_given_to_the_dataparser_counts(config, place, monkeypatch):
    monkeypatch.chdir(place)
    config.pipeline.datamanager.dataparser.data = Path("captures/stage")
    make_absolute(config)
    assert config.pipeline.datamanager.dataparser.data == place / "captures" / "stage"


def test_no_capture_names_the_option(config):
    with pytest.raises(UserError, match="no capture is given; add --data with its folder: ns-train freetime --data"):
        make_absolute(config)


def test_relative_paths_of_older_runs_hold_from_a_folder_above_the_run(config, place):
    manager = config.pipeline.datamanager
    manager.data = Path("captures/stage")
    locate_capture(manager, place / "outputs" / "a" / "run", None)
    assert manager.data == manager.dataparser.data == place / "captures" / "stage"


def test_a_capture_that_was_moved_is_asked_for_and_taken(config, place):
    manager = config.pipeline.datamanager
    manager.data = place / "captures" / "old"
    run = place / "outputs" / "a" / "run"
    with pytest.raises(
        UserError, match=r"the capture of .*run, .*captures/old, is not there; say where it is with --data"
    ):
        locate_capture(manager, run, None)
    with pytest.raises(UserError, match="--data nowhere does not exist"):
        locate_capture(manager, run, Path("nowhere"))
    locate_capture(manager, run, Path("../project/captures/stage"))
    assert manager.data.is_absolute() and manager.data.samefile(place / "captures" / "stage")


def test_nerfstudios_commands_are_told_by_a_variable(config, place, monkeypatch):
    manager, run = config.pipeline.datamanager, place / "outputs" / "a" / "run"
    manager.data = place / "captures" / "old"
    locate_for_command(manager)  # no such command is running
    monkeypatch.setattr(sys, "argv", ["ns-viewer", "--load-config", str(run / "config.yml")])
    with pytest.raises(UserError, match="say where it is with FOURDGS_DATA=FOLDER before the command"):
        locate_for_command(manager)
    monkeypatch.setenv("FOURDGS_DATA", str(place / "captures" / "stage"))
    locate_for_command(manager)
    assert manager.data == place / "captures" / "stage"
