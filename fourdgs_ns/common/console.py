"""The one way in which this package speaks to people: results on standard output, what it is doing on standard error."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.markup import escape

WIDTH = 180
"""Of tables where there is no terminal that has a width: rich would cut them to 80 columns."""


def _console(stderr: bool) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH)


OUT, ERR = _console(False), _console(True)
"""For progress bars; sentences and tables go through the functions below."""


def say(message: RenderableType = "", *, markup: bool = False) -> None:
    """Print a result: a sentence, whose lines are never broken, or a table. With ``markup`` [bold] and the like are obeyed."""
    _print(OUT, message, markup, None)


def warn(sentence: str) -> None:
    """Print a sentence that should not be overlooked, among the results."""
    _print(OUT, sentence, False, "yellow")


def remark(sentence: str) -> None:
    """Print a remark on a result."""
    say(f"[yellow]note:[/yellow] {escape(sentence)}", markup=True)


def status(sentence: str) -> None:
    """Print what is going on, or what was written where."""
    _print(ERR, sentence, False, None)


def _print(console: Console, message: RenderableType, markup: bool, style: str | None) -> None:
    plain = isinstance(message, str)
    console.print(message, style=style, markup=markup, highlight=False, emoji=False, soft_wrap=plain)
