"""Undistorted images of all cameras, instant by instant."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.capture.sources import read_frames, read_masks
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.resampling import Resampler

SMALLEST_LONG_SIDE, LARGEST_LONG_SIDE = 1000, 1600
"""Images larger than this in pixels are made smaller for matching; training at a lower resolution allows to go down to
the first number, no further."""
SILHOUETTE_MARGIN = 5
"""What is found this many pixels inside the edge of a matte belongs to the silhouette, not to a point of the surface."""


@dataclass(frozen=True, eq=False)
class PosedImage:
    """A pinhole image of one camera at one instant."""

    camera: Camera
    """A pinhole at the size of the image."""
    image: UInt8[np.ndarray, "h w 3"]
    """RGB."""
    keep: Bool[np.ndarray, "h w"] | None = None
    """Where the subject is, its silhouette left out; None for everywhere."""


def clip_times(capture: Capture) -> Float[np.ndarray, " f"]:
    """t in [0, 1] of every instant of the clip (0 for a clip of one instant)."""
    duration = capture.duration_seconds
    return capture.times_seconds / duration if duration > 0 else np.zeros(capture.num_frames)


def matching_downscale(camera: RecordedCamera, downscale: float) -> float:
    """How many times smaller than its source a frame is when it is matched; ``downscale`` is that of training."""
    longest = max(camera.width, camera.height)
    wanted = np.clip(longest / downscale, SMALLEST_LONG_SIDE, LARGEST_LONG_SIDE)
    return max(1.0, float(longest / wanted))


def read_instants(
    capture: Capture, cameras: Sequence[RecordedCamera], frames: Sequence[int], scales: Mapping[str, float]
) -> Iterator[tuple[int, dict[str, PosedImage]]]:
    """For each of ``frames`` (indices of instants), increasing: the images of the cameras that have it, by name.

    ``scales`` says how many times smaller than its source each camera's images are. All cameras are decoded side by
    side, each once from its start, so that memory holds one instant and not the clip.

    Raises UserError when a frame cannot be decoded.
    """
    frames = sorted({int(f) for f in frames})
    wanted = set(frames)
    with contextlib.ExitStack() as stack:
        readers = {}
        for camera in cameras:
            picks = [i for i, f in enumerate(camera.frame_ids) if int(f) in wanted]
            reader = _images_of(capture, camera, picks, scales[camera.name])
            stack.callback(reader.close)
            readers[camera.name] = ({int(camera.frame_ids[i]) for i in picks}, reader)
        # Last, so that it ends first: a reader that a thread is still in cannot be closed.
        pool = stack.enter_context(ThreadPoolExecutor(max(1, min(len(cameras), available_cores()))))
        for f in frames:
            present = [reader for has, reader in readers.values() if f in has]
            yield f, {image.camera.name: image for image in pool.map(next, present)}


def _images_of(
    capture: Capture, recorded: RecordedCamera, picks: Sequence[int], scale: float
) -> Generator[PosedImage, None, None]:
    pinhole = recorded.camera.undistorted(scale)
    resample = Resampler(recorded.camera, pinhole)
    part = recorded.take(picks)
    mattes = read_masks(part.masks) if part.masks is not None and capture.masks_are_mattes else None
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
        yield PosedImage(replace(pinhole, world_from_camera=part.at(i).world_from_camera), colors, keep)
