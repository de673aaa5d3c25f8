"""A capture, whatever its layout: cameras, frames and calibration as plain data. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.common.errors import UserError


@dataclass(frozen=True)
class VideoFrames:
    """Frames of one video file, in the order of ``indices``."""

    path: Path
    indices: tuple[int, ...]
    """Position of each frame inside the video, increasing."""

    def __len__(self) -> int:
        return len(self.indices)

    def describe(self, i: int) -> str:
        return f"{self.path}, frame {self.indices[i]}"

    def take(self, picks: Sequence[int]) -> VideoFrames:
        return VideoFrames(self.path, tuple(self.indices[i] for i in picks))


@dataclass(frozen=True)
class ImageFrames:
    """One image file per frame."""

    paths: tuple[Path, ...]
    opaque: bool = False
    """True to read colours only, whether or not the files have an alpha channel."""

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, i: int) -> str:
        return str(self.paths[i])

    def take(self, picks: Sequence[int]) -> ImageFrames:
        return ImageFrames(tuple(self.paths[i] for i in picks), self.opaque)


FrameSource = VideoFrames | ImageFrames


@dataclass(frozen=True)
class CaptureCamera:
    """One physical camera of the rig and where its frames are."""

    name: str
    width: int
    """Width of the source frames in pixels; ``intrinsics`` are given at this size."""
    height: int
    intrinsics: Float[np.ndarray, "3 3"]
    """Pinhole matrix in pixels; pixel i covers [i, i + 1)."""
    world_from_camera: Float[np.ndarray, "p 4 4"]
    """Pose, OpenCV axes (x right, y down, z forward). p = 1 for a fixed camera, else one pose per entry of ``frames``."""
    frames: FrameSource
    frame_ids: Int[np.ndarray, " n"]
    """For each entry of ``frames`` its instant: an index into ``Capture.times_seconds``, increasing."""
    distortion: tuple[float, ...] = ()
    """OpenCV order k1 k2 p1 p2 k3 (k4 k5 k6), or k1..k4 when ``fisheye``; empty for none."""
    fisheye: bool = False
    masks: FrameSource | None = None
    """Foreground mattes or segmentations, entry by entry like ``frames``."""
    time_offset_seconds: float = 0.0
    """This camera's clock: its frame k was exposed this much later than the nominal instant."""

    def pose(self, i: int) -> Float[np.ndarray, "4 4"]:
        """world_from_camera of entry ``i``."""
        return self.world_from_camera[0 if len(self.world_from_camera) == 1 else i]

    def take(self, picks: Sequence[int]) -> CaptureCamera:
        """The same camera with only the entries ``picks``."""
        picks = list(picks)
        return replace(
            self,
            frames=self.frames.take(picks),
            frame_ids=self.frame_ids[picks],
            world_from_camera=self.world_from_camera
            if len(self.world_from_camera) == 1
            else self.world_from_camera[picks],
            masks=None if self.masks is None else self.masks.take(picks),
        )


@dataclass(frozen=True)
class Capture:
    """A folder with synchronised videos (or frames) of one scene and its calibration."""

    root: Path
    layout: str
    cameras: tuple[CaptureCamera, ...]
    times_seconds: Float[np.ndarray, " f"]
    """The instants of the clip in seconds, increasing, first one 0."""
    eval_cameras: tuple[str, ...]
    """Cameras that this layout's protocol holds out."""
    frame_numbers: Int[np.ndarray, " f"] | None = None
    """Number of each instant in the capture's own counting (None: 0, 1, 2, ...)."""
    point_files: tuple[Path, ...] = ()
    """PLY files with initial points in the capture's world, if it has any."""
    part: tuple[float, float] = (0.0, 1.0)
    """Where this clip begins and ends in t of the whole one, over which the times in ``point_files`` run."""
    masks_are_mattes: bool = True
    """True when masks cut the subject out of its background (they become alpha); False when they only label it."""
    background: tuple[float, float, float] | None = None
    """RGB in [0, 1] that the layout prescribes behind the scene, if it does."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should read once: what differed, what was assumed."""

    @property
    def num_frames(self) -> int:
        return len(self.times_seconds)

    @property
    def duration_seconds(self) -> float:
        """Seconds from the first to the last instant."""
        return float(self.times_seconds[-1] - self.times_seconds[0])

    def numbers(self) -> Int[np.ndarray, " f"]:
        """Number of each instant in the capture's own counting."""
        return np.arange(self.num_frames) if self.frame_numbers is None else self.frame_numbers

    def camera(self, name: str) -> CaptureCamera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        known = ", ".join(c.name for c in self.cameras)
        raise UserError(f"{self.root} has no camera '{name}'; it has: {known}")

    def only_cameras(self, names: Sequence[str]) -> Capture:
        """The same capture with the named cameras, in the capture's order."""
        for name in names:
            self.camera(name)
        return replace(self, cameras=tuple(c for c in self.cameras if c.name in set(names)))

    def exposed_within(self) -> Capture:
        """Without the views that their camera's clock puts before the clip's first or after its last instant.

        Their t would lie outside [0, 1]. A camera of which nothing would remain stays as it is.
        """
        cameras, notes = [], []
        slack = 0.05 * self.duration_seconds / max(self.num_frames - 1, 1)
        for camera in self.cameras:
            seconds = self.times_seconds[camera.frame_ids] + camera.time_offset_seconds
            picks = np.flatnonzero((seconds >= -slack) & (seconds <= self.duration_seconds + slack)).tolist()
            missing = len(seconds) - len(picks)
            if missing and picks:
                notes.append(
                    f"{camera.name}'s clock is {1000 * abs(camera.time_offset_seconds):.0f} ms "
                    f"{'late' if camera.time_offset_seconds > 0 else 'early'}: {missing} of its frames lie outside the clip "
                    "and are left out"
                )
            cameras.append(camera.take(picks) if missing and picks else camera)
        return replace(self, cameras=tuple(cameras), notes=(*self.notes, *notes))

    def only_frames(self, start: int | None, stop: int | None, step: int | None) -> Capture:
        """The instants ``start:stop:step`` of the clip; time starts again at the first of them."""
        keep = np.arange(self.num_frames)[slice(start, stop, step)]
        if len(keep) == 0:
            raise UserError(
                f"--frames {start}:{stop}:{step} selects no frame of {self.root}, which has frames 0 to "
                f"{self.num_frames - 1}; give a range inside it"
            )
        position = {int(f): i for i, f in enumerate(keep)}
        cameras = []
        for camera in self.cameras:
            picks = [i for i, f in enumerate(camera.frame_ids) if int(f) in position]
            if not picks:
                continue
            part = camera.take(picks)
            cameras.append(replace(part, frame_ids=np.array([position[int(f)] for f in part.frame_ids])))
        times = self.times_seconds[keep]
        length, (begin, end) = self.duration_seconds, self.part
        shares = (float(times[0]) / length, float(times[-1]) / length) if length > 0 else (0.0, 1.0)
        return replace(
            self,
            cameras=tuple(cameras),
            times_seconds=times - times[0],
            frame_numbers=self.numbers()[keep],
            part=(begin + (end - begin) * shares[0], begin + (end - begin) * shares[1]),
        )
