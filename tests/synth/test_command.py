"""The command ``fourdgs-ns synth`` from its arguments to files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tyro

from fourdgs_ns.cli.synth import Synth
from fourdgs_ns.common.errors import UserError


def test_arguments_reach_the_files(tmp_path, capsys):
    line = f"--out {tmp_path / 'a'} --cameras 2 --frames 3 --size 64 48 --fps 24 --scene studio --layout transforms"
    tyro.cli(Synth, args=[*line.split(), "--seed", "3", "--no-ground-truth", "--samples", "4"]).run()
    record = json.loads((tmp_path / "a" / "synth.json").read_text())
    assert record["scene"] == "studio" and record["seed"] == 3 and record["fps"] == 24.0
    assert (record["width"], record["height"], record["cameras"], record["frames"]) == (64, 48, 2, 3)
    assert len(list((tmp_path / "a" / "frames" / "cam01").iterdir())) == 3
    assert not (tmp_path / "a" / "ground_truth").exists()
    assert "6/6" in capsys.readouterr().err


def test_mistakes_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="odd"):
        tyro.cli(Synth, args=["--out", str(tmp_path / "a"), "--size", "63", "48"]).run()


def test_importing_the_command_is_cheap():
    code = "import sys, fourdgs_ns.cli.synth; print([m for m in ('numba', 'torch', 'cv2', 'av') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
