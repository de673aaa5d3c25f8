"""One screen per step of ``fourdgs-ns process``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fourdgs_ns.common.console import remark, say
from fourdgs_ns.common.text import typed
from fourdgs_ns.common.workspace import StepName
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.process.probe import RawVideo
from fourdgs_ns.process.timeline import Timeline


def print_step(step: StepName, steps: Sequence[StepName]) -> None:
    """``steps``: those of this run."""
    say(f"[bold]{steps.index(step) + 1}/{len(steps)} {step}[/bold]", markup=True)


def print_videos(videos: Sequence[RawVideo], notes: Sequence[str]) -> None:
    table = _table("camera", "codec", "size", "turned", "fps", "frames", "seconds", "bits", "sound")
    for v in videos:
        rate = f"{v.fps:.5g}" + (" variable" if v.variable_rate else "")
        turned = f"{v.rotation}°" if v.rotation else "-"
        bits = f"{v.bits} HDR" if v.hdr else str(v.bits)
        row = (v.camera, v.codec, f"{v.width}x{v.height}", turned, rate, str(v.frames), f"{v.duration:.2f}", bits)
        table.add_row(*row, "yes" if v.audio else "no")
    say(table)
    _notes(notes)


def print_sync(result: Mapping[str, Any], fps: Mapping[str, float]) -> None:
    table = _table("camera", "started later by", "in frames", "pairs disagree by", "confidence")
    for camera, offset in result["offsets"].items():
        confidence = result["confidence"][camera]
        measured = confidence is not None
        table.add_row(
            camera,
            f"{1000 * offset:+.1f} ms",
            f"{offset * fps[camera]:+.2f}",
            f"{1000 * result['spread'][camera]:.2f} ms" if measured else "-",
            f"{confidence:.1f}" if measured else "-",
        )
    say(table)
    length = result["end"] - result["start"]
    say(f"by {result['method']}; all cameras together recorded {length:.2f} s")
    _notes(result["notes"])


def print_frames(result: Mapping[str, Any]) -> None:
    sizes = {tuple(size) for size in result["sizes"].values()}
    shown = ", ".join(f"{w}x{h}" for w, h in sorted(sizes))
    say(f"{len(result['sizes'])} cameras, {result['frames']} frames each at {result['fps']:.5g} fps, {shown}")
    notes = []
    for camera, jitter in result["jitter_seconds"].items():
        if jitter > 0.25 / result["fps"]:
            notes.append(f"frames of {camera} lie up to {1000 * jitter:.0f} ms off their instants")
        repeated = result["repeated"][camera]
        if repeated:
            notes.append(
                f"{camera} shows {repeated} of {result['frames']} instants twice (dropped frames or a lower rate)"
            )
    _notes(notes)


def print_calibration(result: Mapping[str, Any], notes: Sequence[str]) -> None:
    if result["report"]:
        table = _table("camera", "focal px", "k1", "features", "matches (best partner)", "points", "median error px")
        for camera in result["cameras"]:
            own = result["report"][camera["name"]]
            table.add_row(
                camera["name"],
                f"{camera['intrinsics'][0][0]:.1f}",
                f"{camera['distortion'][0]:+.4f}" if camera["distortion"] else "-",
                str(own["features"]),
                f"{own['matches']} ({own['partner']})",
                str(own["points"]),
                "-" if own["error"] is None else f"{own['error']:.2f}",
            )
        say(table)
        markers = result["markers"]
        if markers["dictionary"]:
            seen = ", ".join(f"{name} {count}" for name, count in markers["corners"].items())
            say(f"corners of {markers['dictionary']} markers: {seen}")
        if markers["board"]:
            say("lenses and poses were adjusted with the board as one rigid thing")
        say("scale and axes of the world are arbitrary: videos alone do not tell metres")
    else:
        say(f"{len(result['cameras'])} cameras from {result['source']} ({result['format']})")
    _notes(notes)


def print_undistortion(result: Mapping[str, Any]) -> None:
    zooms = [c["zoom"] for c in result["cameras"].values()]
    say(
        f"every lens can be undone (focal length times {min(zooms):.3f} to {max(zooms):.3f}); the frames stay as shot, "
        "training undistorts its own copy"
    )


def print_masks(result: Mapping[str, Any], notes: Sequence[str]) -> None:
    shown = ", ".join(f"{camera} {100 * share:.1f} %" for camera, share in result["shares"].items())
    say(f"foreground: {shown}")
    _notes(notes)


def print_points(result: Mapping[str, Any]) -> None:
    say(f"{result['points']} points ({result['moving']} of things that move) from {result['instants']} instants")
    _notes(result["notes"])


def print_end(
    root: Path,
    cameras: Sequence[Camera],
    plan: Timeline,
    seconds: Mapping[StepName, float],
) -> None:
    spent = ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())
    say(f"seconds per step: {spent or 'nothing had to be done'}")
    say(
        f"wrote {root}: {len(cameras)} cameras, {len(plan.instants)} frames. Train it with:\n"
        f"  {typed('ns-train', 'freetime', '--data', root.absolute())}"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        remark(note)
