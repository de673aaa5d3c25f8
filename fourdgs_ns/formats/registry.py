"""Every format by name, for commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourdgs_ns.errors import UserError
from fourdgs_ns.formats import (
    fourdgs_file,
    gaussian_ply,
    html,
    npz,
    ply4d,
    ply_sequence,
    spacetime_ply,
    splatv,
)
from fourdgs_ns.formats.options import ExportOptions
from fourdgs_ns.formats.scene import Scene, load_checkpoint


@dataclass(frozen=True)
class Target:
    """A format that can be written."""

    suffix: str
    """Of file names; empty for a folder."""
    write: Callable[[Path, Scene, ExportOptions], list[str]]
    """Returns notes for the user."""


TARGETS: dict[str, Target] = {
    "ply": Target(".ply", gaussian_ply.write),
    "ply-sequence": Target("", ply_sequence.write),
    "spacetime-ply": Target(".ply", spacetime_ply.write),
    "splatv": Target(".splatv", splatv.write),
    "4dgs": Target(".4dgs", fourdgs_file.write),
    "npz": Target(".npz", npz.write),
    "ply4d": Target(".ply", ply4d.write),
    "html": Target(".html", html.write),
}

SOURCES: dict[str, Callable[[Path], Scene]] = {
    "run": load_checkpoint,
    "spacetime-ply": spacetime_ply.read,
    "ply": gaussian_ply.read,
    "splatv": splatv.read,
    "npz": npz.read,
    "ply4d": ply4d.read,
}


def load_scene(path: Path) -> Scene:
    """A run (config.yml, its folder, a checkpoint) or an archive, without the capture it was trained on.

    Raises:
        UserError: neither, or damaged.
    """
    return npz.read(path) if path.suffix == ".npz" else load_checkpoint(path)


def write_scene(path: Path, scene: Scene, name: str, options: ExportOptions) -> list[str]:
    """Check the options and write one format; returns notes for the user.

    Raises:
        UserError: the format is unknown, cannot hold the model, or the file cannot be written.
    """
    if name not in TARGETS:
        raise UserError(f"the format '{name}' is unknown; choose one of {', '.join(TARGETS)}")
    options.check(scene)
    return [*scene.notes, *TARGETS[name].write(path, scene, options)]
