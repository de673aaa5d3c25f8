"""What a file is, from its first bytes and its header: nothing is loaded that a header does not ask for."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts import LAYOUTS
from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes
from fourdgs_ns.common.text import typed
from fourdgs_ns.formats.header import size_lines
from fourdgs_ns.formats.other_splats import OTHER_SPLATS, other_splats
from fourdgs_ns.formats.ply_table import read_vertices
from fourdgs_ns.formats.registry import FORMATS, format_of


def describe(path: Path) -> dict[str, str]:
    """Lines for people; see ``Format.describe``.

    Raises:
        UserError: no file, damaged, or nothing that this package knows.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; check the path")
    if path.is_file() and not first_bytes(path):
        raise UserError(f"{path} is empty; copy or export it again")
    known = format_of(path)
    if known is not None:
        return known.describe(path) if known.describe is not None else {"what": known.says, **size_lines(path)}
    if path.is_dir():
        return _capture(path)
    other = other_splats(path)
    if other is not None:
        return {
            "what": f"{other.what}, which fourdgs-ns does not read",
            "to read it": other.to_ply(path),
            **size_lines(path),
        }
    if first_bytes(path)[:3] == b"ply":
        return _other_ply(path)
    others = ", ".join(known.suffix for known in OTHER_SPLATS)
    raise UserError(
        f"{path} is none of the formats that fourdgs-ns knows ({', '.join(FORMATS)}; by name {others}), a capture or a folder of "
        f"PLYs; it begins with {first_bytes(path)[:8]!r}"
    )


def _capture(path: Path) -> dict[str, str]:
    fitting = [known.name for known in LAYOUTS.loaded().values() if known.recognizes(path)]
    if fitting:
        return {"what": f"a capture (layout {fitting[0]})", "note": f"{typed('fourdgs-ns', 'check', path)} says more"}
    inside = listed(sorted(p.name for p in path.iterdir() if not p.name.startswith(".")))
    raise UserError(
        f"{path} is a folder without a run, a PLY sequence or a capture; it holds {inside or 'nothing'}: name one of these"
    )


def _other_ply(path: Path) -> dict[str, str]:
    vertex, _ = read_vertices(path)
    names = vertex.dtype.names or ()
    lines = {"what": "a PLY without Gaussians", "points": str(len(vertex)), "properties": " ".join(sorted(names))}
    return {**lines, **size_lines(path)}
