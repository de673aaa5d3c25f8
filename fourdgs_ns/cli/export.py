"""``fourdgs-ns export``: a trained model as a file that other programs open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fourdgs_ns.cli import format_help
from fourdgs_ns.common.console import ERR, status

if TYPE_CHECKING:
    from fourdgs_ns.formats.export_options import ExportOptions
    from fourdgs_ns.representation.types import Clip


@dataclass
class Export:
    """Write a trained model for other programs, in the coordinates of the capture. The capture itself is not needed."""

    source: tyro.conf.Positional[Path]
    """config.yml of a run, the run's folder, a checkpoint, or an .npz that this command wrote."""
    format: Annotated[str, tyro.conf.arg(metavar="FORMAT", help_behavior_hint=format_help.written)] = ""
    """What to write."""
    out: Path | None = None
    """File or, for ply-sequence, folder to write. Default: export/ beside the model."""
    time: Annotated[str, tyro.conf.arg(metavar="TIME")] = "0"
    """ply: when, in seconds of the clip (0.5), as a frame counted from 0 (12f) or as a share of the clip (50%)."""
    frames: str | None = None
    """ply-sequence: part of the clip as start:stop:step, like a Python slice."""
    sh_degree: int | None = None
    """Highest degree of view-dependent colour, 0 to 3. Default: the model's. 0 makes files a quarter of the size."""
    approximate: bool = False
    """Where a format cannot hold the model exactly: write the nearest thing and say what is lost, instead of refusing."""
    compressed: bool = False
    """npz, html: half precision and codebooks, with the error of each attribute and the PSNR. 4dgs: its coarse profile."""
    score: bool = False
    """npz, html: also PSNR on held-out views before and after. The capture must be at hand for that."""
    data: Path | None = None
    """--score: folder of the capture. Default: where it was when the run was trained."""
    overwrite: bool = False
    """Replace what is there."""

    def run(self) -> None:
        """Load, write, report."""

        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.formats.registry import FORMATS, load_scene, writable

        if not self.format:
            raise UserError(f"no format is given; add --format and one of {', '.join(writable())}")
        if self.format not in FORMATS or FORMATS[self.format].write is None:
            raise UserError(f"the format '{self.format}' is unknown; choose one of {', '.join(writable())}")
        target = FORMATS[self.format]
        if self.score and (target.slices is None or self.source.suffix in (".npz", ".ckpt")):
            scored = [name for name in writable() if FORMATS[name].slices is not None]
            raise UserError(f"--score needs the folder of a run and --format {' or '.join(scored)}; leave it away")
        scene = load_scene(self.source)
        out = self.out
        if out is None:
            folder = self.source if self.source.is_dir() else self.source.parent
            # Formats that share a suffix must not overwrite each other.
            own = target.suffix == f".{self.format}"
            name = "scene" if own else f"scene-{self.format}" if target.suffix else self.format
            out = folder / "export" / f"{name}{target.suffix}"
        options = make_options(
            scene.clip, self.time, self.frames, self.sh_degree, self.approximate, self.compressed, self.overwrite
        )
        for note in write_with_progress(out, scene, self.format, options):
            status(f"  {note}")
        report_size(out)
        if self.score:
            from fourdgs_ns.evaluation.held_out import note_on_cost
            from fourdgs_ns.plugin.runs import load_run

            status(note_on_cost(load_run(self.source, data=self.data), out))


def make_options(
    clip: Clip,
    time: str,
    frames: str | None,
    sh_degree: int | None,
    approximate: bool,
    compressed: bool,
    overwrite: bool,
) -> ExportOptions:
    """Options as typed -> what writers take."""
    from fourdgs_ns.capture.frame_range import parse_frames
    from fourdgs_ns.formats.export_options import ExportOptions
    from fourdgs_ns.representation.clip_time import read_time

    t = read_time(time, clip, "--time")
    return ExportOptions(t, parse_frames(frames), sh_degree, approximate, compressed, overwrite)


def write_with_progress(out: Path, scene, name: str, options) -> list[str]:
    """Write one format, with a bar where it takes long."""
    from fourdgs_ns.common.progress import progress_bar
    from fourdgs_ns.formats.registry import write_scene

    with progress_bar(ERR) as progress:
        task = progress.add_task(f"writing {out.name}", total=None)
        options = replace(options, advance=lambda done, total: progress.update(task, completed=done, total=total))
        return write_scene(out, scene, name, options)


def report_size(out: Path) -> None:
    """The line that says what was written."""
    from fourdgs_ns.common.files import size_text

    size = sum(p.stat().st_size for p in ([out] if out.is_file() else out.rglob("*")) if p.is_file())
    status(f"wrote {out} ({size_text(size)})")
