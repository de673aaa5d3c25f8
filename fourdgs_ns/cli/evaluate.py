"""``fourdgs-ns evaluate``: every score of every held-out view, as files and as heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from fourdgs_ns.common.console import say


@dataclass
class Evaluate:
    """Score a run on its held-out cameras: whole images, moving regions, colours, flicker; per camera and frame."""

    run_path: tyro.conf.Positional[Path]
    """Folder of the run, or its config.yml."""
    output: Path | None = None
    """Folder for evaluation.json, views.csv and heatmap-*.png. Default: evaluation/ in the run's folder."""
    data: Path | None = None
    """Folder of the capture. Default: where it was when the run was trained."""

    def run(self) -> None:
        """Evaluate, write the files, print the means."""

        from fourdgs_ns.evaluation.reports import evaluate_run, score_table

        report, folder = evaluate_run(self.run_path, self.output, self.data)
        say(score_table(report))
        say(f"wrote {folder}: evaluation.json, views.csv, heatmap-*.png")
