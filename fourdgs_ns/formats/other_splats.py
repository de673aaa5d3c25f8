"""Files of 3D Gaussians that this package does not read: what they are, and what turns them into a PLY."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes
from fourdgs_ns.common.text import typed
from fourdgs_ns.formats.ply_table import property_names

CONVERTER = ("npx", "@playcanvas/splat-transform")
"""Of PlayCanvas, MIT, on npm; it reads all of these and writes PLY."""


@dataclass(frozen=True)
class OtherSplats:
    """One format."""

    suffix: str
    what: str
    recognizes: Callable[[Path], bool]
    written: bool = False
    """Whether the converter writes it, too."""

    def to_ply(self, path: Path) -> str:
        """The command that makes a PLY of a file."""
        named = path.name.lower().endswith(self.suffix)
        base = path.name[: -len(self.suffix)] if named else f"{path.stem}-read"
        return typed(*CONVERTER, path, path.with_name(f"{base}.ply"))


def _is_spz(path: Path) -> bool:
    """The word NGSP at the beginning, inside of gzip before version 4."""
    start = first_bytes(path)
    if start[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:
                start = file.read(4)
        except (OSError, EOFError, zlib.error):
            return False
    return start[:4] == b"NGSP"


def _is_sog(path: Path) -> bool:
    if first_bytes(path)[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "meta.json" in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


COMPRESSED_PLY = OtherSplats(
    ".compressed.ply", "a .compressed.ply file (SuperSplat's compressed 3D Gaussians)",
    lambda path: "packed_position" in property_names(path), written=True,
)  # fmt: skip
OTHER_SPLATS = (
    OtherSplats(".spz", "a .spz file (Niantic's compressed 3D Gaussians)", _is_spz),
    OtherSplats(".sog", "a .sog file (PlayCanvas's compressed 3D Gaussians)", _is_sog, written=True),
    # Without a magic number: known by their names only.
    OtherSplats(".splat", "a .splat file (antimatter15's 3D Gaussians)", lambda path: False),
    OtherSplats(".ksplat", "a .ksplat file (mkkellogg's compressed 3D Gaussians)", lambda path: False),
    COMPRESSED_PLY,
)


def other_splats(path: Path) -> OtherSplats | None:
    """Which of these a file is: by what it holds, else by its name."""
    if not path.is_file():
        return None
    held = next((known for known in OTHER_SPLATS if known.recognizes(path)), None)
    return held or named_like(path)


def named_like(path: Path) -> OtherSplats | None:
    """Which of these a file's name stands for."""
    return next((known for known in OTHER_SPLATS if path.name.lower().endswith(known.suffix)), None)


def not_read(path: Path, known: OtherSplats) -> UserError:
    """The error for a file to convert."""
    return UserError(f"{path} is {known.what}, which fourdgs-ns does not read; make a PLY of it: {known.to_ply(path)}")


def not_written(path: Path, known: OtherSplats) -> UserError:
    """The error for a file to write."""
    ply = path.with_name(path.name[: -len(known.suffix)] + ".ply")
    then = f", then make that of it: {typed(*CONVERTER, ply, path)}" if known.written else " or another format"
    return UserError(f"{path} would be {known.what}, which fourdgs-ns does not write; write {ply} with --to ply{then}")
