"""The one way in which this package speaks to people: results on standard output, what it is doing on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from fourdgs_ns.common.text import printable

WIDTH = 180
"""Of tables where there is no terminal that has a width: rich would cut them to 80 columns."""
READER_LEFT = 141
"""Exit code: 128 and the number of SIGPIPE."""


def close_quietly() -> NoReturn:
    """End the process as programs end whose reader has left (``| head``): without a word, also from buffers that are left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    raise SystemExit(READER_LEFT)


class _Console(Console):
    """Whatever is printed may hold names and paths of others: they neither act on the terminal nor count as markup."""

    def __init__(self, stderr: bool, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        close_quietly()

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def _console(stderr: bool) -> Console:
    console = _Console(stderr)
    return console if console.is_terminal else _Console(stderr, WIDTH)


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
