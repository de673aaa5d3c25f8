"""Before Nerfstudio has loaded: only commands about our methods are changed, and a run's folder stands for its config.yml."""

from __future__ import annotations

import sys
import warnings

import pytest
from nerfstudio.utils.rich_utils import CONSOLE

from fourdgs_ns.plugin import command_line

METHODS = ("freetime", "spacetime-gaussian")


@pytest.fixture
def begin(monkeypatch, capsys):
    """Begin a command as typed; returns the words that Nerfstudio then reads, and what was printed."""
    monkeypatch.setattr(CONSOLE, "quiet", False)

    def run(*words: object) -> tuple[list[str], str]:
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with warnings.catch_warnings():
            command_line.begin(METHODS)
        return sys.argv, capsys.readouterr().err

    return run


@pytest.fixture
def run_of(tmp_path):
    def make(package: str):
        folder = tmp_path / "it's a run"
        folder.mkdir()
        (folder / "config.yml").write_text(f"!!python/object:{package}.plugin.trainer.X\n")
        return folder

    return make


def test_a_training_of_ours_says_at_once_that_it_loads(begin):
    _, told = begin("/usr/bin/ns-train", "freetime", "--data", "x")
    assert told == "fourdgs-ns: Nerfstudio is loading, some seconds ...\n" and CONSOLE.quiet


def test_verbose_leaves_nerfstudio_its_voice(begin):
    begin("ns-train", "freetime", "--data", "x", "--verbose", "True")
    assert not CONSOLE.quiet


@pytest.mark.parametrize("words", [("splatfacto", "--data", "x"), ("freetime", "--help"), (), ("--help",)])
def test_other_methods_and_help_are_left_as_they_are(begin, words):
    argv, told = begin("ns-train", *words)
    assert argv == ["ns-train", *words] and told == "" and not CONSOLE.quiet


@pytest.mark.parametrize("command", ["ns-viewer", "ns-eval", "ns-render", "ns-export", "run_viewer.py"])
def test_a_folder_stands_for_its_config(begin, run_of, command):
    folder = run_of("fourdgs_ns")
    argv, told = begin(command, "dataset", "--load-config", folder, "--x")
    assert argv == [command, "dataset", "--load-config", str(folder / "config.yml"), "--x"]
    assert told.startswith("fourdgs-ns: ") and command_line.opened_run() == folder
    assert begin(command, f"--load-config={folder}/")[0] == [command, f"--load-config={folder}/config.yml"]
    assert not CONSOLE.quiet  # what these commands say are their results


def test_runs_of_others_open_silently(begin, run_of):
    folder = run_of("nerfstudio")
    assert begin("ns-viewer", "--load-config", folder / "config.yml") == (
        ["ns-viewer", "--load-config", str(folder / "config.yml")], "",
    )  # fmt: skip


def test_a_training_opens_no_run(begin, run_of):
    """Its checkpoints must not be looked for, nor written, in the run whose options it takes over."""
    folder = run_of("fourdgs_ns")
    assert begin("ns-train", "freetime", "--load-config", folder)[0][-1] == str(folder / "config.yml")
    assert command_line.opened_run() is None


def test_a_folder_that_is_no_run_ends_the_command_in_one_line(begin, run_of, capsys):
    folder = run_of("fourdgs_ns").parent
    with pytest.raises(SystemExit) as stop:
        begin("ns-viewer", "--load-config", folder)
    assert stop.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: --load-config {folder} is no run but holds 1; the newest is {folder}/it's a run")
    assert told.count("\n") == 1
    (folder / "empty").mkdir()
    with pytest.raises(SystemExit):
        begin("ns-eval", "--load-config", folder / "empty")
    assert "holds no config.yml" in capsys.readouterr().err


def test_other_programs_keep_their_words(begin, run_of):
    folder = run_of("fourdgs_ns")
    assert begin("some-tool", "--load-config", folder)[0][-1] == str(folder)
