"""A capture, whatever its layout: cameras, frames and calibration as plain data. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera


@dataclass(frozen=True)
class VideoFrames:
    """Frames of one video file, in the order of ``indices``."""

    path: Path
    indices: tuple[int, ...]
    """Position of each frame inside the video, increasing."""

    def __len__(self) -> int:
        return len(self.indices)

    def describe(self, i: int) -> str:
        """Where frame ``i`` comes from, for messages."""
        return f"{self.path}, frame {self.indices[i]}"

    def take(self, picks: Sequence[int]) -> VideoFrames:
        """The frames at positions ``picks``."""
        return VideoFrames(self.path, tuple(self.indices[i] for i in picks))


@dataclass(frozen=True)
class ImageFrames:
    """One image file per frame."""

    paths: tuple[Path, ...]
    opaque: bool = False
    """True to read colours only, whether or not the files have an alpha channel."""
    labels: bool = False
    """True of masks whose values are labels: what is not 0 belongs to the subject."""

    def __len__(self) -> int:
        return len(self.paths)

    def describe(self, i: int) -> str:
        """Where frame ``i`` comes from, for messages."""
        return str(self.paths[i])

    def take(self, picks: Sequence[int]) -> ImageFrames:
        """The frames at positions ``picks``."""
        return replace(self, paths=tuple(self.paths[i] for i in picks))


FrameSource = VideoFrames | ImageFrames


@dataclass(frozen=True, eq=False)
class RecordedCamera:
    """One physical camera of the rig and what it recorded: its frames, their instants, where it stood at each."""

    camera: Camera
    """What never changes, at the size of the source frames. Of a camera that moves the pose is that of its first frame."""
    frames: FrameSource
    frame_ids: Int[np.ndarray, " n"]
    """For each entry of ``frames`` its instant: an index into ``Capture.times_seconds``, increasing."""
    masks: FrameSource | None = None
    """Foreground mattes or segmentations, entry by entry like ``frames``."""
    trajectory: Float[np.ndarray, "n 4 4"] | None = None
    """world_from_camera of every entry of ``frames`` for a camera that moves; None for one that stands still."""

    @property
    def name(self) -> str:
        return self.camera.name

    @property
    def width(self) -> int:
        return self.camera.width

    @property
    def height(self) -> int:
        return self.camera.height

    @property
    def time_offset_seconds(self) -> float:
        """How much later than the nominal instant its frames were exposed; 0 when nothing says."""
        return self.camera.time_offset_seconds or 0.0

    @property
    def moves(self) -> bool:
        return self.trajectory is not None

    @property
    def poses(self) -> Float[np.ndarray, "p 4 4"]:
        """world_from_camera: one for a camera that stands still, else one per entry of ``frames``."""
        return self.camera.world_from_camera[None] if self.trajectory is None else self.trajectory

    def at(self, i: int) -> Camera:
        """The camera as it took entry ``i``."""
        return self.camera if self.trajectory is None else replace(self.camera, world_from_camera=self.trajectory[i])

    def posed(self, poses: Float[np.ndarray, "p 4 4"]) -> RecordedCamera:
        """The same recording with other ``poses``, given as :attr:`poses` gives them."""
        camera = replace(self.camera, world_from_camera=poses[0])
        return replace(self, camera=camera, trajectory=None if len(poses) == 1 else poses)

    def take(self, picks: Sequence[int]) -> RecordedCamera:
        """The same camera with only the entries ``picks``."""
        picks = list(picks)
        trajectory = None if self.trajectory is None else self.trajectory[picks]
        part = replace(
            self,
            frames=self.frames.take(picks),
            frame_ids=self.frame_ids[picks],
            masks=None if self.masks is None else self.masks.take(picks),
            trajectory=trajectory,
        )
        return part if trajectory is None or not picks else part.posed(trajectory)


@dataclass(frozen=True)
class Capture:
    """A folder with synchronised videos (or frames) of one scene and its calibration."""

    root: Path
    layout: str
    cameras: tuple[RecordedCamera, ...]
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

    def camera(self, name: str) -> RecordedCamera:
        """The camera called ``name``; UserError when there is none."""
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
