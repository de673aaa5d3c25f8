"""Finding points in a capture: matched and triangulated at key frames, merged over time, and what there is to note."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points.instants import clip_times
from fourdgs_ns.points.key_frames import KeyFrames, choose_key_frames, find_key_frames
from fourdgs_ns.points.matcher_name import MatcherName
from fourdgs_ns.points.matcher_registry import make_matcher
from fourdgs_ns.points.merging import CloudOverTime, Merged, merge_key_frames
from fourdgs_ns.points.velocities import VelocitySource


@dataclass(frozen=True, eq=False)
class FoundPoints:
    """The points of a capture; their files lie in ``key_frames.directory``."""

    matcher: MatcherName
    cameras: tuple[str, ...]
    key_frames: KeyFrames
    merged: Merged
    notes: tuple[str, ...]
    """One sentence for everything that is not as it should be."""

    @property
    def cloud(self) -> CloudOverTime:
        return self.merged.cloud


def find_points(
    capture: Capture,
    cameras: Sequence[RecordedCamera],
    *,
    downscale: float,
    key_frames: int | None = None,
    matcher: MatcherName = "sift",
    max_points: int | None = None,
    velocities: VelocitySource = "flow",
    progress: bool = True,
) -> FoundPoints:
    """Match, triangulate, follow and merge (see :mod:`key_frames` and :mod:`merging`); frames of ``cameras`` only.

    ``key_frames``: how many instants (None: three per second, 10 to 30). ``max_points`` per key frame (None: the
    matcher's own limit).

    Raises UserError for fewer than two cameras, options without sense, a matcher that cannot run here, and frames that
    cannot be decoded.
    """
    frames = choose_key_frames(capture.num_frames, key_frames, capture.duration_seconds)
    if max_points is not None and max_points < 1:
        raise UserError(f"--max-points is {max_points}; give at least 1")
    if len(cameras) < 2:
        raise UserError(f"{capture.root} has a single training camera, whose frames cannot be triangulated")
    found = find_key_frames(
        capture,
        cameras,
        key_frames=[int(f) for f in frames],
        times=clip_times(capture),
        downscale=downscale,
        matcher=make_matcher(matcher, max_points),
        velocities=velocities,
        progress=progress,
    )
    merged = merge_key_frames(found, velocities)
    names = tuple(camera.name for camera in cameras)
    return FoundPoints(matcher, names, found, merged, tuple(_notes(capture, names, merged)))


def _notes(capture: Capture, names: Sequence[str], merged: Merged) -> list[str]:
    if len(merged.sightings.positions) == 0:
        return [
            f"the {len(names)} cameras of {capture.root} have no match in common at any key frame; check poses and "
            "synchronisation, or try --matcher dense"
        ]
    notes = []
    empty = [int(capture.numbers()[s.frame]) for s in merged.summaries if s.points == 0]
    if empty:
        notes.append(
            f"no point was found at {len(empty)} of {len(merged.summaries)} key frames of {capture.root} (frame "
            f"{', '.join(map(str, empty[:5]))}{', ...' if len(empty) > 5 else ''}); what moves there starts without points"
        )
    lonely = [names[c] for c in merged.lonely_cameras]
    if lonely:
        notes.append(
            f"camera {', '.join(lonely)} of {capture.root} sees none of the points; check its pose and "
            "synchronisation, or leave it out with --train-cameras"
        )
    if capture.num_frames > 2 and merged.cloud.static.all():
        notes.append(
            f"all points of {capture.root} are static: nothing in it moves, or what moves has no texture to match"
        )
    return notes
