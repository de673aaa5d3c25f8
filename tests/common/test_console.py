"""Results go to standard output as they are, what is going on to standard error, and one bar is shown at a time."""

from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fourdgs_ns.common import progress
from fourdgs_ns.common.console import remark, say, status, warn
from fourdgs_ns.common.progress import progress_bar


def test_sentences_arrive_unchanged(capsys):
    line = "/tmp/[bold]run :smile:/" + 40 * " long words"
    for speak in (say, warn):
        speak(line)
    status(line)
    remark(line)
    say("[bold]x[/bold]", markup=True)
    told = capsys.readouterr()
    assert told.out == f"{line}\n{line}\nnote: {line}\nx\n" and told.err == f"{line}\n"


def test_tables_are_not_cut_where_there_is_no_terminal(capsys):
    table = Table()
    for _ in range(8):
        table.add_column("a column of width")
    say(table)
    assert capsys.readouterr().out.count("a column of width") == 8


def test_a_bar_counts_and_one_inside_it_is_not_shown():
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress_bar(screen, transient=False) as outer:
        outer.add_task("outer", total=3, completed=3, told="[of] 7 MB")
        with progress_bar(screen, transient=False) as inner:
            inner.add_task("inner", total=3)
    with progress_bar(screen, transient=False, show=False) as hidden:
        hidden.add_task("hidden", total=3)
    told = screen.file.getvalue()
    assert "outer" in told and "3/3" in told and "[of] 7 MB" in told and "0:00 so far" in told
    assert "inner" not in told and "hidden" not in told


def test_a_training_fits_into_one_line_of_a_narrow_terminal():
    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress_bar(screen, transient=False) as bar:
        told = "held out 28.94 dB, 43,336 Gaussians, 6.2 it/s"
        bar.add_task("training", total=2000, completed=1234, told=told)
    last = Text.from_ansi(screen.file.getvalue()).plain.splitlines()[-1]
    assert last.startswith("training ") and "1234/2000" in last and told in last and "so far" in last


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until a test moves it."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "perf_counter", lambda: now.seconds)
    return now


def test_without_a_terminal_a_bar_is_a_few_rows(capsys, clock):
    with progress_bar(transient=False) as outer:
        task = outer.add_task("outer", total=300)
        with progress_bar() as inner:
            inner.add_task("inner", total=3)
        for done in range(300):
            clock.seconds += 0.1
            outer.update(task, completed=done + 1, told="MB")
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "outer 0/300" and rows[-1].startswith("outer 300/300 MB")
    assert 10 <= len(rows) <= 12


def test_what_is_done_at_once_has_a_row_at_its_start_only(capsys):
    with progress_bar() as bar:
        for _ in bar.track(range(50), description="quick"):
            pass
    with progress_bar() as nothing:
        nothing.add_task("nothing to do", total=0)
    assert capsys.readouterr().out == "quick 0/50\n"


@pytest.mark.parametrize("hours, most", [(0.01, 12), (0.5, 35), (10, 60), (200, 80)])
def test_work_of_hours_has_a_few_dozen_rows(clock, hours, most):
    pace, rows, steps = progress.Pace(), [], 20_000
    for step in range(steps):
        clock.seconds += hours * 3600 / steps
        if pace.due(step / steps):
            rows.append(clock.seconds)
    assert 9 <= len(rows) <= most
    assert min(np.diff(rows)) >= 1.9


def test_a_stall_is_told_after_half_a_minute(clock):
    pace = progress.Pace()
    assert not pace.due(0.001)
    clock.seconds += 31
    assert pace.due(0.001) and not pace.due(0.001)


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (61.9, "1:01"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert progress.clock_text(seconds) == text


def test_speaking_needs_no_nerfstudio():
    code = (
        "import sys, fourdgs_ns.common.progress, fourdgs_ns.training.perceptual; assert 'nerfstudio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
