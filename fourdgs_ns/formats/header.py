"""What headers and comments of files say about their clip, and how a file is described to people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import size_text
from fourdgs_ns.representation.types import Clip

TAG = "fourdgs-ns"
"""First word of the comments that this package writes."""


def parse_clip(values: dict[str, Any]) -> Clip:
    """Clip from plain values of a header.

    Raises ValueError, KeyError, TypeError or OverflowError for what cannot be.
    """
    clip = Clip(int(values["num_frames"]), float(values["duration_seconds"]), int(values.get("first_frame", 0)))
    if not 1 <= clip.num_frames < 10**9 or not 0 <= clip.duration_seconds < 1e9:
        raise ValueError(f"a clip of {clip.num_frames} frames and {clip.duration_seconds} s")
    return clip


def tagged_comments(comments: list[str]) -> dict[str, str]:
    """Values that this writer left in the comments."""
    found = {}
    for comment in comments:
        words = comment.split(maxsplit=2)
        if len(words) == 3 and words[0] == TAG:
            found[words[1]] = words[2]
    return found


def claimed_clip(known: dict[str, str], frames: int | None, fps: float | None, path: Path, notes: list[str]) -> Clip:
    """The clip that a file's header names, where the user says nothing else; assumptions are noted."""
    try:
        count = frames or int(known.get("frames", 0)) or 50
        seconds = float(known["seconds"]) if "seconds" in known and fps is None and frames is None else None
        first = int(known.get("first_frame", 0))
    except ValueError:
        raise UserError(f"{path} has damaged '{TAG}' comments; give --frames and --fps") from None
    if (
        not 1 <= count < 10**7
        or (fps is not None and not 0 < fps < 1e6)
        or (seconds is not None and not 0 <= seconds < 1e9)
    ):
        raise UserError(f"{path}: a clip of {count} frames cannot be; give --frames and --fps")
    if frames is None and "frames" not in known:
        notes.append("the file does not say how long its clip is: taken as 50 frames, as published; else give --frames")
    if seconds is None:
        if fps is None:
            notes.append("the file does not say how fast it plays: taken as 30 frames per second; else give --fps")
        seconds = (count - 1) / (fps or 30.0)
    return Clip(count, seconds, first)


def note_lines(notes: Sequence[str]) -> dict[str, str]:
    """What the user should read once."""
    return {"note": "; ".join(notes)} if notes else {}


def clip_lines(clip: Clip) -> dict[str, str]:
    """Frames, duration and rate."""
    lines = {"frames": str(clip.num_frames)}
    if clip.duration_seconds > 0:
        lines["duration"] = f"{clip.duration_seconds:g} s"
        lines["fps"] = f"{(clip.num_frames - 1) / clip.duration_seconds:g}"
    return lines


def known_clip_lines(known: dict[str, str], path: Path) -> dict[str, str]:
    """Clip of a header that may say nothing."""
    if "frames" not in known:
        return {"frames": "not stored", "duration": "not stored"}
    return clip_lines(claimed_clip(known, None, None, path, []))


def size_lines(path: Path) -> dict[str, str]:
    """Bytes on disk."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {"size": size_text(sum(p.stat().st_size for p in files))}
