"""What was found at the key frames of a capture, on one screen."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from rich.table import Table

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.common.console import say
from fourdgs_ns.points.finding import FoundPoints
from fourdgs_ns.points.truth import TruthReport

MOST_ROWS = 12
"""Lines of key frames; of more, some spread evenly over the clip are shown."""
BAR = 36
"""Length in characters of the histogram's longest bar."""
BINS = 8


def print_report(capture: Capture, found: FoundPoints) -> None:
    """Points per key frame, their errors, how many are static and how fast the others move."""
    merged, cloud = found.merged, found.cloud
    table = Table(title=f"{found.matcher} on {len(found.cameras)} cameras of {capture.root}")
    for name in ("frame", "seconds", "points", "error (px)", "static", "velocity known"):
        table.add_column(name, justify="right")
    shown = np.unique(np.linspace(0, len(merged.summaries) - 1, MOST_ROWS).round().astype(int))
    for line in (merged.summaries[i] for i in shown):
        table.add_row(
            str(int(capture.numbers()[line.frame])),
            f"{capture.times_seconds[line.frame]:.2f}",
            str(line.points),
            _number(line.error_pixels, ".2f"),
            _number(line.static, ".0%"),
            _number(line.known, ".0%"),
        )
    if len(shown) < len(merged.summaries):
        table.caption = f"{len(shown)} of {len(merged.summaries)} key frames"
    say(table)
    moving = ~cloud.static
    say(
        f"{len(merged.sightings.positions)} points in all; merged: {int(cloud.static.sum())} static, kept once, and "
        f"{int(moving.sum())} others with their key frame"
    )
    if moving.any() and capture.duration_seconds > 0:
        say("speed of the others, world units per second:")
        speeds = np.linalg.norm(cloud.velocities[moving], axis=1) / capture.duration_seconds
        for line in histogram(speeds):
            say(line)
    for note in found.notes:
        say(f"note: {note}")
    say(f"kept in {found.key_frames.directory}")


def print_truth(truth: TruthReport) -> None:
    """How right the points are."""
    table = Table(
        title=f"against the ground truth ({truth.points} points of all key frames, size {truth.scene_size:.2f} units)"
    )
    table.add_column("measure")
    table.add_column("value", justify="right")
    rows = {
        "median distance to the surface, of the scene's size": _number(truth.position_error, ".3%"),
        "points within 1 % of the scene's size": _number(truth.within_1_percent, ".1%"),
        "points on what moves": str(truth.moving),
        "of these with a velocity": _number(truth.velocity_known, ".1%"),
        "median angle to the true velocity (degrees)": _number(truth.angle_degrees, ".1f"),
        "median relative error of the velocity": _number(truth.relative_error, ".1%"),
        "moving points with a velocity within 20 %": _number(truth.within_20_percent, ".1%"),
        "moving points taken for static": _number(truth.moving_called_static, ".2%"),
        "points on what never moves, recognised": _number(truth.static_recognised, ".1%"),
        "95 % of these are slower than (sizes per clip)": _number(truth.static_speed, ".4f"),
    }
    for row in rows.items():
        table.add_row(*row)
    say(table)


def histogram(speeds: Float[np.ndarray, " n"]) -> list[str]:
    """One line per bin: exactly zero (unknown), then bins that double, up to the largest."""
    counts = [int((speeds == 0).sum())]
    labels = ["none"]
    top = float(speeds.max(initial=0.0))
    if top > 0:
        edges = top * 0.5 ** np.arange(BINS - 1, -1, -1)
        lower = np.concatenate([[0.0], edges[:-1]])
        for low, high in zip(lower, edges):
            counts.append(int(((speeds > low) & (speeds <= high)).sum()))
            labels.append(f"to {high:.3g}")
    longest = max(*counts, 1)
    width = max(len(label) for label in labels)
    return [f"  {label:>{width}} {'█' * round(BAR * n / longest)} {n}" for label, n in zip(labels, counts)]


def _number(value: float, form: str) -> str:
    return "-" if np.isnan(value) else format(value, form)
