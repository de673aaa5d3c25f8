"""The key under which points of a capture are kept: a digest of everything that determines them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.capture.capture import Capture, RecordedCamera, VideoFrames

VERSION = 2
"""Raised whenever the same input gives other points than before."""


def cache_key(
    capture: Capture,
    cameras: Sequence[RecordedCamera],
    frames: Sequence[int],
    scales: Mapping[str, float],
    facts: dict,
) -> str:
    """Digest of the frames (indices of instants) of ``cameras``, their calibration, ``scales`` and ``facts`` (JSON).

    Paths count relative to the capture, which may be moved.
    """
    seen = {int(f) for f in frames}
    described = []
    for recorded in cameras:
        camera = recorded.camera
        part = recorded.take([i for i, f in enumerate(recorded.frame_ids) if int(f) in seen])
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
                "poses": np.asarray(part.poses).tolist(),
                "instants": part.frame_ids.tolist(),
                "positions": [int(i) for i in getattr(part.frames, "indices", ())],
                "sources": sources,
                # Only where it differs, so that what was kept before is found.
                **({"opaque": True} if getattr(part.frames, "opaque", False) else {}),
            }
        )
    everything = _rounded({"version": VERSION, "cameras": described, **facts})
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:12]


def _rounded(value: Any) -> Any:
    """Numbers to nine digits and nine places: another version of numpy or OpenCV may find another last one."""
    if isinstance(value, float):
        return round(float(f"{value:.9g}"), 9) + 0.0  # -0 is 0
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of modification; of a file that is missing the decoder speaks, if it comes to that."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns
