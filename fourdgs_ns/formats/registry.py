"""Every format by name, for commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourdgs_ns.common.errors import UserError
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
    uses: frozenset[str]
    """Options that change the file, by their names in ``ExportOptions``; approximate and overwrite concern all."""


TARGETS: dict[str, Target] = {
    "ply": Target(".ply", gaussian_ply.write, frozenset({"time", "sh_degree"})),
    "ply-sequence": Target("", ply_sequence.write, frozenset({"frames", "sh_degree"})),
    "spacetime-ply": Target(".ply", spacetime_ply.write, frozenset({"sh_degree"})),
    "splatv": Target(".splatv", splatv.write, frozenset({"sh_degree"})),
    "4dgs": Target(".4dgs", fourdgs_file.write, frozenset({"sh_degree", "compressed"})),
    "npz": Target(".npz", npz.write, frozenset({"compressed"})),
    "ply4d": Target(".ply", ply4d.write, frozenset({"sh_degree"})),
    "html": Target(".html", html.write, frozenset({"sh_degree", "compressed"})),
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
    if path.is_file() and path.suffix in (".ply", ".splatv", ".html", ".4dgs", ".pth"):
        raise UserError(f"{path} is a file, not a run; fourdgs-ns convert turns files of models into others")
    return npz.read(path) if path.suffix == ".npz" else load_checkpoint(path)


def check_options(scene: Scene, name: str, options: ExportOptions) -> None:
    """Raises UserError for an unknown format, an option that it has no use for, or a value that the scene does not allow."""
    if name not in TARGETS:
        raise UserError(f"the format '{name}' is unknown; choose one of {', '.join(TARGETS)}")
    nothing = ExportOptions()
    for option in ("time", "frames", "sh_degree", "compressed"):
        if getattr(options, option) != getattr(nothing, option) and option not in TARGETS[name].uses:
            users = [target for target in TARGETS if option in TARGETS[target].uses]
            flag = "--" + option.replace("_", "-")
            raise UserError(f"{flag} changes nothing in {name}; leave it away, or choose {' or '.join(users)}")
    options.check(scene)


def write_scene(path: Path, scene: Scene, name: str, options: ExportOptions) -> list[str]:
    """Check the options and write one format; returns notes for the user.

    Raises:
        UserError: the format is unknown, cannot hold the model, or the file cannot be written.
    """
    check_options(scene, name, options)
    return [*scene.notes, *TARGETS[name].write(path, scene, options)]
