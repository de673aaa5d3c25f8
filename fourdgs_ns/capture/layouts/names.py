"""Names of cameras. They become names of files and words of commands, so a capture of others may not choose them freely."""

from __future__ import annotations

import re

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.text import UNPRINTABLE

MAX_LENGTH = 120
REFUSED = re.compile(rf"[/\\'\"`\n\t{UNPRINTABLE}]")


def check_names(capture: Capture) -> None:
    """Refuse names that are paths, hold quotes or control characters, or are no name at all.

    Raises:
        UserError: the message names the camera.
    """
    for name in (camera.name for camera in capture.cameras):
        if REFUSED.search(name) or name.strip() in ("", ".", "..") or len(name.encode()) > MAX_LENGTH:
            raise UserError(
                f"{capture.root} has a camera called {name[:60]!r}, which cannot be the name of a file; rename it with letters, "
                "digits, spaces, dots, - and _"
            )
