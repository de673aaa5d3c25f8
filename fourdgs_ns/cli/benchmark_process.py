"""``fourdgs-ns benchmark-process``: how fast and how exact ``process`` is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class BenchmarkProcess:
    """Record a synthetic scene with known clocks, lenses and poses, process it, and print times and errors."""

    out: Path
    """Folder for the recordings and the capture; it must not exist."""
    cameras: int = 8
    """Recordings."""
    frames: int = 300
    """Of each recording."""
    size: Annotated[tuple[int, int], tyro.conf.arg(metavar="W H")] = (1920, 1080)
    """Width and height in pixels."""
    fps: float = 30.0
    """Frames per second."""
    unique: int = 6
    """Frames that are rendered; the recordings play them forth and back."""

    def run(self) -> None:
        """Record, process, compare, print."""

        from fourdgs_ns.bench.process import benchmark
        from fourdgs_ns.common.errors import UserError

        if self.out.exists():
            raise UserError(f"{self.out} exists already; give --out a folder that does not exist yet")
        if self.cameras < 2 or self.frames < 60 or self.unique < 2:
            raise UserError("a benchmark needs --cameras 2, --frames 60 and --unique 2, or more")
        benchmark(
            self.out,
            cameras=self.cameras,
            frames=self.frames,
            size=self.size,
            fps=self.fps,
            unique=self.unique,
        )
