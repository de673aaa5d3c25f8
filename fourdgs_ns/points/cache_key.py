"""The key under which points of a capture are kept: a digest of everything that determines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.capture.frames.file import source_facts
from fourdgs_ns.common.workspace import digest

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
        mattes = [part.masks] if capture.masks_are_mattes and part.masks is not None else []
        described.append(
            {
                "name": camera.name,
                "size": [camera.width, camera.height],
                "scale": scales[camera.name],
                "intrinsics": np.asarray(camera.intrinsics).tolist(),
                "distortion": [camera.fisheye, *map(float, camera.distortion)],
                "poses": np.asarray(part.poses).tolist(),
                "instants": part.frame_ids.tolist(),
                "sources": [source_facts(source, capture.root) for source in (part.frames, *mattes)],
            }
        )
    return digest({"version": VERSION, "cameras": described, **facts})
