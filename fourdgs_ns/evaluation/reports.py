"""Evaluations as files: JSON, CSV, heat maps, and tables on the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import kept_json, make_folder, write_text
from fourdgs_ns.evaluation.evaluate import evaluate_pipeline
from fourdgs_ns.evaluation.heat_map import LOWER_IS_BETTER, heat_map
from fourdgs_ns.plugin.checkpoints import latest_checkpoint
from fourdgs_ns.plugin.runs import LoadedRun, find_config, load_run, read_config
from fourdgs_ns.plugin.summary import size_of
from fourdgs_ns.rendering.sequence import write_png

HEAT_MAPS = ("psnr", "psnr_moving", "ssim", "lpips", "flicker")
NEUTRAL_SCORES = ("moving", "change", "fps", "gaussians", "megabytes")
"""Columns in which neither high nor low is better, or that depend on the machine."""


def evaluate_run(path: Path, output: Path | None = None, data: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Evaluate the run at ``path`` and write evaluation.json, views.csv and heatmap-<score>.png into ``output``.

    ``data``: where the capture is now, if it was moved.

    Returns what is in the JSON, and the folder.

    Raises:
        UserError: no such run, or the folder cannot be written.
    """
    config = find_config(path)
    folder = config.parent / "evaluation" if output is None else output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file; give a folder")
    make_folder(folder)  # before the long work, not after it
    run = load_run(path, data=data)
    report: dict[str, Any] = {
        "run": run.name,
        "data": str(run.pipeline.datamanager.eval_dataset.capture.root.resolve()),
        "step": run.step,
        "checkpoint_bytes": run.checkpoint.stat().st_size,
        "megabytes": size_of(run.pipeline.gaussians)["megabytes"],
        **evaluate_pipeline(run.pipeline),
    }
    _write_all(report, run, folder)
    return report, folder


def evaluated(path: Path, data: Path | None = None) -> dict[str, Any]:
    """The evaluation of the run at ``path``: the one in its folder when that is of its latest checkpoint, else a new one."""
    config = find_config(path)
    parsed = read_config(config)
    models = config.parent / parsed.relative_model_dir
    if models.is_dir():
        checkpoint = latest_checkpoint(models, None)
        try:
            report = kept_json(config.parent / "evaluation" / "evaluation.json")
            current = int(checkpoint.stem.split("-")[1]), checkpoint.stat().st_size
            if (report["step"], report["checkpoint_bytes"]) == current and {
                "mean",
                "fastest",
                "gaussians",
                "megabytes",
            } <= set(report):
                return report
        except (KeyError, TypeError):
            pass  # none, or of an older version: made anew
    return evaluate_run(path, data=data)[0]


def _write_all(report: dict[str, Any], run: LoadedRun, folder: Path) -> None:
    dataset = run.pipeline.datamanager.eval_dataset
    capture = dataset.capture
    seconds = {str(int(n)): float(s) for n, s in zip(capture.numbers(), capture.times_seconds)}
    rows = [
        {"camera": camera, "frame": frame, "seconds": round(seconds.get(frame, 0.0), 6), **scores}
        for camera, frames in report["per_view"].items()
        for frame, scores in frames.items()
    ]
    write_rows(folder / "views.csv", rows)
    for score in HEAT_MAPS:
        if score in report["mean"]:
            write_png(folder / f"heatmap-{score}.png", heat_map(report["per_view"], score, seconds))
    # Last: its presence says that the evaluation is complete.
    write_text(folder / "evaluation.json", json.dumps(report, indent=2))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with every key that occurs as a column.

    Raises:
        UserError: it cannot be written.
    """
    columns = list({key: None for row in rows for key in row})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def score_table(report: Mapping[str, Any]) -> Table:
    """Cameras of an evaluation down, scores across; below, the mean and the mean of the fastest frames."""
    rows: Mapping[str, Mapping[str, float]] = report["per_camera"]
    columns = list({key: None for scores in rows.values() for key in scores})
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    below = {"mean": report["mean"]} if len(rows) > 1 else {}
    if report["fastest"]:
        below["fastest tenth"] = report["fastest"]
    for name, scores in rows.items():
        table.add_row(str(name), *[_number(scores.get(column)) for column in columns])
    table.add_section()
    for name, scores in below.items():
        table.add_row(name, *[_number(scores.get(column)) for column in columns])
    return table


def comparison_table(runs: Mapping[str, Mapping[str, float]]) -> Table:
    """Scores down, runs across, the best of each score in bold green."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right")
    for score in {key: None for scores in runs.values() for key in scores}:
        values = [scores.get(score) for scores in runs.values()]
        known = [value for value in values if value is not None]
        best = None
        if score not in NEUTRAL_SCORES:
            best = min(known) if score.startswith(LOWER_IS_BETTER) else max(known)
        cells = [Text(_number(v), "bold green" if v is not None and v == best else "") for v in values]
        table.add_row(score.replace("_", " "), *cells)
    return table


def unlike_views(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each run that was not scored on the views that the first was scored on: such scores do not compare."""
    first, *others = reports
    views = {
        name: {(camera, frame) for camera, frames in report["per_view"].items() for frame in frames}
        for name, report in reports.items()
    }
    cameras = {name: ", ".join(report["per_view"]) for name, report in reports.items()}
    data = {name: report.get("data") for name, report in reports.items()}
    sentences = []
    for name in others:
        if data[name] != data[first] and data[name] and data[first]:
            sentences.append(
                f"{name} was scored on {data[name]}, {first} on {data[first]}: their scores do not compare"
            )
        elif views[name] != views[first]:
            sentences.append(
                f"{name} was scored on {len(views[name])} views of {cameras[name]}, {first} on {len(views[first])} views of "
                f"{cameras[first]}: their scores do not compare; train with the same --eval-cameras and --frames"
            )
    return sentences


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"
