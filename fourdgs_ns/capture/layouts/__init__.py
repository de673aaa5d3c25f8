"""On-disk conventions of captures: one reader per file, and the recognition of which one a folder follows.

To add a layout, write a module with ``name``, ``looks_for``, ``recognizes`` and ``read``, and add it to ``LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts import (
    colmap_rig,
    dnerf,
    dynamic3dgs,
    easyvolcap,
    fdanyone,
    hyfluid,
    immersive,
    n3dv,
    nerfies,
    technicolor,
    transforms,
)
from fourdgs_ns.capture.layouts.sequences import folders_in, listed
from fourdgs_ns.common.errors import UserError


class Layout(Protocol):
    """What a reader module offers."""

    name: str
    """How users call the layout."""
    looks_for: str
    """The files by which it is recognised, for error messages."""

    def recognizes(self, root: Path) -> bool:
        """Whether the folder has the files that mark this layout."""

    def read(self, root: Path) -> Capture:
        """Cameras, frames and calibration of the folder; nothing is decoded.

        Raises:
            UserError: a file is missing, unreadable or contradicts another; the message names file and camera.
        """


LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        *(
            n3dv,
            easyvolcap,
            dynamic3dgs,
            hyfluid,
            technicolor,
            immersive,
            fdanyone,
            nerfies,
            transforms,
            dnerf,
            colmap_rig,
        ),
    )
}
"""Readers in the order in which they are tried."""


def read_capture(root: Path, layout: str | None = None) -> Capture:
    """Read a capture, whatever its layout.

    Args:
        root: folder of the capture.
        layout: one of ``LAYOUTS``, or None to recognise it; the first that fits is taken and a note names the others.

    Raises:
        UserError: no folder, no layout fits, an unknown layout, or what the reader objects to.
    """
    root = Path(root)
    if not root.is_dir():
        found = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {found}; give the folder that holds the videos or frames and their calibration")
    if layout is not None:
        if layout not in LAYOUTS:
            raise UserError(f"there is no layout '{layout}'; choose one of {', '.join(LAYOUTS)}")
        return _read(LAYOUTS[layout], root)
    fitting = [known for known in LAYOUTS.values() if known.recognizes(root)]
    if not fitting:
        raise UserError(_nothing_fits(root))
    capture = _read(fitting[0], root)
    if len(fitting) > 1:
        others = ", ".join(other.name for other in fitting[1:])
        note = f"{root} is read with the layout {fitting[0].name}; it also looks like {others}, choose that by name"
        capture = replace(capture, notes=(note, *capture.notes))
    return capture


def _read(layout: Layout, root: Path) -> Capture:
    try:
        return layout.read(root)
    except OSError as error:  # a folder without permission, a disk that went away
        raise UserError(f"{error.filename or root} cannot be read ({error.strerror}); make it readable") from None


def _nothing_fits(root: Path) -> str:
    wanted = "; ".join(f"{known.name}: {known.looks_for}" for known in LAYOUTS.values())
    holds = listed(sorted(p.name + "/" * p.is_dir() for p in root.iterdir())) or "nothing"
    inner = next((f for f in folders_in(root)[:50] if any(k.recognizes(f) for k in LAYOUTS.values())), None)
    remedy = f"did you mean {inner}?" if inner else "give the folder of the capture, or calibrate the videos first"
    return f"{root} follows no known layout (looked for {wanted}) and holds {holds}; {remedy}"
