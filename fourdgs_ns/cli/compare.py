"""``fourdgs-ns compare``: the scores of several runs in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from fourdgs_ns.common.console import say, warn


@dataclass
class Compare:
    """Compare runs by their scores on held-out cameras; runs without an up-to-date evaluation are evaluated first."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of two or more runs, or their config.yml files."""
    output: Path | None = None
    """CSV file for the table."""
    data: Path | None = None
    """Folder of the capture. Default: where it was when the runs were trained."""

    def run(self) -> None:
        """Evaluate what is missing, print the table, write it."""

        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.evaluation.reports import comparison_table, evaluated, unlike_views, write_rows

        if len(self.runs) < 2:
            raise UserError(f"{len(self.runs)} run is given; name two or more folders of runs to compare")
        reports = [evaluated(path, self.data) for path in self.runs]
        names = [report["run"] for report in reports]
        if len(set(names)) < len(names):
            names = [str(path) for path in self.runs]
        rows = {
            name: {
                **report["mean"],
                **_fastest(report),
                "gaussians": report["gaussians"],
                "megabytes": report["megabytes"],
            }
            for name, report in zip(names, reports)
        }
        say(comparison_table(rows))
        for sentence in unlike_views(dict(zip(names, reports))):
            warn(sentence)
        if self.output is not None:
            write_rows(self.output, [{"run": name, **scores} for name, scores in rows.items()])
            say(f"wrote {self.output}")


def _fastest(report: Mapping[str, Any]) -> dict[str, float]:
    """The scores of the fastest tenth of frames that a comparison shows."""
    fastest = report["fastest"]
    return {f"{score}_fastest": fastest[score] for score in ("psnr", "ssim", "psnr_moving") if score in fastest}
