"""The one exception that means "the input is wrong", and how it reaches the user as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType

from fourdgs_ns.common.text import printable


class UserError(Exception):
    """A mistake in what the user typed or in their files, never a defect of ours.

    The message is one sentence that names the file, camera or frame, says what was found, and ends with what to do
    or type next. Commands print it without a traceback and exit with code 1.
    """


def report(error: UserError) -> None:
    """Print ``error`` as the single line a user reads."""
    print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)


def install_excepthook() -> None:
    """Make every command that loads this package show a :class:`UserError` as one line.

    Nerfstudio's own commands (``ns-train`` and the others) let exceptions run into Python's hook; all other exceptions
    still go to the hook that was there before.
    """
    previous: Callable = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, UserError):
            report(error)
        else:
            previous(kind, error, trace)

    hook.shows_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
