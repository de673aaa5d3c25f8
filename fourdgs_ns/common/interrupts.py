"""Ctrl-C and SIGTERM: at every stage the same way out, soon, with nothing half-written and one command that goes on.

Python looks for signals between two of its instructions only, which a long call into compiled code, or a pool that waits for its
workers, may be far from. A thread that sleeps until a signal comes ends the process then.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType

from fourdgs_ns.common.console import status
from fourdgs_ns.common.files import discard_begun
from fourdgs_ns.common.typed_command import typed_again

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_CODE = 130
PATIENCE = 1.3
"""Seconds that everything which is under way gets to end by itself."""


class _Way:
    """How this process leaves when it is interrupted."""

    going_on: Callable[[], str] = staticmethod(typed_again)
    """The command that goes on; see :func:`go_on_with`."""
    stop: Callable[[], None] | None = None
    """What the first signal does instead of raising KeyboardInterrupt; see :func:`stopping_gently`."""
    asked = False
    """A signal has come."""
    told = False
    """The way on has been printed."""
    sender: socket.socket | None = None
    """Where the system announces signals."""


def go_on_with(command: Callable[[], str]) -> None:
    """Have ``command()`` told as the one that goes on; until then it is the one that was typed."""
    _Way.going_on = staticmethod(command)


@contextmanager
def stopping_gently(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block the first signal calls ``stop``, which ends it soon with all work kept; a second one does not wait."""
    before, _Way.stop = _Way.stop, stop
    try:
        yield
    finally:
        _Way.stop = before


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn an interrupt of the block into the line that tells how to go on, and exit code 130."""
    undo = honour_interrupts()
    try:
        yield
    except KeyboardInterrupt:
        _exit_in_order()
        raise SystemExit(EXIT_CODE) from None
    finally:
        if not is_own_process():
            undo()


def tell_way_on(reason: str = "Interrupted; nothing was left half-written.") -> None:
    """Print, once, ``reason`` and the command that goes on."""
    if not _Way.told:
        _Way.told = True
        status(_sentence(reason))


def _sentence(reason: str) -> str:
    return f"\n{reason} Go on with:\n  {_Way.going_on()}"


def honour_interrupts() -> Callable[[], None]:
    """From now on both signals are Ctrl-C. Returns what undoes it; nothing is done twice, or outside the main thread."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _on_signal:
        return lambda: None
    _Way.asked = _Way.told = False
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # in the background of a shell, or under nohup
            signal.signal(number, _on_signal)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    _Way.sender = sender
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(receiver,), name="interrupts", daemon=True).start()

    def undo() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        sender.close()  # ends the thread
        _Way.going_on, _Way.stop = staticmethod(typed_again), None

    return undo


def honour_interrupts_of_process() -> None:
    """The same until the process ends, where it is one of the commands; what no block turned into exit code 130 the hook does."""
    if not is_own_process() or getattr(sys.excepthook, "tells_way_on", False):
        return
    honour_interrupts()
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            _exit_in_order()
        previous(kind, error, trace)

    hook.tells_way_on = True  # type: ignore[attr-defined]
    hook.shows_user_errors = getattr(previous, "shows_user_errors", False)  # type: ignore[attr-defined]
    sys.excepthook = hook


def _exit_in_order() -> None:
    """All blocks have been left: a process of ours ends here, as tearing down torch and its threads may take seconds."""
    tell_way_on()
    if is_own_process():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(EXIT_CODE)


def is_own_process() -> bool:
    """Whether this process is one of the commands, not one that calls them."""
    main = sys.modules.get("__main__")
    module = getattr(getattr(main, "__spec__", None), "name", "")
    name = Path(getattr(main, "__file__", None) or "").name
    return module.startswith(("nerfstudio.scripts", "fourdgs_ns.")) or name.startswith(("ns-", "fourdgs-ns"))


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _Way.asked:
        _leave()
    _Way.asked = True
    if _Way.stop is None:
        raise KeyboardInterrupt
    _Way.stop()


def _watch(receiver: socket.socket) -> None:
    with receiver:
        while sent := receiver.recv(1):
            if sent[0] in SIGNALS:
                break
        else:
            return
        receiver.setblocking(False)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            time.sleep(0.02)
            if _Way.stop is not None:
                end = max(end, time.monotonic() + PATIENCE / 2)
            with suppress(BlockingIOError):
                if (sent := receiver.recv(1)) == b"":
                    return
                if sent[0] in SIGNALS:
                    break
    _leave()


def _leave() -> None:
    discard_begun()
    if not _Way.told:
        # Past everything that may be locked by whom this ends.
        with suppress(OSError):
            os.write(2, (_sentence("Interrupted; nothing was left half-written.") + "\n").encode(errors="replace"))
    os._exit(EXIT_CODE)
