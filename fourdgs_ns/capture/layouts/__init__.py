"""On-disk conventions of captures and calibrations: one reader per file, and which one a folder follows.

A layout is one file in this folder that ends with a :class:`Layout` and one entry here, or a file and an entry point elsewhere.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.label_masks import with_label_masks
from fourdgs_ns.capture.layouts.layout import Layout
from fourdgs_ns.capture.layouts.names import check_names
from fourdgs_ns.capture.layouts.plausibility import doubts
from fourdgs_ns.capture.layouts.sequences import folders_in, listed
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.registry import Registry

LAYOUTS: Registry[Layout] = Registry(
    "layout",
    Layout,
    "fourdgs_ns.layouts",
    # Folders are recognised in this order.
    {
        "n3dv": "fourdgs_ns.capture.layouts.n3dv:LAYOUT",
        "easyvolcap": "fourdgs_ns.capture.layouts.easyvolcap:LAYOUT",
        "aniposelib": "fourdgs_ns.capture.layouts.aniposelib:LAYOUT",
        "dynamic3dgs": "fourdgs_ns.capture.layouts.dynamic3dgs:LAYOUT",
        "hyfluid": "fourdgs_ns.capture.layouts.hyfluid:LAYOUT",
        "technicolor": "fourdgs_ns.capture.layouts.technicolor:LAYOUT",
        "immersive": "fourdgs_ns.capture.layouts.immersive:LAYOUT",
        "4danyone": "fourdgs_ns.capture.layouts.fdanyone:LAYOUT",
        "nerfies": "fourdgs_ns.capture.layouts.nerfies:LAYOUT",
        "transforms": "fourdgs_ns.capture.layouts.transforms:LAYOUT",
        "dnerf": "fourdgs_ns.capture.layouts.dnerf:LAYOUT",
        "colmap-rig": "fourdgs_ns.capture.layouts.colmap_rig:LAYOUT",
    },
)


def capture_layouts() -> list[str]:
    """Names of the layouts that hold captures, not calibrations only."""
    return [layout.name for layout in LAYOUTS.loaded().values() if layout.read is not None]


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
    fitting = [known for known in LAYOUTS.loaded().values() if known.recognizes(root)]
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
        capture = with_label_masks(layout.read(root))
    except OSError as error:  # a folder without permission, a disk that went away
        raise UserError(f"{error.filename or root} cannot be read ({error.strerror}); make it readable") from None
    check_names(capture)
    return replace(capture, notes=(*capture.notes, *doubts(capture)))


def _nothing_fits(root: Path) -> str:
    wanted = "; ".join(
        f"{known.name}: {known.looks_for}" for known in LAYOUTS.loaded().values() if known.read is not None
    )
    holds = listed(sorted(p.name + "/" * p.is_dir() for p in root.iterdir())) or "nothing"
    inner = next((f for f in folders_in(root)[:50] if any(k.recognizes(f) for k in LAYOUTS.loaded().values())), None)
    remedy = f"did you mean {inner}?" if inner else "give the folder of the capture, or calibrate the videos first"
    return f"{root} follows no known layout (looked for {wanted}) and holds {holds}; {remedy}"
