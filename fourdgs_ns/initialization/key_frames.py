"""Triangulated points of several instants of a capture, kept on disk so that they are computed once."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fourdgs_ns.data.capture import Capture, CaptureCamera, VideoFrames
from fourdgs_ns.data.decoding import read_frames, read_masks
from fourdgs_ns.data.frame_store import cache_directory
from fourdgs_ns.data.geometry import resampler, training_camera
from fourdgs_ns.errors import UserError
from fourdgs_ns.initialization.matching import CONTRAST_THRESHOLD, MAX_FEATURES, PosedFeatures, extract_features
from fourdgs_ns.initialization.ply import read_points_ply, write_points_ply
from fourdgs_ns.initialization.triangulate import (
    DEFAULT_OPTIONS,
    TriangulatedPoints,
    TriangulationOptions,
    triangulate,
)

VERSION = 1
"""Raised whenever the same input gives other points than before."""
SMALLEST_LONG_SIDE, LARGEST_LONG_SIDE = 1000, 1600
"""Images larger than this in pixels are made smaller for feature detection; training at a lower resolution allows to go
down to the first number, no further."""
SILHOUETTE_MARGIN = 5
"""Features this many pixels inside the edge of a matte belong to the silhouette, not to a point of the surface."""


@dataclass(frozen=True, eq=False)
class CloudOverTime:
    """Triangulated points, each with the key frame in which it was found."""

    positions: Float[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    times: Float[np.ndarray, " n"]


def choose_key_frames(num_frames: int, key_frames: int) -> Int[np.ndarray, " k"]:
    """At most ``key_frames`` instants, evenly spread over the clip, the first and the last included."""
    if key_frames < 1:
        raise UserError(f"--key-frames is {key_frames}; give at least 1")
    return np.unique(np.linspace(0, num_frames - 1, min(num_frames, key_frames)).round().astype(int))


def triangulate_key_frames(
    capture: Capture,
    cameras: Sequence[CaptureCamera],
    *,
    key_frames: Sequence[int],
    times: Float[np.ndarray, " f"],
    downscale: float,
    options: TriangulationOptions = DEFAULT_OPTIONS,
    progress: bool = True,
) -> CloudOverTime:
    """Points of the instants ``key_frames``, in the capture's world, from frames of ``cameras`` only.

    ``times`` holds t of every instant of the clip, ``downscale`` is that of training. The result is kept as
    ``points.ply`` in ``points-<key>`` in the capture's cache directory, where the key is a digest of everything that
    determines the points. Each finished key frame is kept before that, so an interrupted run continues where it
    stopped.

    Raises UserError when a frame cannot be decoded.
    """
    scales = {camera.name: feature_downscale(camera, downscale) for camera in cameras}
    key = _digest(capture, cameras, key_frames, times, scales, options)
    directory = cache_directory(capture.root) / f"points-{key}"
    merged = directory / "points.ply"
    cloud = _load_merged(merged)
    if cloud is not None:
        return cloud
    directory.mkdir(parents=True, exist_ok=True)
    files = {f: directory / f"instant-{f:06d}.npz" for f in key_frames}
    done = {f: points for f, file in files.items() if (points := _load_instant(file)) is not None}
    pending = [f for f in key_frames if f not in done]
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        disable=not progress,
    )
    with bar:
        features = _extract(capture, cameras, pending, scales, bar)
        task = bar.add_task("triangulating key frames", total=len(key_frames), completed=len(done))
        for f in pending:
            done[f] = triangulate(features.pop(f), options)
            _save_instant(files[f], done[f])
            bar.advance(task)
    cloud = CloudOverTime(
        np.concatenate([done[f].positions for f in key_frames]).astype(np.float32),
        np.concatenate([done[f].colors for f in key_frames]),
        np.concatenate([np.full(len(done[f].positions), times[f], np.float32) for f in key_frames]),
    )
    if len(cloud.positions):
        write_points_ply(merged, cloud.positions, cloud.colors, cloud.times)
    return cloud


def feature_downscale(camera: CaptureCamera, downscale: float) -> float:
    """How many times smaller than its source a frame is when features are detected."""
    longest = max(camera.width, camera.height)
    wanted = np.clip(longest / downscale, SMALLEST_LONG_SIDE, LARGEST_LONG_SIDE)
    return max(1.0, float(longest / wanted))


def _extract(
    capture: Capture,
    cameras: Sequence[CaptureCamera],
    frames: Sequence[int],
    scales: dict[str, float],
    bar: Progress,
) -> dict[int, list[PosedFeatures]]:
    """For each instant the features of the cameras that have it, in the order of ``cameras``.

    Camera by camera, because a video is decoded from its start: once for all instants.
    """
    entries = {c.name: [i for i, f in enumerate(c.frame_ids) if int(f) in set(frames)] for c in cameras}
    features: dict[int, list[PosedFeatures]] = {f: [] for f in frames}
    if not frames:
        return features
    task = bar.add_task("detecting features in images", total=sum(len(picks) for picks in entries.values()))
    workers = max(1, min(len(cameras), 4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_features_of, capture, c, entries[c.name], scales[c.name], lambda: bar.advance(task))
            for c in cameras
            if entries[c.name]
        ]
        try:
            for job in jobs:
                for f, found in job.result():
                    features[f].append(found)
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
    return features


def _features_of(
    capture: Capture, camera: CaptureCamera, picks: Sequence[int], scale: float, advance: Callable[[], None]
) -> list[tuple[int, PosedFeatures]]:
    pinhole = training_camera(camera, scale)
    resample = resampler(camera, pinhole)
    part = camera.take(picks)
    mattes = read_masks(part.masks) if part.masks is not None and capture.masks_are_mattes else None
    found = []
    for i, frame in enumerate(read_frames(part.frames)):
        image = resample(frame, part.frames.describe(i))
        covered = image[:, :, 3] if image.shape[2] == 4 else None
        if mattes is not None:
            covered = resample(next(mattes)[:, :, None])[:, :, 0]
        keep = None
        if covered is not None:
            size = 2 * SILHOUETTE_MARGIN + 1
            keep = cv2.erode((covered > 127).astype(np.uint8), np.ones((size, size), np.uint8)) > 0
        colors = np.ascontiguousarray(image[:, :, :3])
        found.append((int(part.frame_ids[i]), extract_features(colors, pinhole.intrinsics, part.pose(i), keep)))
        advance()
    return found


def _digest(
    capture: Capture,
    cameras: Sequence[CaptureCamera],
    key_frames: Sequence[int],
    times: Float[np.ndarray, " f"],
    scales: dict[str, float],
    options: TriangulationOptions,
) -> str:
    """Key of everything that determines the points. Paths count relative to the capture, which may be moved."""
    seen = {int(f) for f in key_frames}
    described = []
    for camera in cameras:
        part = camera.take([i for i, f in enumerate(camera.frame_ids) if int(f) in seen])
        masks = part.masks if capture.masks_are_mattes else None
        sources = []
        for source in (part.frames, masks):
            paths = [] if source is None else [source.path] if isinstance(source, VideoFrames) else source.paths
            sources.append([[os.path.relpath(path, capture.root), *_stamp(path)] for path in paths])
        described.append(
            {
                "name": camera.name,
                "size": [camera.width, camera.height],
                "scale": scales[camera.name],
                "intrinsics": np.asarray(camera.intrinsics).tolist(),
                "distortion": [camera.fisheye, *map(float, camera.distortion)],
                "poses": np.asarray(part.world_from_camera).tolist(),
                "instants": part.frame_ids.tolist(),
                "positions": [int(i) for i in getattr(part.frames, "indices", ())],
                "sources": sources,
            }
        )
    facts = {
        "version": [VERSION, MAX_FEATURES, CONTRAST_THRESHOLD, SILHOUETTE_MARGIN],
        "options": asdict(options),
        "times": [float(times[f]) for f in key_frames],
        "cameras": described,
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of modification; of a file that is missing the decoder speaks, if it comes to that."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _save_instant(path: Path, points: TriangulatedPoints) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **asdict(points))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _load_instant(path: Path) -> TriangulatedPoints | None:
    """A finished key frame; None when there is none or it is damaged, then it is computed again."""
    try:
        with np.load(path) as stored:
            return TriangulatedPoints(**{name: stored[name] for name in stored.files})
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _load_merged(path: Path) -> CloudOverTime | None:
    try:
        positions, colors, times = read_points_ply(path)
    except UserError:
        return None
    return None if times is None else CloudOverTime(positions, colors, times)
