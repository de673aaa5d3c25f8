"""Where the capture of a run is: as it was when it was trained, or where it was moved to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.plugin.command_line import opened_run

DATA_VARIABLE = "FOURDGS_DATA"
"""Names the capture to Nerfstudio's commands, which have no ``--data``."""


def make_absolute(config: Any) -> Path:
    """Make the paths of a trainer's config hold from every folder; returns that of the capture.

    Raises:
        UserError: it names no capture.
    """
    manager = config.pipeline.datamanager
    parser = manager.dataparser
    if manager.data is None and getattr(parser, "data", Path()) == Path():
        raise UserError(
            f"no capture is given; add --data with its folder: ns-train {config.method_name} --data my_capture"
        )
    config.output_dir = config.output_dir.absolute()
    if config.data is not None:
        config.data = config.data.absolute()
    if manager.data is None:
        parser.data = parser.data.absolute()
        return parser.data
    manager.data = manager.data.absolute()
    return manager.data


def locate_capture(manager: Any, run: Path, data: Path | None, option: str = "--data") -> None:
    """Let ``manager``, a datamanager's config, read the capture where it is now.

    Args:
        run: Folder of the run; relative paths in older configs hold from one of the folders above it.
        data: Where the user says that the capture is.
        option: How the user says so.

    Raises:
        UserError: it is not there.
    """
    stated = Path(manager.dataparser.data if manager.data is None else manager.data)
    if data is None:
        above = (folder / stated for folder in run.absolute().parents)
        data = stated if stated.is_absolute() else next((path for path in above if path.exists()), stated)
        if not data.exists():
            raise UserError(f"the capture of {run}, {data.absolute()}, is not there; say where it is with {option}")
    elif not data.exists():
        raise UserError(f"{option} {data} does not exist; give the folder of the capture that {run} was trained on")
    manager.data = manager.dataparser.data = data.absolute()


def locate_for_command(manager: Any) -> None:
    """:func:`locate_capture` for one of Nerfstudio's commands that open a run; does nothing in others."""
    run, given = opened_run(), os.environ.get(DATA_VARIABLE)
    if run is not None:
        locate_capture(manager, run, Path(given) if given else None, f"{DATA_VARIABLE}=FOLDER before the command")
