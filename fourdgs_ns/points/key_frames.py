"""Points of several instants of a capture with their velocities, kept on disk so that they are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status
from fourdgs_ns.common.files import replacing
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.common.workspace import cache_directory, only_builder
from fourdgs_ns.points.cache_key import cache_key
from fourdgs_ns.points.instants import PosedImage, matching_downscale, read_instants
from fourdgs_ns.points.matcher import Matcher, TriangulatedPoints
from fourdgs_ns.points.velocities import VelocitySource, flow_frames, flow_velocities

AUTOMATIC_PER_SECOND = 3
FEWEST_AUTOMATIC, MOST_AUTOMATIC = 10, 30


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """Points of one instant as they are kept on disk."""

    positions: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    errors: Float[np.ndarray, " n"]
    """Root mean square reprojection error in pixels."""
    footprints: Float[np.ndarray, " n"]
    """Size of a pixel at the point in the nearest camera that sees it, in world units."""
    observations: Int[np.ndarray, " c"]
    """How many of the points each training camera sees, in the order in which the cameras were given."""
    velocities: Float[np.ndarray, "n 3"]
    """World units per unit of t, by optical flow; zero where unknown."""
    known: Bool[np.ndarray, " n"]
    """Where the velocity is known."""
    flow: Bool[np.ndarray, ""]
    """Whether there were frames to follow the flow to."""


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """All key frames of a capture."""

    directory: Path
    """Where they are kept, and where what is derived from them may be kept."""
    frames: tuple[int, ...]
    """Indices of instants."""
    times: Float[np.ndarray, " k"]
    """t of each."""
    clouds: tuple[KeyFrame, ...]

    @property
    def key_interval(self) -> float:
        """Mean distance of neighbouring key frames in units of t; 1 for a single one."""
        return float(self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else 1.0


def choose_key_frames(num_frames: int, key_frames: int | None, duration_seconds: float = 0.0) -> Int[np.ndarray, " k"]:
    """At most ``key_frames`` instants, evenly spread over the clip, the first and the last included.

    None: three per second, at least 10 and at most 30.
    """
    if key_frames is None:
        wanted = int(np.ceil(AUTOMATIC_PER_SECOND * duration_seconds)) + 1
        key_frames = int(np.clip(wanted, FEWEST_AUTOMATIC, MOST_AUTOMATIC))
    if key_frames < 1:
        raise UserError(f"--key-frames is {key_frames}; give at least 1")
    return np.unique(np.linspace(0, num_frames - 1, min(num_frames, key_frames)).round().astype(int))


def find_key_frames(
    capture: Capture,
    cameras: Sequence[RecordedCamera],
    *,
    key_frames: Sequence[int],
    times: Float[np.ndarray, " f"],
    downscale: float,
    matcher: Matcher,
    velocities: VelocitySource = "flow",
    progress: bool = True,
) -> KeyFrames:
    """Points of the instants ``key_frames``, in the capture's world, from frames of ``cameras`` only.

    ``times`` holds t of every instant of the clip, ``downscale`` is that of training. Each finished key frame is kept
    in ``points-<key>`` in the capture's cache directory, where the key is a digest of everything that determines the
    points; an interrupted run continues where it stopped, and a second process waits for the first.

    Raises UserError when a frame cannot be decoded.
    """
    scales = {camera.name: matching_downscale(camera, downscale) for camera in cameras}
    with_flow = velocities == "flow"
    windows = {int(f): flow_frames(f, capture.times_seconds) if with_flow else (int(f), int(f)) for f in key_frames}
    needed = sorted({g for f, window in windows.items() for g in (f, *window)})
    facts = {
        "matcher": matcher.facts(),
        "velocities": velocities,
        "times": [float(times[g]) for g in needed],
        "key_frames": [int(f) for f in key_frames],
    }
    directory = cache_directory(capture.root) / f"points-{cache_key(capture, cameras, needed, scales, facts)}"
    directory.mkdir(parents=True, exist_ok=True)
    files = {f: directory / f"instant-{f:06d}.npz" for f in windows}
    done = _finished(files)
    if len(done) < len(files):
        with only_builder(directory, "finding points in"):
            done = _finished(files)
            compute = partial(_key_frame, matcher, cameras)
            decode = partial(read_instants, capture, cameras, scales=scales)
            _complete(done, files, windows, times, decode, compute, progress)
    frames = tuple(sorted(windows))
    return KeyFrames(directory, frames, np.array([times[f] for f in frames]), tuple(done[f] for f in frames))


def _finished(files: Mapping[int, Path]) -> dict[int, KeyFrame]:
    return {f: cloud for f, file in files.items() if (cloud := _load(file)) is not None}


def _complete(
    done: dict[int, KeyFrame],
    files: Mapping[int, Path],
    windows: Mapping[int, tuple[int, int]],
    times: Float[np.ndarray, " f"],
    decode: Callable[[Sequence[int]], Iterator[tuple[int, dict[str, PosedImage]]]],
    compute: Callable[..., KeyFrame],
    progress: bool,
) -> None:
    """Compute and keep the key frames that ``done`` lacks; ``windows`` are the frames that flow is measured to."""
    pending = [f for f in sorted(windows) if f not in done]
    with progress_bar(transient=False, show=progress and bool(pending)) as bar:
        task = bar.add_task("points of key frames", total=len(files), completed=len(done))
        held: dict[int, dict[str, PosedImage]] = {}
        wanted = {g for f in pending for g in (f, *windows[f])}
        for g, images in decode(sorted(wanted)):
            held[g] = images
            while pending and windows[pending[0]][1] <= g:
                f = pending.pop(0)
                before, after = windows[f]
                neighbors = (held[before], times[f] - times[before]), (held[after], times[after] - times[f])
                done[f] = compute(list(held[f].values()), *neighbors)
                with replacing(files[f]) as part, open(part, "wb") as file:
                    np.savez(file, **asdict(done[f]))
                bar.advance(task)
            first = min((windows[f][0] for f in pending), default=g)
            held = {h: kept for h, kept in held.items() if h >= first}


def _key_frame(
    matcher: Matcher,
    cameras: Sequence[RecordedCamera],
    images: Sequence[PosedImage],
    before: tuple[Mapping[str, PosedImage], float],
    after: tuple[Mapping[str, PosedImage], float],
) -> KeyFrame:
    points = matcher.points(images)
    velocities, known = flow_velocities(points, images, before, after)
    counts = {image.camera.name: int(n) for image, n in zip(images, points.seen_by.sum(axis=0))}
    names = {image.camera.name for image in images}
    flow = any(span > 0 and len(names & set(others)) > 1 for others, span in (before, after))
    return KeyFrame(
        points.positions,
        points.colors,
        points.errors,
        _footprints(points, images),
        np.array([counts.get(camera.name, 0) for camera in cameras]),
        velocities,
        known,
        np.array(flow),
    )


def _footprints(points: TriangulatedPoints, images: Sequence[PosedImage]) -> Float[np.ndarray, " n"]:
    smallest = np.full(len(points.positions), np.inf)
    for seen, image in zip(points.seen_by.T, images):
        depth = (points.positions - image.camera.center) @ image.camera.world_from_camera[:3, 2]
        smallest = np.where(seen, np.minimum(smallest, depth / image.camera.intrinsics[0, 0]), smallest)
    return smallest


def _load(path: Path) -> KeyFrame | None:
    """A finished key frame; None when there is none or it is damaged, then it is computed again."""
    try:
        file_status(path)
        with np.load(path) as stored:
            found = KeyFrame(**{name: stored[name] for name in stored.files})
        n = len(found.positions)
        shapes = [
            value.shape
            for value in (found.positions, found.colors, found.velocities, found.errors, found.footprints, found.known)
        ]
        return found if shapes == [(n, 3)] * 3 + [(n,)] * 3 and found.observations.ndim == 1 else None
    except Exception:
        # Damage shows in as many ways as there are places: zip directory, array headers, missing arrays.
        return None
