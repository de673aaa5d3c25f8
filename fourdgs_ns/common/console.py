"""The one way in which this package speaks to people: results on standard output, what it is doing on standard error."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from rich.console import Console, RenderableType
from rich.markup import escape

WIDTH = 180
"""Of tables where there is no terminal that has a width: rich would cut them to 80 columns."""
READER_LEFT = 141
"""Exit code: 128 and the number of SIGPIPE."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        close_quietly()


def close_quietly() -> NoReturn:
    """End the process as programs end whose reader has left (``| head``): without a word, also from buffers that are left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    raise SystemExit(READER_LEFT)


def _console(stderr: bool) -> Console:
    console = _Console(stderr=stderr)
    return console if console.is_terminal else _Console(stderr=stderr, width=WIDTH)


OUT, ERR = _console(False), _console(True)
"""For progress bars; sentences and tables go through the functions below."""


def say(message: RenderableType = "", *, markup: bool = False) -> None:
    """Print a result: a sentence, whose lines are never broken, or a table. With ``markup`` [bold] and the like are obeyed."""
    say_on(OUT, message, markup)


def warn(sentence: str) -> None:
    """Print a sentence that should not be overlooked, among the results."""
    say_on(OUT, sentence, style="yellow")


def remark(sentence: str) -> None:
    """Print a remark on a result."""
    say(f"[yellow]note:[/yellow] {escape(sentence)}", markup=True)


def status(sentence: str) -> None:
    """Print what is going on, or what was written where."""
    say_on(ERR, sentence)


def say_on(console: Console, message: RenderableType, markup: bool = False, style: str | None = None) -> None:
    """Print on one of the two consoles; see :func:`say`."""
    plain = isinstance(message, str)
    console.print(message, style=style, markup=markup, highlight=False, emoji=False, soft_wrap=plain)
