"""On-disk conventions of captures and calibrations: one reader per file, and which one a folder follows.

To add a layout, write a module that ends with a :class:`Layout` and add that to ``LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts import (
    aniposelib,
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
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.sequences import folders_in, listed
from fourdgs_ns.common.errors import UserError

_ALL: tuple[Layout, ...] = (
    n3dv.LAYOUT,
    easyvolcap.LAYOUT,
    aniposelib.LAYOUT,
    dynamic3dgs.LAYOUT,
    hyfluid.LAYOUT,
    technicolor.LAYOUT,
    immersive.LAYOUT,
    fdanyone.LAYOUT,
    nerfies.LAYOUT,
    transforms.LAYOUT,
    dnerf.LAYOUT,
    colmap_rig.LAYOUT,
)
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _ALL}
"""Readers in the order in which they are tried."""


def capture_layouts() -> list[str]:
    """Names of the layouts that hold captures, not calibrations only."""
    return [layout.name for layout in LAYOUTS.values() if layout.read is not None]


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
        if layout not in capture_layouts():
            raise UserError(f"there is no layout '{layout}'; choose one of {', '.join(capture_layouts())}")
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
    assert layout.read is not None, layout.name
    try:
        return layout.read(root)
    except OSError as error:  # a folder without permission, a disk that went away
        raise UserError(f"{error.filename or root} cannot be read ({error.strerror}); make it readable") from None


def _nothing_fits(root: Path) -> str:
    wanted = "; ".join(f"{known.name}: {known.looks_for}" for known in LAYOUTS.values() if known.read is not None)
    holds = listed(sorted(p.name + "/" * p.is_dir() for p in root.iterdir())) or "nothing"
    inner = next((f for f in folders_in(root)[:50] if any(k.recognizes(f) for k in LAYOUTS.values())), None)
    remedy = f"did you mean {inner}?" if inner else "give the folder of the capture, or calibrate the videos first"
    return f"{root} follows no known layout (looked for {wanted}) and holds {holds}; {remedy}"
