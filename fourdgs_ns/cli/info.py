"""``fourdgs-ns info``: what a file is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from fourdgs_ns.common.console import say


@dataclass
class Info:
    """Say what a run, checkpoint, PLY, splatv, 4dgs, npz, html or capture is: method, variant, Gaussians, duration, fps, size. Of
    spz, sog, splat, ksplat and compressed.ply, which are not read, what converts them."""

    file: tyro.conf.Positional[Path]
    """File or folder to look at."""
    json: bool = False
    """Print JSON instead of lines."""

    def run(self) -> None:
        """Look and print."""
        from fourdgs_ns.formats.identify import describe

        lines = describe(self.file)
        if self.json:
            say(json.dumps(lines, indent=2))
            return
        width = max(len(name) for name in lines)
        for name, value in lines.items():
            say(f"{name:<{width}}  {value}")
