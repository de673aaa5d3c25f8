"""Runs Nerfstudio's commands as they are typed: in this process where that is faithful, in a real one where it matters."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

SCRIPTS = {
    "ns-train": "nerfstudio.scripts.train",
    "ns-eval": "nerfstudio.scripts.eval",
    "ns-render": "nerfstudio.scripts.render",
    "ns-export": "nerfstudio.scripts.exporter",
    "ns-viewer": "nerfstudio.scripts.viewer.run_viewer",
}
CLOSED_PROXY = "http://127.0.0.1:9"
"""Makes downloads fail at once: tests need no network and must not wait for one."""


@dataclass(frozen=True)
class Outcome:
    """What the shell would see of one command."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything printed, with the line breaks that rich puts into long lines taken out."""
        return " ".join((self.out + " " + self.err).split())


def typed(*words: object) -> Outcome:
    """Run a command such as ``("ns-eval", "--load-config", path)`` in this process.

    Parsing, exit codes and the exception hook are those of a real process; only importing Nerfstudio again is saved.
    """
    from fourdgs_ns.plugin.command_line import begin, quiet_nerfstudio
    from fourdgs_ns.representation.registry import METHODS

    command, *arguments = map(str, words)
    entry_point = importlib.import_module(SCRIPTS[command]).entrypoint
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with mock.patch.object(sys, "argv", [command, *arguments]):
                quiet_nerfstudio(False)
                begin(tuple(METHODS))  # what our entry points do in a new process
                entry_point()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except Exception:
            sys.excepthook(*sys.exc_info())  # what the interpreter does before it exits with 1
            code = 1
    return Outcome(code, out.getvalue(), err.getvalue())


def fourdgs(*words: object) -> Outcome:
    """Run ``fourdgs-ns`` in this process."""
    from fourdgs_ns.cli.main import entry_point

    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            entry_point([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


def command_line(*words: object) -> list[str]:
    """The same command for a process of its own."""
    command, *arguments = map(str, words)
    return [sys.executable, "-W", "ignore", "-m", SCRIPTS[command], *arguments]


def environment(**extra: str) -> dict[str, str]:
    """The environment of such a process."""
    return {**os.environ, "https_proxy": CLOSED_PROXY, "PYTHONUNBUFFERED": "1", **extra}


def in_a_process(*words: object, **extra: str) -> Outcome:
    """Run a command in a process of its own; ``extra`` are environment variables."""
    done = subprocess.run(
        command_line(*words), capture_output=True, text=True, timeout=300, env=environment(**extra), check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def assert_one_line_error(outcome: Outcome, *phrases: str) -> None:
    """Exit code 1, exactly one line that starts with ``error:``, no traceback, and the phrases in that line."""
    lines = [line for line in (outcome.out + outcome.err).splitlines() if line.startswith("error:")]
    assert outcome.code == 1, outcome.text
    assert "Traceback" not in outcome.text, outcome.text
    assert len(lines) == 1, outcome.text
    for phrase in phrases:
        assert phrase in lines[0]


def without_lpips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nerfstudio's own methods build LPIPS with themselves, whose weights would be downloaded: theirs says 0 from here on."""

    class Nothing(torch.nn.Module):
        def __init__(self, **options: object) -> None:
            super().__init__()

        def forward(self, *images: torch.Tensor) -> torch.Tensor:
            return torch.tensor(0.0)

    stub = SimpleNamespace(LearnedPerceptualImagePatchSimilarity=Nothing)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", stub)  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    """Paths of all files under ``folder``, relative to it and sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
