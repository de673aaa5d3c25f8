"""config.yml of a run: what trainings write comes back equal, what others put into it is neither imported, called nor made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.densification.registry import STRATEGIES, chosen
from fourdgs_ns.plugin.methods import trainer_config
from fourdgs_ns.plugin.run_config import fits, load_config
from fourdgs_ns.plugin.runs import read_config
from fourdgs_ns.representation.registry import METHODS


@pytest.mark.parametrize("method", list(METHODS))
def test_configs_come_back_equal(method, tmp_path):
    config = trainer_config(method)
    config.data, config.timestamp, config.experiment_name = tmp_path, "2026-01-01_000000", "stage/a b"
    config.pipeline.datamanager.dataparser.eval_cameras = ("0", "3")
    config.viewer.websocket_port = 7008
    assert load_config(yaml.dump(config)) == config
    for variant in METHODS[method].variants.values():
        config.pipeline.model.representation = variant
        assert load_config(yaml.dump(config)) == config
    for name in STRATEGIES:
        config.pipeline.model.densification = chosen(name, {}, config.pipeline.model.densification)
        assert load_config(yaml.dump(config)) == config


def text_with(old: str, new: str) -> str:
    text = yaml.dump(trainer_config("freetime"))
    changed = re.sub(rf"^(\s*){old}.*$", lambda found: found[1] + new, text, count=1, flags=re.MULTILINE)
    assert changed != text
    return changed


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("experiment_name:", "experiment_name: !!python/object/apply:os.system ['touch MARK']", "os.system"),
        ("experiment_name:", "experiment_name: !!python/name:subprocess.Popen ''", "subprocess.Popen"),
        ("experiment_name:", "experiment_name: !!python/module:antigravity ''", "python/module:antigravity"),
        ("experiment_name:", "experiment_name: !!python/object:collections.OrderedDict {}", "collections.OrderedDict"),
        ("experiment_name:", "experiment_name: !!python/object/new:pathlib.PosixPath [x]", "python/object/new"),
        ("experiment_name:", "experiment_name: !!python/object/apply:fourdgs_ns.common.files.write_text [a, b]", "write_text"),
        ("_target:", "_target: !!python/name:os.system ''", "os.system"),
        ("load_step:", "load_step: !!python/object/apply:pathlib.PosixPath [[a]]", "pathlib.PosixPath"),
        ("max_num_iterations:", "max_num_iterations: many", "takes no 'max_num_iterations' of 'many'"),
        ("max_num_iterations:", "max_num_iterations: true", "takes no 'max_num_iterations'"),
        ("max_num_iterations:", "iterations: 5", "takes no 'iterations'"),
        ("vis:", "vis: nothing", "takes no 'vis'"),
        ("method_name:", "method_name: instant-ngp", "instant-ngp"),
    ],
)  # fmt: skip
def test_hostile_and_damaged_configs(tmp_path, monkeypatch, old, new, told):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yml"
    path.write_text(text_with(old, new))
    before = set(sys.modules)
    with pytest.raises(UserError, match=told) as caught:
        read_config(path)
    assert str(path) in str(caught.value) or "instant-ngp" in told
    assert os.listdir(tmp_path) == ["config.yml"] and "antigravity" not in set(sys.modules) - before


@pytest.mark.parametrize("place", [Path("../elsewhere"), Path("/etc")])
def test_a_run_keeps_its_files_in_its_folder(place):
    for change in (
        lambda config: setattr(config, "experiment_name", str(place)),
        lambda config: setattr(config, "timestamp", f"a/{place}" if place.parts[0] == ".." else str(place)),
        lambda config: setattr(config, "relative_model_dir", place),
        lambda config: setattr(config.logging, "relative_log_dir", place),
        lambda config: setattr(config.viewer, "relative_log_filename", str(place)),
    ):
        config = trainer_config("freetime")
        change(config)
        with pytest.raises(UserError, match="outside of the run"):
            load_config(yaml.dump(config))


def test_what_a_config_constructs_is_not_what_the_file_names():
    config = load_config(text_with("_target:", "_target: !!python/name:torch.optim.adam.Adam ''"))
    assert config._target is trainer_config("freetime")._target


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (1, int | None, True), (None, int | None, True), (True, int, False), (1, float, True), ("a", float, False),
        ((1, 2), tuple[int, ...], True), ((1, "a"), tuple[int, ...], False), ((1, 2), tuple[int, int, int], False),
        ([1], list[int], True), ({"a": 1}, dict[str, int], True), ({1: 1}, dict[str, int], False), (Path("a"), Path, True),
    ],
)  # fmt: skip
def test_types_of_values(value, hint, right):
    assert fits(value, hint) is right


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("nerfstudio.scripts.viewer.run_viewer",), ("nerfstudio.scripts.eval",), ("nerfstudio.scripts.train", "freetime"),
        ("nerfstudio.scripts.render", "dataset"), ("nerfstudio.scripts.exporter", "gaussian-splat", "--output-dir", "out"),
    ],
    ids=lambda command: command[0].rsplit(".", 1)[1],
)  # fmt: skip
def test_nerfstudios_commands_do_not_run_what_a_config_names(tmp_path, command):
    new = f"experiment_name: !!python/object/apply:os.system ['touch {tmp_path}/MARK']"
    (tmp_path / "config.yml").write_text(text_with("experiment_name:", new))
    words = [sys.executable, "-W", "ignore", "-m", *command, "--load-config", tmp_path / "config.yml"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False)
    assert not (tmp_path / "MARK").exists()
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "os.system" in errors[0], done.stdout + done.stderr
