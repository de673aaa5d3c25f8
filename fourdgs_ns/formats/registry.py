"""The formats by name. A format is one file in this folder and one entry here, or one file and one entry point elsewhere."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.registry import Registry
from fourdgs_ns.formats.capture_world import rounding
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.representation.types import Clip

FORMATS: Registry[Format] = Registry(
    "format",
    Format,
    "fourdgs_ns.formats",
    # Files are recognised in this order.
    {
        "run": "fourdgs_ns.formats.run:FORMAT",
        "fudan": "fourdgs_ns.formats.fudan:FORMAT",
        "ply": "fourdgs_ns.formats.gaussian_ply:FORMAT",
        "ply-sequence": "fourdgs_ns.formats.ply_sequence:FORMAT",
        "html": "fourdgs_ns.formats.html:FORMAT",
        "splatv": "fourdgs_ns.formats.splatv:FORMAT",
        "spacetime-ply": "fourdgs_ns.formats.spacetime_ply:FORMAT",
        "4dgs": "fourdgs_ns.formats.fourdgs_file:FORMAT",
        "npz": "fourdgs_ns.formats.npz:FORMAT",
        "ply4d": "fourdgs_ns.formats.ply4d:FORMAT",
    },
)


def format_of(path: Path) -> Format | None:
    """The format of a file or folder, which exists; None for what is none."""
    return next((known for known in FORMATS.loaded().values() if known.recognizes(path)), None)


def readable() -> list[str]:
    """Names of the formats that can be read."""
    return [name for name, known in FORMATS.loaded().items() if known.read is not None]


def writable() -> list[str]:
    """Names of the formats that can be written."""
    return [name for name, known in FORMATS.loaded().items() if known.write is not None]


def read_scene(path: Path, name: str, options: ImportOptions, clip: Clip | None) -> TrainedScene:
    """Read one format.

    Raises:
        UserError: the format is unknown or only written, or the file is damaged or another one.
    """
    read = FORMATS.named(name).read
    if read is None:
        raise UserError(f"{path} is {name}, which cannot be converted; give one of these: {', '.join(readable())}")
    return read(path, options, clip)


def load_scene(path: Path) -> TrainedScene:
    """A run (config.yml, its folder, a checkpoint) or an archive, without the capture it was trained on.

    Raises:
        UserError: neither, or damaged.
    """
    known = format_of(path) if path.is_file() else None
    if known is not None and known.name not in ("run", "npz"):
        raise UserError(f"{path} is a file, not a run; fourdgs-ns convert turns files of models into others")
    return read_scene(path, "run" if known is None else known.name, ImportOptions(), None)


def check_options(scene: TrainedScene, name: str, options: ExportOptions) -> None:
    """Raises UserError for an unknown format, an option that it has no use for, or a value that the scene does not allow."""
    known = FORMATS.get(name)
    if known is None or known.write is None:
        raise UserError(f"the format '{name}' is unknown; choose one of {', '.join(writable())}")
    nothing = ExportOptions()
    for option in ("time", "frames", "sh_degree", "compressed"):
        if getattr(options, option) != getattr(nothing, option) and option not in known.uses:
            users = [target for target in writable() if option in FORMATS[target].uses]
            flag = "--" + option.replace("_", "-")
            raise UserError(f"{flag} changes nothing in {name}; leave it away, or choose {' or '.join(users)}")
    options.check(scene)


def write_scene(path: Path, scene: TrainedScene, name: str, options: ExportOptions) -> list[str]:
    """Check the options and write one format; returns notes for the user.

    Raises:
        UserError: the format is unknown, cannot hold the model, or the file cannot be written.
    """
    check_options(scene, name, options)
    write = FORMATS[name].write
    assert write is not None
    return [*scene.notes, *write(path, scene, options), *([] if name == "npz" else rounding(scene))]
