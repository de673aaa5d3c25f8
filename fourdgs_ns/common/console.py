"""The one way in which this package speaks to people: results on standard output, what it is doing on standard error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from fourdgs_ns.common.text import printable

WIDTH = 180
"""Of tables where there is no terminal that has a width: rich would cut them to 80 columns."""


class _Console(Console):
    """Whatever is printed may hold names and paths of others: they neither act on the terminal nor count as markup."""

    def __init__(self, stderr: bool, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

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
