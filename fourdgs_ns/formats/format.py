"""What a format is: one object in the format's own file, which every command finds through the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.types import Clip, GaussiansAtTime

SliceAt = Callable[[float], GaussiansAtTime]
"""The Gaussians alive at t."""


@dataclass(frozen=True)
class Format:
    """What the rest of the package must know of one format; what is None it cannot."""

    name: str
    """As commands know it."""
    says: str
    """A few words for their help."""
    recognizes: Callable[[Path], bool]
    """Whether a file or folder, which exists, is one; from its first bytes and its header."""
    describe: Callable[[Path], dict[str, str]] | None = None
    """Lines for people: what it is, then method, variant, Gaussians, SH degree, frames, duration, fps, size, if it says so."""
    suffix: str = ""
    """Of file names; empty for a folder."""
    write: Callable[[Path, TrainedScene, ExportOptions], list[str]] | None = None
    """Returns notes for the user."""
    uses: frozenset[str] = frozenset()
    """Options that change the file, by their names in ``ExportOptions``; approximate and overwrite concern all."""
    read: Callable[[Path, ImportOptions, Clip | None], TrainedScene] | None = None
    """The clip is that of the capture the model belongs to, when it is known."""
    slices: Callable[[Path, WorldFromCapture | None], SliceAt] | None = None
    """Gaussians that a written file holds, in the training's world that lies so in the capture's: what ``--score`` renders."""
