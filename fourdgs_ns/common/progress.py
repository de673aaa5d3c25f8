"""The progress bar of whatever takes a while; rows where there is no terminal to show one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from fourdgs_ns.common.console import OUT, say_on

FIRST_ROW_SECONDS = 2.0
"""What is done sooner has no row between its first and its last."""
ROW_SECONDS = 30.0

_shown: list[Progress] = []
"""The bar on the screen: one inside it, for instance of frames that the first view waits for, is not shown."""


class Pace:
    """When a row is due in a log that nobody watches: at every tenth of the work and at least every half minute, but not within
    two seconds of the last one, and ever more seldom in work of hours."""

    def __init__(self) -> None:
        self.started = self.told = perf_counter()
        self.tenths = 0

    def due(self, share: float) -> bool:
        """Whether a row is due when ``share`` of the work is done; if so, it counts as printed."""
        now, tenths = perf_counter(), int(10 * share)
        waited = now - self.told
        late = waited >= max(ROW_SECONDS, 0.2 * (now - self.started))
        if not late and (tenths == self.tenths or waited < FIRST_ROW_SECONDS):
            return False
        self.told, self.tenths = now, tenths
        return True


def clock_text(seconds: float) -> str:
    """A stretch of time as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Rows(Progress):
    """A bar as rows: at the start, when :class:`Pace` says so and, unless ``transient``, at the end."""

    def __init__(self, console: Console, transient: bool, show: bool) -> None:
        super().__init__(console=console, disable=True)
        self.transient, self.show = transient, show
        self.paces: dict[TaskID, Pace] = {}
        self.last = ""

    def add_task(self, description: str, *args: Any, **options: Any) -> TaskID:
        task = super().add_task(description, *args, **options)
        self.paces[task] = Pace()
        self._tell(self._tasks[task])
        return task

    def update(self, task_id: TaskID, **options: Any) -> None:
        super().update(task_id, **options)
        self._tell_if_due(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell_if_due(task_id)

    def stop(self) -> None:
        for task in [] if self.transient else self.tasks:
            if task.completed:
                self._tell(task)
        # Nothing was started, and older rich ends even that with an empty line.

    def _tell_if_due(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        if self.paces[task_id].due(task.completed / task.total if task.total else 0.0):
            self._tell(task)

    def _tell(self, task: Task) -> None:
        if self.show and task.total != 0:
            count = f"{task.completed:.0f}" + (f"/{task.total:.0f}" if task.total else "")
            told = task.fields.get("told", "")
            left = task.time_remaining
            row = " ".join(filter(None, [task.description, count, told])) + (
                f", {clock_text(left)} left" if left else ""
            )
            if row != self.last:
                say_on(self.console, row)
            self.last = row


@contextmanager
def progress_bar(console: Console = OUT, *, transient: bool = True, show: bool = True) -> Iterator[Progress]:
    """What is done, how much of it, and the time left or, where that is unknown, so far; ``transient``: it goes away when all is
    done.

    A task's field ``told``, if it has one, stands between the count and the time.
    """
    show = show and not _shown
    bar = _bar(console, transient, show) if console.is_terminal else _Rows(console, transient, show)
    if show:
        _shown.append(bar)
    try:
        with bar:
            yield bar
    finally:
        if bar in _shown:
            _shown.remove(bar)


def _bar(console: Console, transient: bool, show: bool) -> Progress:
    one_line = Column(no_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(table_column=one_line),
        _Told(one_line),
        _Time(one_line),
    )
    return Progress(*columns, console=console, transient=transient, disable=not show)


class _Told(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields.get("told", ""))


class _Time(ProgressColumn):
    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = None if task.finished else task.time_remaining
        text = f"{clock_text(task.elapsed or 0)} so far" if left is None else f"{clock_text(left)} left"
        return Text(text, style="progress.remaining")
