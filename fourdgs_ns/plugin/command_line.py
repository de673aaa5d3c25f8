"""What the words after ``ns-train`` and its sisters say before Nerfstudio reads them: whether the command is about a method of
this package, which changes what is printed while it loads, and which run it opens.

Imported by the first entry point that Nerfstudio loads, so it imports nothing of Nerfstudio that comes later.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from nerfstudio.utils.rich_utils import CONSOLE

from fourdgs_ns.common.console import status
from fourdgs_ns.common.errors import UserError, report

TRAINING = ("ns-train", "train")
OPENING = ("ns-viewer", "ns-eval", "ns-render", "ns-export", "run_viewer", "eval", "render", "exporter")
"""Commands that open a run, and the modules behind them."""
OPTIONS = ("--load-config", "--load_config")
CONFIG = "config.yml"


def begin(methods: tuple[str, ...]) -> None:
    """Show that a command about ``methods`` lives, keep it readable, and let ``--load-config`` be a run's folder."""
    _name_config()
    if not _is_about(methods):
        return
    warnings.filterwarnings("ignore", category=FutureWarning, module="nerfstudio")
    if "--help" in sys.argv or "-h" in sys.argv:
        return
    quiet_nerfstudio(_command() in TRAINING and "--verbose" not in sys.argv)
    status("fourdgs-ns: Nerfstudio is loading, some seconds ...")


def quiet_nerfstudio(quiet: bool) -> None:
    """Whether Nerfstudio's own log is off: its configuration, its folders, its warnings about loggers."""
    CONSOLE.quiet = quiet


def opened_run() -> Path | None:
    """Folder of the run that one of Nerfstudio's commands opens; None in all other commands, also ``ns-train --load-config``."""
    place = _place() if _command() in OPENING else None
    return None if place is None else Path(_value(place)).absolute().parent


def _command() -> str:
    return Path(sys.argv[0]).stem if sys.argv else ""


def _is_about(methods: tuple[str, ...]) -> bool:
    if _command() in TRAINING:
        return sys.argv[1:2] != [] and sys.argv[1] in methods
    run = opened_run()
    if run is None:
        return False
    try:
        return "fourdgs_ns.plugin" in (run / CONFIG).read_text("utf8", "replace")
    except OSError:
        return False


def _place() -> int | None:
    """Where in ``sys.argv`` the value of ``--load-config`` stands, alone or behind its option."""
    for i, word in enumerate(sys.argv):
        if word in OPTIONS and i + 1 < len(sys.argv):
            return i + 1
        if word.startswith(tuple(f"{option}=" for option in OPTIONS)):
            return i
    return None


def _value(place: int) -> str:
    word = sys.argv[place]
    return word.partition("=")[2] if word.startswith("--") else word


def _name_config() -> None:
    """A folder after ``--load-config`` becomes the config.yml in it; one that holds none ends the command."""
    place = _place()
    if place is None or _command() not in (*TRAINING, *OPENING) or not os.path.isdir(_value(place)):
        return
    folder = Path(_value(place))
    if not (folder / CONFIG).is_file():
        below = sorted(folder.glob(f"**/{CONFIG}"), key=lambda file: file.stat().st_mtime)
        what = f"is no run but holds {len(below)}; the newest is {below[-1].parent}" if below else f"holds no {CONFIG}"
        report(UserError(f"--load-config {folder} {what}; give the folder of a run, or the {CONFIG} in it"))
        sys.exit(1)
    sys.argv[place] = sys.argv[place].removesuffix(_value(place)) + str(folder / CONFIG)
