"""``fourdgs-ns convert-capture``: the same capture in another layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fourdgs_ns.common.console import remark, say


@dataclass
class ConvertCapture:
    """Write a capture of fixed cameras in another layout, for other tools. Frames are linked, not encoded again."""

    capture: Annotated[Path, tyro.conf.Positional]
    """Folder of the capture, in any layout that fourdgs-ns knows."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write; it must not exist."""
    to: Literal["easyvolcap", "n3dv", "transforms"] = "transforms"
    """easyvolcap: intri.yml, extri.yml and images or videos. n3dv: poses_bounds.npy. transforms: transforms.json."""
    layout: str = "auto"
    """Convention of the capture; auto recognises it."""
    calibration: Path | None = None
    """Lenses and poses to write instead of the capture's own: refined_cameras.json of a training, or what process
    --calibration reads. Initial points are then left out: they lie where the old calibration put them."""

    def run(self) -> None:
        """Read, write, report."""

        from fourdgs_ns.capture.layouts import read_capture
        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.common.files import appearing
        from fourdgs_ns.common.progress import progress_bar
        from fourdgs_ns.process.convert_capture import convert_capture, recalibrated

        capture = read_capture(self.capture, None if self.layout == "auto" else self.layout)
        if self.out.exists():
            raise UserError(f"{self.out} exists already; give a folder that does not exist yet")
        if self.calibration is not None:
            capture = recalibrated(capture, self.calibration)
        with progress_bar() as bar, appearing(self.out) as partial:
            task = bar.add_task("cameras", total=len(capture.cameras))
            notes = convert_capture(capture, partial, self.to, lambda: bar.advance(task))
        for note in (*capture.notes, *notes):
            remark(note)
        say(f"wrote {self.out}: {len(capture.cameras)} cameras as {self.to}")
