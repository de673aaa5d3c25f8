"""Runs a reader on one file and tells how it ended, and what it did beside reading."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from fourdgs_ns.common.errors import UserError

from .bait import EVENT

SECONDS = 8.0
"""Right inputs of this size take milliseconds."""
MAX_GROWTH = 400 << 20
"""Bytes of resident memory that a file of some kilobytes may cost."""
MAX_ADDRESSES = 6 << 30
"""Bytes of address space above what the process has: what is beyond must fail, not fill the machine."""
RUNS = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "subprocess.Popen",
    "pty.spawn",
    EVENT,
}
CHANGES = {
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "shutil.rmtree",
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Hang(BaseException):
    """No ``except Exception`` of a reader may swallow it."""


@dataclass
class Outcome:
    """How one attempt ended."""

    end: str
    """clear line, accepted, traceback or hang."""
    detail: str = ""
    outside: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    grown: int = 0
    """Bytes by which the peak of the process rose."""

    @property
    def faults(self) -> list[str]:
        """What must never happen."""
        found = [f"{self.end}: {self.detail}"] if self.end in ("traceback", "hang") else []
        found += [f"wrote outside: {name}" for name in self.outside] + [f"executed: {what}" for what in self.executed]
        return found + ([f"took {self.grown >> 20} MB"] if self.grown > MAX_GROWTH else [])


class _Watch:
    """One audit hook for the process; it looks only while ``allowed`` is set."""

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.outcome = Outcome("")
        sys.addaudithook(self.see)

    def see(self, event: str, arguments: tuple) -> None:
        if self.allowed is None:
            return
        if event in RUNS:
            self.outcome.executed.append(f"{event} {str(arguments)[:60]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
            self._change(arguments[0])
        elif event in CHANGES:
            self._change(arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0])

    def _change(self, path: Any) -> None:
        allowed, self.allowed = self.allowed, None  # what follows opens files itself
        try:
            name = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""
            ours = name.startswith(f"{allowed}{os.sep}") or name == str(allowed)
            if name and not ours and name != os.devnull and "__pycache__" not in name:
                self.outcome.outside.append(name)
        finally:
            self.allowed = allowed


_watch: list[_Watch] = []


def _stop(number: int, frame: FrameType | None) -> None:
    raise Hang


def attempt(read: Callable[[Path], Any], path: Path, allowed: Path) -> Outcome:
    """Run ``read(path)``, which may write below ``allowed`` only."""
    if not _watch:
        _watch.append(_Watch())
    watch = _watch[0]
    outcome = watch.outcome = Outcome("accepted")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_ADDRESSES, limits[1]))
    previous = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    watch.allowed = allowed
    try:
        read(path)
    except UserError as error:
        outcome.end, outcome.detail = "clear line", str(error)
    except Hang:
        outcome.end, outcome.detail = "hang", _where()
    except Exception as error:
        outcome.end, outcome.detail = "traceback", f"{type(error).__name__}: {str(error)[:160]} at {_where()}"
    finally:
        watch.allowed = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    outcome.grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return outcome


def _where() -> str:
    """The innermost lines of this package on the way to the exception at hand."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "fourdgs_ns" in f.filename]
    return " < ".join(reversed(ours[-3:]))
