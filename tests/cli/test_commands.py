"""What all commands of fourdgs-ns share: help from the registries, and a quiet end where the reader leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fourdgs_ns.formats.registry import FORMATS, readable, writable
from tests.cli.run import assert_one_line_error, environment, fourdgs


def test_help_lists_the_formats_of_the_registry(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    export, convert = (" ".join(fourdgs(name, "--help").out.split()) for name in ("export", "convert"))
    for name in writable():
        assert f"{name}: {FORMATS[name].says}" in export and f"{name}: {FORMATS[name].says}" in convert
    source, target = convert.split("--to FORMAT")
    assert all(f"{name}: " in source for name in readable()) and "fudan: " not in target
    assert export.count("(required)") == 2


def test_no_format_names_them(tmp_path):
    assert_one_line_error(fourdgs("export", tmp_path), f"add --format and one of {', '.join(writable())}")


def test_steps_are_named_in_their_order(tmp_path):
    told = fourdgs("process", tmp_path, "--out", tmp_path / "out", "--from", "later")
    assert_one_line_error(
        told, "--from is 'later'; give one of the steps probe, synchronise, extract, calibrate, undistort"
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [("render", "orbit", "--help"), ("doctor",), ("info", "nowhere")])
@pytest.mark.parametrize("errors", [subprocess.PIPE, subprocess.STDOUT])
def test_a_reader_that_leaves_hears_no_complaint(words, errors):
    """As with ``| head`` and ``2>&1 | head``."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.cli.fourdgs", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment(), text=True)
    process.stdout.close()
    told = process.stderr.read() if process.stderr else ""
    code = process.wait(timeout=120)
    if words[0] == "info" and errors == subprocess.PIPE:
        assert code == 1 and told.startswith("error: ")
    else:
        assert (code, told) == (141, "")
