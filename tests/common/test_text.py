"""Names of others neither act on a terminal nor on a shell, and are not taken for markup."""

from __future__ import annotations

import os
import subprocess

import pytest
from rich.table import Table

from fourdgs_ns.common.console import remark, say, status, warn
from fourdgs_ns.common.errors import UserError, report
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.common.text import printable, typed

HOSTILE = "a\x1b[2Jb\x1b]0;t\x07c\r\x9bd\u202ee\udc80f"
SHOWN = "a\\x1b[2Jb\\x1b]0;t\\x07c\\r\\x9bd\\u202ee\\udc80f"
MARKED = "[red]x[/red] [/] :smile: [link=http://a]b"


def test_what_acts_on_a_terminal_is_written_out():
    assert printable(HOSTILE) == SHOWN
    assert printable("Kamera 1 é 日本\n\tx") == "Kamera 1 é 日本\n\tx"


@pytest.mark.parametrize("speak", [say, warn, remark, status])
def test_sentences(speak, capsys):
    speak(f"{HOSTILE} {MARKED}")
    told = capsys.readouterr()
    assert f"{SHOWN} {MARKED}\n" in told.out + told.err and "\x1b" not in told.out + told.err


def test_errors(capsys):
    report(UserError(f"{HOSTILE} is odd"))
    assert f"error: {SHOWN.replace(chr(92) + 'r', ' ')} is odd" in capsys.readouterr().err


def test_tables_with_hostile_titles_headers_and_cells(capsys):
    table = Table(title=f"T{HOSTILE}{MARKED}", caption=MARKED)
    table.add_column(f"H{MARKED}")
    table.add_row(f"{HOSTILE}{MARKED}")
    say(table)
    told = capsys.readouterr().out
    assert "\x1b" not in told and "\x9b" not in told
    assert told.count("\\x1b[2J") == 2 and told.count("[red]x[/red] [/] :smile:") == 4


def test_bars(capsys):
    with progress_bar(transient=False) as bar:
        bar.add_task(f"writing {MARKED}{HOSTILE}", total=1, completed=1)
    told = capsys.readouterr().out
    assert f"writing {MARKED}a\\x1b" in told and "\x1b]" not in told


WORDS = [
    "a b",
    "it's",
    'q"q',
    "$(touch x)",
    "`id`",
    "-rf",
    "*",
    "~",
    "",
    "a\nb",
    "\x1b[31m",
    "é",
    "\\",
    "x\ty",
    "a'\x07b",
    "!1",
]


def test_printed_commands_are_taken_apart_into_their_words():
    line = typed("printf", "%s\\0", *WORDS)
    assert line.isprintable()
    told = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert told.decode().split("\0")[:-1] == WORDS


def test_a_name_that_is_no_utf8_is_typed_as_its_bytes(tmp_path):
    name = os.fsdecode(b"cam\xff\x80.mp4")
    line = typed("printf", "%s", name)
    assert line.isascii()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == b"cam\xff\x80.mp4"
