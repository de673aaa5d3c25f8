"""The line that shows that a training lives."""

from __future__ import annotations

from contextlib import ExitStack
from time import perf_counter

from rich.progress import Progress

from fourdgs_ns.common.progress import progress_bar

EVERY_SECONDS = 0.2


class LiveLine:
    """Steps, held-out PSNR, Gaussians, rate and time left of a training: a line that changes on a terminal, rows elsewhere.

    Nothing is shown before :meth:`open` and after :meth:`close`.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._bar: Progress | None = None
        self._shown = 0.0
        self._psnr: float | None = None

    def open(self, first: int, total: int) -> None:
        """``first``: steps that an earlier training has done; ``total``: all that there will be."""
        self._bar = self._open.enter_context(progress_bar())
        self._bar.add_task("training", total=total, completed=first)

    def score(self, psnr: float) -> None:
        """What held-out views have come to, in dB."""
        self._psnr = psnr

    def step(self, done: int, gaussians: int) -> None:
        """After each step: how many are done now, and how many Gaussians there are."""
        now = perf_counter()
        if self._bar is None or now - self._shown < EVERY_SECONDS:
            return
        self._shown, (task,) = now, self._bar.tasks
        held_out = "" if self._psnr is None else f"held out {self._psnr:.2f} dB, "
        rate = f", {task.speed:.1f} it/s" if task.speed else ""
        self._bar.update(task.id, completed=done, told=f"{held_out}{gaussians:,} Gaussians{rate}")

    def close(self) -> None:
        """The line goes away."""
        self._open.close()
        self._bar = None
