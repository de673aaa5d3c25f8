"""``fourdgs-ns convert``: models of other programs as runs of this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import tyro

from fourdgs_ns.errors import UserError
from fourdgs_ns.formats.imported import ImportOptions

if TYPE_CHECKING:
    from fourdgs_ns.formats.imported import Reader


def readers() -> Mapping[str, Reader]:
    """Readers by the name of their format; a new format is one entry here and in ``Convert.source``."""
    from fourdgs_ns.formats.fudan import read_fudan

    return {"fudan": read_fudan}


@dataclass
class Convert:
    """Turn a model of another program into a run that ns-viewer, ns-render, ns-eval and ns-export open."""

    file: tyro.conf.Positional[Path]
    """File of the model, for instance chkpnt30000.pth. It is read as data: code inside is refused."""
    out: tyro.conf.Positional[Path]
    """Folder to write. It appears only when everything in it is complete."""
    source: Annotated[Literal["fudan"], tyro.conf.arg(name="from")] = "fudan"
    """Format. fudan: checkpoints of the published 4D Gaussian splatting and of its descendants with the same 19 values."""
    data: Optional[Path] = None  # noqa: UP045  (tyro on Python 3.10)
    """Folder of the capture the model was trained on (for N3V the one with transforms_train.json, whose world the model is in):
    Nerfstudio's commands need its cameras. Required."""
    options: tyro.conf.OmitArgPrefixes[ImportOptions] = field(default_factory=ImportOptions)
    """What the file leaves out."""

    def run(self) -> None:
        """Read, check, write, and say what to type next."""
        from rich.console import Console

        from fourdgs_ns.run_folder import check_new, write_run

        console = Console(stderr=True)
        if self.data is None:
            raise UserError(
                "Nerfstudio's commands show a model from the cameras of its capture; add --data with the folder the model was "
                "trained on (its world must be the model's)"
            )
        check_new(self.out)
        clip = capture_clip(self.data)
        with console.status(f"reading {self.file}"):
            model = readers()[self.source](self.file, self.options, clip)
        for note in model.notes:
            console.print(note, highlight=False)
        with console.status(f"writing {self.out}"):
            config = write_run(self.out, model.method, model.representation, model.parameters, model.clip, self.data)
        count = len(model.parameters["means"])
        size = sum(value.numel() * 4 for value in model.parameters.values()) / 1e6
        console.print(f"wrote {count:,} Gaussians ({size:.1f} MB) as a run of {model.method}", highlight=False)
        console.print(
            f"  see it      ns-viewer --load-config {config} --viewer.websocket-host 127.0.0.1\n"
            f"  score it    ns-eval --load-config {config} --output-path {config.parent / 'eval.json'}\n"
            f"  shrink it   fourdgs-ns prune --load-config {config} --keep 0.2",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def capture_clip(data: Path):
    """The clip of the capture in folder ``data``."""
    from fourdgs_ns.data.layouts import read_capture
    from fourdgs_ns.representation.base import Clip

    capture = read_capture(data, None)
    return Clip(capture.num_frames, capture.duration_seconds, int(capture.numbers()[0]))
