"""Results go to standard output as they are, what is going on to standard error, and one bar is shown at a time."""

from __future__ import annotations

import subprocess
import sys

from rich.table import Table

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


def test_a_bar_counts_and_one_inside_it_is_not_shown(capsys):
    with progress_bar(transient=False) as outer:
        outer.add_task("outer", total=3, completed=3)
        with progress_bar(transient=False) as inner:
            inner.add_task("inner", total=3)
    with progress_bar(transient=False, show=False) as hidden:
        hidden.add_task("hidden", total=3)
    told = capsys.readouterr().out
    assert "outer" in told and "3/3" in told and "left" in told and "inner" not in told and "hidden" not in told


def test_speaking_needs_no_nerfstudio():
    code = (
        "import sys, fourdgs_ns.common.progress, fourdgs_ns.training.perceptual; assert 'nerfstudio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
