"""The progress bar of whatever takes a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fourdgs_ns.common.console import OUT

_shown: list[Progress] = []
"""The bar on the screen: one inside it, for instance of frames that the first view waits for, is not shown."""


@contextmanager
def progress_bar(
    console: Console = OUT, *, transient: bool = True, show: bool = True, speed: ProgressColumn | None = None
) -> Iterator[Progress]:
    """What is done, how much of it, the time so far and the time left; ``transient``: it goes away when all is done.

    ``speed``: a column between the count and the times.
    """
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *([] if speed is None else [speed]),
        TimeElapsedColumn(),
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=transient,
        disable=not show or bool(_shown),
    )
    if not bar.disable:
        _shown.append(bar)
    try:
        with bar:
            yield bar
    finally:
        if bar in _shown:
            _shown.remove(bar)
