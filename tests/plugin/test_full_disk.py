"""A disk that is really full, where one can be made: one true line at every stage, and what was saved before is intact."""

from __future__ import annotations

import subprocess

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.plugin.checkpoints import checkpoints_in
from tests.plugin.tiny import make_config, train, write_capture


@pytest.fixture
def small_disk(tmp_path):
    """Makes disks of a size in KiB."""
    made = []

    def make(name: str, kib: int):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount")
        if done.returncode != 0:
            pytest.skip("only root may mount a disk")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def capture(tmp_path):
    return write_capture(tmp_path / "capture")


def test_a_first_checkpoint_leaves_no_run(capture, small_disk):
    disk = small_disk("outputs", 96)
    with pytest.raises(UserError, match=r"step-\d+.ckpt cannot be written: the disk is full; free some space") as error:
        train(make_config(capture, disk, 4))
    assert "intact" not in str(error.value) and list(disk.iterdir()) == []


def test_a_later_checkpoint_leaves_the_earlier_one(capture, small_disk):
    disk = small_disk("outputs", 300)
    config = make_config(capture, disk, 2000)
    config.steps_per_save, config.save_only_latest_checkpoint = 1, False
    with pytest.raises(UserError, match=r"the disk is full.*step-\d+.ckpt is intact: go on from there with --load-dir"):
        train(config)
    saved = checkpoints_in(config.get_checkpoint_dir())
    assert saved and all(torch.load(path, weights_only=True)["step"] == step for step, path in saved.items())
    assert not list(disk.rglob("*.part"))


def test_the_cache_of_a_capture(capture, small_disk, tmp_path):
    disk = small_disk("capture/.fourdgs", 64)
    with pytest.raises(UserError, match=r"needs .* but the disk of .* free"):
        train(make_config(capture, tmp_path / "out", 4))
    assert not list(disk.rglob("*.rgb")) and not (tmp_path / "out").exists()
