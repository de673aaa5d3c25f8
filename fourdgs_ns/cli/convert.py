"""``fourdgs-ns convert``: models of other programs as runs of this package or as other formats."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fourdgs_ns.cli import format_help
from fourdgs_ns.cli.export import make_options, report_size, write_with_progress
from fourdgs_ns.common.console import status
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.text import typed
from fourdgs_ns.formats.import_options import ImportOptions

if TYPE_CHECKING:
    from fourdgs_ns.formats.trained_scene import TrainedScene
    from fourdgs_ns.representation.types import Clip


@dataclass
class Convert:
    """Turn a model of another program into a run that ns-viewer, ns-render and ns-train open, or into another format."""

    source: tyro.conf.Positional[Path]
    """File to read."""
    out: tyro.conf.Positional[Path]
    """File to write, or folder with --to run and ply-sequence."""
    from_: Annotated[str, tyro.conf.arg(name="from", metavar="FORMAT", help_behavior_hint=format_help.read)] = "auto"
    """What the file is; auto recognises it."""
    to: Annotated[str, tyro.conf.arg(metavar="FORMAT", help_behavior_hint=format_help.written)] = "auto"
    """What to write. auto: what the ending of OUT says, a run where it has none."""
    data: Path | None = None
    """--to run: folder of the capture whose cameras Nerfstudio's commands show. Its world must be the model's."""
    time: Annotated[str, tyro.conf.arg(metavar="TIME")] = "0"
    """--to ply: when, in seconds of the clip (0.5), as a frame counted from 0 (12f) or as a share of the clip (50%)."""
    sh_degree: int | None = None
    """Highest degree of view-dependent colour to write. Default: the model's."""
    approximate: bool = False
    """Write the nearest thing where a format cannot hold the model exactly."""
    compressed: bool = False
    """--to npz or html: half precision and codebooks."""
    overwrite: bool = False
    """Replace what is there."""
    imported: tyro.conf.OmitArgPrefixes[ImportOptions] = field(default_factory=ImportOptions)
    """What files leave out."""

    def run(self) -> None:
        """Read, convert, report."""

        to = self.target()
        if to == "run" and self.data is None:
            raise UserError(
                "a run needs the cameras of its capture; add --data with the capture's folder, or another format with --to"
            )
        scene = self.read()
        count = scene.num_gaussians
        status(f"read {count} Gaussians as {scene.method}, {scene.representation.variant}")
        options = make_options(
            scene.clip, self.time, None, self.sh_degree, self.approximate, self.compressed, self.overwrite
        )
        if to == "run":
            assert self.data is not None
            for note in scene.notes:
                status(f"  {note}")
            config = write_as_run(self.out, scene, self.data)
            status(f"wrote a run; see it with: {typed('ns-viewer', '--load-config', config.absolute())}")
            status(f"  train on with: {continuing(scene, config, self.data)}")
            return
        for note in write_with_progress(self.out, scene, to, options):
            status(f"  {note}")
        report_size(self.out)

    def target(self) -> str:
        """Name of the format to write.

        Raises:
            UserError: the ending of the name leaves it open.
        """
        if self.to != "auto":
            return self.to
        from fourdgs_ns.formats.other_splats import named_like, not_written

        other = named_like(self.out)
        if other is not None:
            raise not_written(self.out, other)
        suffix = self.out.suffix.lower()
        if suffix == ".ply":
            raise UserError(f"{self.out} may be one of three PLY formats; add --to ply, spacetime-ply or ply4d")
        return suffix.removeprefix(".") if suffix in (".splatv", ".4dgs", ".npz", ".html") else "run"

    def read(self) -> TrainedScene:
        """The model in the file."""
        from fourdgs_ns.formats.registry import read_scene

        name = recognize(self.source) if self.from_ == "auto" else self.from_
        # Only this format leaves the clip to its capture.
        clip = None if self.data is None or name != "fudan" else capture_clip(self.data)
        return read_scene(self.source, name, self.imported, clip)


def continuing(scene: TrainedScene, config: Path, data: Path) -> str:
    """The command that goes on training a converted model, to be typed anywhere."""
    from fourdgs_ns.plugin.methods import trainer_config

    usual = trainer_config(scene.method)
    options = usual.pipeline.model.representation  # type: ignore[attr-defined]
    changed = [f.name for f in fields(options) if getattr(options, f.name) != getattr(scene.config, f.name)]
    own = [(f"--pipeline.model.representation.{n.replace('_', '-')}", getattr(scene.config, n)) for n in changed]
    models = config.parent.absolute() / "nerfstudio_models"
    return typed(
        *("ns-train", scene.method, "--data", data.absolute(), "--load-dir", models),
        *("--max-num-iterations", usual.max_num_iterations + 2000, *(word for option in own for word in option)),
        *("--pipeline.model.color-correction", False, "multiview-video-data"),
        *("--orientation", "none", "--center", "none", "--scale-scene", False),
    )


def capture_clip(data: Path) -> Clip:
    """The clip of the capture in folder ``data``."""
    from fourdgs_ns.capture.layouts import read_capture
    from fourdgs_ns.representation.types import Clip

    capture = read_capture(data, None)
    return Clip(capture.num_frames, capture.duration_seconds, int(capture.numbers()[0]))


def recognize(path: Path) -> str:
    """Name of a file's format.

    Raises:
        UserError: no file, or nothing that can be converted.
    """
    from fourdgs_ns.formats.identify import describe
    from fourdgs_ns.formats.other_splats import not_read, other_splats
    from fourdgs_ns.formats.registry import format_of, readable

    known = format_of(path) if path.exists() else None
    if known is not None and known.read is not None:
        return known.name
    other = other_splats(path)
    if known is None and other is not None:
        raise not_read(path, other)
    what = describe(path)["what"]
    if known is not None and known.name == "ply-sequence":
        raise UserError(
            f"{path} is {what}; one of its frames can be converted, to a scene that stands still: name that file"
        )
    raise UserError(f"{path} is {what}, which cannot be converted; give one of these: {', '.join(readable())}")


def write_as_run(out: Path, scene: TrainedScene, data: Path) -> Path:
    """Write the scene, in its capture's world, as a run; returns its config.yml."""
    from fourdgs_ns.formats.capture_world import scene_in_capture
    from fourdgs_ns.plugin.run_folder import write_run

    if not data.is_dir():
        raise UserError(f"--data {data} is no folder; give the capture that the model belongs to")
    scene = scene_in_capture(scene)
    return write_run(out, scene.method, scene.config, scene.parameters, scene.clip, data, decoder=scene.decoder)
