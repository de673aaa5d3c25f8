"""Names of cameras. They become names of files and words of commands, so a capture of others may not choose them freely."""

from __future__ import annotations

import re

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.text import UNPRINTABLE

MAX_LENGTH = 120
REFUSED = re.compile(rf"[/\\'\"`\n\t{UNPRINTABLE}]")


def is_name(name: str) -> bool:
    """Whether a camera may be called so: no path, no quotes, no control characters, not too long for a file."""
    return not REFUSED.search(name) and name.strip() not in ("", ".", "..") and len(name.encode()) <= MAX_LENGTH


def check_names(capture: Capture) -> None:
    """Refuse a capture with a camera whose name is none.

    Raises:
        UserError: the message shows the name.
    """
    for camera in capture.cameras:
        if not is_name(camera.name):
            raise UserError(
                f"{capture.root} has a camera called {camera.name[:60]!r}, which cannot be the name of a file; rename it with "
                "letters, digits, spaces, dots, - and _"
            )
