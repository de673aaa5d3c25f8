"""A run's folder belongs to one training, and nothing of another training is ever lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import as_user_error
from fourdgs_ns.common.interrupts import interruptible
from fourdgs_ns.plugin.run_owner import owning, release
from tests.plugin.tiny import make_config, train, write_capture


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_capture(tmp_path_factory.mktemp("capture"))


def started(capture, output, **options):
    """The config of a training that has claimed its folder."""
    config = make_config(capture, output, 4)
    for name, value in options.items():
        setattr(config, name, value)
    config.save_config()
    return config


def test_two_trainings_of_one_name_have_two_folders(capture, tmp_path, capsys):
    configs = [started(capture, tmp_path) for _ in range(3)]
    assert [config.timestamp for config in configs] == ["run", "run-2", "run-3"]
    assert all((config.get_base_dir() / "config.yml").exists() for config in configs)
    assert "run belongs to another training; this one is written to" in capsys.readouterr().out
    for config in configs:
        release(config)
    assert not list(tmp_path.rglob("*run*"))  # nothing was trained


def test_a_training_from_a_runs_config_leaves_the_run_alone(capture, tmp_path):
    first = train(make_config(capture, tmp_path, 3))
    before = {path: path.read_bytes() for path in first.base_dir.rglob("*") if path.is_file()}
    again = yaml.load((first.base_dir / "config.yml").read_text(), Loader=yaml.Loader)
    second = train(again)
    assert second.base_dir == first.base_dir.with_name("run-2")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_run_goes_on_in_its_own_folder_and_keeps_what_others_wrote(capture, tmp_path):
    first = train(make_config(capture, tmp_path, 3))
    config = make_config(capture, tmp_path, 5)
    config.steps_per_save = 1
    second = train(config, load_dir=first.checkpoint_dir)
    assert second.base_dir == first.base_dir
    assert sorted(path.name for path in second.checkpoint_dir.iterdir()) == [
        "step-000000002.ckpt",
        "step-000000004.ckpt",
    ]


def test_a_run_that_is_being_trained_is_not_gone_on_with_in_its_folder(capture, tmp_path):
    finished = train(make_config(capture, tmp_path, 3))
    running = started(capture, tmp_path, load_dir=finished.checkpoint_dir)
    with pytest.raises(UserError, match="run is being trained by another process; wait"):
        started(capture, tmp_path, load_dir=finished.checkpoint_dir)
    release(running)
    release(started(capture, tmp_path, load_dir=finished.checkpoint_dir))


def test_a_dead_owner_is_none(capture, tmp_path):
    """Killed before its first checkpoint: the same command begins in the same folder, without what was half-written."""
    code = (
        "import os, sys; from pathlib import Path; from tests.plugin.tiny import make_config; "
        "config = make_config(Path(sys.argv[1]), Path(sys.argv[2]), 4); config.save_config(); "
        "(config.get_base_dir() / f'.step-000000001.ckpt.{os.getpid()}.part').write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, capture, tmp_path], check=False, env={**os.environ, "PYTHONPATH": "."})
    folder = tmp_path / "tiny" / "spacetime-gaussian" / "run"
    assert len(list(folder.glob("*.part"))) == len(list(folder.glob(".*.part"))) == 1
    config = started(capture, tmp_path)
    assert config.get_base_dir() == folder and not list(folder.glob(".*.part"))
    release(config)


@pytest.mark.parametrize("wrong", ["capture", "option"])
def test_failed_starts_leave_no_folder(capture, tmp_path, wrong):
    config = make_config(capture if wrong == "option" else tmp_path / "nowhere", tmp_path / "out", 4)
    config.mixed_precision = wrong == "option"
    with pytest.raises(UserError):
        train(config)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_is_one_line(capture, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        started(capture, tmp_path / "file" / "out")


def test_a_run_whose_folder_is_removed_meanwhile_is_saved_again(capture, tmp_path):
    """TensorBoard is the first to miss it."""
    config = make_config(capture, tmp_path, 2000)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    plain = trainer.train_iteration

    def removing(step):
        if step == 2:
            shutil.rmtree(trainer.base_dir)
        return plain(step)

    trainer.train_iteration = removing
    with pytest.raises(UserError, match=r"run vanished while it was trained; step-\d+.ckpt is intact: go on"):
        trainer.train()
    assert (trainer.base_dir / "config.yml").exists()
    steps = trainer.finished_step + 2
    assert train(make_config(capture, tmp_path, steps), load_dir=trainer.checkpoint_dir).finished_step == steps - 1


def test_an_error_of_the_file_system_is_one_true_line(capture, tmp_path):
    config = started(capture, tmp_path / "out")
    with pytest.raises(UserError, match=r"a/b is missing or vanished meanwhile"), owning(config):
        raise FileNotFoundError(2, "No such file or directory", "a/b")
    assert not (tmp_path / "out").exists()
    assert "the disk is full" in str(as_user_error(OSError(28, "No space left on device")))


def test_an_interrupted_start_names_the_same_command(capture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/bin/ns-train", "freetime", "--data", "the capture", "--vis", "viewer"])
    config = started(capture, Path("out"), data=Path("the capture"))
    with pytest.raises(SystemExit) as stop, owning(config):
        raise KeyboardInterrupt
    assert stop.value.code == 130 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"  ns-train freetime --output-dir {tmp_path}/out --data '{tmp_path}/the capture' --vis viewer"
    )


def test_an_interrupted_training_names_its_checkpoints(capture, tmp_path, monkeypatch, capsys):
    trainer = train(make_config(capture, tmp_path, 3))
    words = ["ns-train", "freetime", "--load_dir", "x", "--output-dir", str(tmp_path), "--load-step=3", "dnerf-data"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit), interruptible(), owning(trainer.config):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"  ns-train freetime --load-dir {trainer.checkpoint_dir} --output-dir {tmp_path} dnerf-data"
    )
