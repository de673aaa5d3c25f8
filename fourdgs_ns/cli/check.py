"""``fourdgs-ns check``: whether a capture can train well, before it does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class Check:
    """Look at a capture and say in green, yellow and red what training it can give.

    Cameras, overlap, calibration and synchronisation (epipolar error on what rests and on what moves), exposure, blur, disk,
    memory and minutes. Exit code 1 when something is red.
    """

    capture: Annotated[Path, tyro.conf.Positional]
    """Folder of the capture, in any layout that fourdgs-ns knows."""
    layout: str = "auto"
    """Convention of the folder; auto recognises it."""
    contact_sheet: Path | None = None
    """Where to write the image of all cameras at one frame. Default: contact_sheet.png in the capture's cache."""
    iterations: int = 30_000
    """Of the training whose minutes are predicted."""

    def run(self) -> None:
        """Read, look, print; exit code 1 on red."""

        from fourdgs_ns.capture.layouts import read_capture
        from fourdgs_ns.common.console import remark
        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.common.progress import progress_bar
        from fourdgs_ns.common.workspace import cache_directory
        from fourdgs_ns.process.check import check_capture, print_items

        if self.contact_sheet is not None and self.contact_sheet.exists():
            raise UserError(f"--contact-sheet {self.contact_sheet} exists; give another name, or remove it")
        capture = read_capture(self.capture, None if self.layout == "auto" else self.layout)
        for note in capture.notes:
            remark(note)
        sheet = self.contact_sheet or cache_directory(capture.root) / "contact_sheet.png"
        with progress_bar() as bar:
            task = bar.add_task("checking", total=None)
            items = check_capture(capture, sheet, lambda: bar.advance(task), iterations=self.iterations)
        if print_items(items):
            sys.exit(1)
