"""From what a user asks for (a camera's name, seconds, a saved path) to the cameras of every image of a video."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipeline
from fourdgs_ns.rendering.paths import (
    assemble,
    between,
    by_proximity,
    frame_rate,
    mean_up,
    orbit,
    read_saved_path,
    running_times,
    spiral,
    sway,
)
from fourdgs_ns.representation.clip_time import read_time

ON_FRAME = 0.02
"""A time this share of a frame interval away from a frame counts as that frame."""

MOST_IMAGES = 1_000_000
"""Of a video: hours of it."""


@dataclass(frozen=True)
class Plan:
    """Every image of a video, and how fast they follow each other."""

    cameras: Cameras
    """One per image, with times."""
    fps: float
    truth: tuple[MultiViewVideoDataset, list[int]] | None = None
    """The view that each image shows, where the path follows a camera of the capture frame by frame."""

    def digest(self) -> str:
        """What tells this plan from others, whatever file or option it came from."""
        assert self.cameras.times is not None
        parts = (self.cameras.camera_to_worlds, self.cameras.times, self.cameras.get_intrinsics_matrices())
        return hashlib.sha256(b"".join(part.cpu().contiguous().numpy().tobytes() for part in parts)).hexdigest()


@dataclass(frozen=True)
class Timing:
    """What part of the clip a video shows, and how fast."""

    span: tuple[str, str] | None = None
    """From and to, as users type times; None: the whole clip."""
    at: str | None = None
    """Frozen at this time."""
    speed: float = 1.0
    fps: float | None = None
    """Of the video; None: the capture's."""
    length: float = 4.0
    """Seconds of video while time is frozen."""

    def times(self, pipeline: DynamicGaussiansPipeline) -> tuple[Float[np.ndarray, " n"], float]:
        """t of every image, and the video's frame rate.

        Raises:
            UserError: a time outside the clip, a speed or a rate that is not positive.
        """
        clip = pipeline.gaussians.clip
        fps = self.checked_fps(frame_rate(clip))
        check_count(fps * (clip.duration_seconds / self.speed if self.at is None else self.length))
        if self.at is not None:
            return np.full(max(round(self.length * fps), 1), time_in(pipeline, self.at, "--at")), fps
        if self.span is None and clip.duration_seconds <= 0:
            return np.linspace(0.0, 1.0, clip.num_frames), fps
        return running_times(clip, *self.ends(pipeline), self.speed, fps), fps

    def ends(self, pipeline: DynamicGaussiansPipeline) -> tuple[float, float]:
        """t at which the video begins and ends."""
        if self.span is None:
            return 0.0, float(pipeline.gaussians.clip.num_frames > 1)
        first, last = (time_in(pipeline, text, "--span") for text in self.span)
        return first, last

    def checked_fps(self, usual: float) -> float:
        """The video's frame rate: ``usual`` unless another was asked for.

        Raises:
            UserError: a speed, rate or length that is not positive, or time that both stands and runs.
        """
        fps = usual if self.fps is None else self.fps
        for option, value in (("--speed", self.speed), ("--fps", fps), ("--length", self.length)):
            if not 0 < value < math.inf:
                raise UserError(f"{option} is {value:g}; give a number above 0")
        if self.at is not None and self.span is not None:
            raise UserError("--at freezes time and --span lets it run; give one of them")
        return fps

    @property
    def whole_clip(self) -> bool:
        """True when the images are the capture's frames, all of them."""
        return self.at is None and self.span is None and self.speed == 1 and self.fps is None


def check_count(images: float) -> None:
    """Refuse a video of more than :data:`MOST_IMAGES`."""
    if images > MOST_IMAGES:
        raise UserError(
            f"that video would have {images:.3g} images; at most {MOST_IMAGES:,}: see --speed, --fps and --length"
        )


def time_in(pipeline: DynamicGaussiansPipeline, text: str, option: str) -> float:
    """t that the user typed; a frame is when the capture took it, also where its frames do not follow each other evenly.

    Raises:
        UserError: see :func:`read_time`.
    """
    clip = pipeline.gaussians.clip
    seconds = pipeline.datamanager.train_dataset.capture.times_seconds
    return read_time(text, clip, option, [float(s) / (clip.duration_seconds or 1.0) for s in seconds])


def views_of(pipeline: DynamicGaussiansPipeline, name: str | None) -> tuple[MultiViewVideoDataset, np.ndarray]:
    """All views of a camera, in time order; None: the first held-out camera.

    Raises:
        UserError: the run knows no such camera.
    """
    manager = pipeline.datamanager
    name = manager.eval_dataset.camera_names[0] if name is None else name
    for dataset in (manager.eval_dataset, manager.train_dataset):
        if name in dataset.camera_names:
            return dataset, np.flatnonzero(dataset.camera_ids == dataset.camera_names.index(name))
    known = ", ".join([*manager.eval_dataset.camera_names, *manager.train_dataset.camera_names])
    raise UserError(f"this run has no camera '{name}'; it has: {known}")


def view_times(dataset: MultiViewVideoDataset, views: np.ndarray) -> Float[np.ndarray, " n"]:
    """t of views."""
    assert dataset.cameras.times is not None
    return dataset.cameras.times[:, 0].numpy()[views]


def shown_views(dataset: MultiViewVideoDataset, views: np.ndarray, times: np.ndarray) -> list[int] | None:
    """The view that was taken at each t; None when some t lies between frames."""
    own = view_times(dataset, views)
    nearest = np.abs(own[None] - times[:, None]).argmin(axis=1)
    interval = float(np.diff(own).min()) if len(own) > 1 else 1.0
    if np.abs(own[nearest] - times).max() > ON_FRAME * interval:
        return None
    return [int(view) for view in views[nearest]]


def poses_at(dataset: MultiViewVideoDataset, views: np.ndarray, times: np.ndarray) -> Float[np.ndarray, "n 3 4"]:
    """Pose of a camera at each t: that of its nearest frame."""
    nearest = np.abs(view_times(dataset, views)[None] - times[:, None]).argmin(axis=1)
    return dataset.cameras.camera_to_worlds.numpy()[views[nearest]].astype(np.float64)


def fixed_plan(pipeline: DynamicGaussiansPipeline, camera: str | None, timing: Timing, scale: float) -> Plan:
    """One camera of the capture while time runs."""
    dataset, views = views_of(pipeline, camera)
    times, fps = timing.times(pipeline)
    if timing.whole_clip:
        times = view_times(dataset, views)
    shown = shown_views(dataset, views, times)
    truth = None if shown is None else (dataset, shown)
    lens = dataset.cameras[int(views[0]) : int(views[0]) + 1]
    return Plan(assemble(lens, poses_at(dataset, views, times), times, scale), fps, truth)


def orbit_plan(
    pipeline: DynamicGaussiansPipeline, camera: str | None, degrees: float, timing: Timing, scale: float
) -> Plan:
    """A camera that swings about what the rig looks at, while time runs or stands."""
    dataset, views = views_of(pipeline, camera)
    times, fps = timing.times(pipeline)
    train = pipeline.datamanager.train_dataset.cameras.camera_to_worlds.numpy().astype(np.float64)
    pose = poses_at(dataset, views, times[:1])[0]
    target = pose[:, 3] - pipeline.gaussians.facts.focus_distance * pose[:, 2]
    poses = orbit(pose, target, mean_up(train), sway(degrees, len(times)))
    return Plan(assemble(dataset.cameras[int(views[0]) : int(views[0]) + 1], poses, times, scale), fps)


def spiral_plan(
    pipeline: DynamicGaussiansPipeline, camera: str | None, radius: float, turns: float, timing: Timing, scale: float
) -> Plan:
    """A camera that circles about its place; ``radius`` is a share of the distance to what it looks at."""
    dataset, views = views_of(pipeline, camera)
    times, fps = timing.times(pipeline)
    distance = pipeline.gaussians.facts.focus_distance
    poses = spiral(poses_at(dataset, views, times[:1])[0], distance, radius * distance, turns, len(times))
    return Plan(assemble(dataset.cameras[int(views[0]) : int(views[0]) + 1], poses, times, scale), fps)


def interpolate_plan(
    pipeline: DynamicGaussiansPipeline, cameras: tuple[str, ...], timing: Timing, scale: float
) -> Plan:
    """Through the named cameras, or all training cameras by proximity, while time runs or stands."""
    times, fps = timing.times(pipeline)
    names = cameras or tuple(pipeline.datamanager.train_dataset.camera_names)
    found = [views_of(pipeline, name) for name in names]
    stations = np.concatenate([poses_at(dataset, views, times[:1]) for dataset, views in found])
    if not cameras:
        stations = stations[by_proximity(stations)]
    dataset, views = found[0]
    return Plan(
        assemble(dataset.cameras[int(views[0]) : int(views[0]) + 1], between(stations, len(times)), times, scale), fps
    )


def saved_plan(pipeline: DynamicGaussiansPipeline, file: Path, timing: Timing, scale: float) -> Plan:
    """The camera path that the viewer saved, at its own times; with --span or --at at those instead.

    Raises:
        UserError: the file is no camera path, or not of a perspective camera, or see :meth:`Timing.times`.
    """
    clip = pipeline.gaussians.clip
    path, own, usual = read_saved_path(file, clip)
    steps = len(path)
    fps = timing.checked_fps(frame_rate(clip) if usual is None else usual)
    if timing.at is not None:
        own = np.full(steps, time_in(pipeline, timing.at, "--at"))
    elif timing.span is not None or own is None:
        own = np.linspace(*timing.ends(pipeline), steps)
    poses = path.camera_to_worlds.numpy().astype(np.float64)
    check_count((steps - 1) / timing.speed)
    count = max(round((steps - 1) / timing.speed) + 1, 1)
    times = np.interp(np.linspace(0, steps - 1, count), np.arange(steps), own)
    cameras = assemble(path[0:1], between(poses, count), times, scale)
    # Saved paths may zoom.
    focal = np.interp(np.linspace(0, steps - 1, count), np.arange(steps), path.fx[:, 0].numpy())
    zoom = (focal / focal[0])[:, None].astype(np.float32)
    cameras.fx, cameras.fy = cameras.fx * zoom, cameras.fy * zoom
    return Plan(cameras, fps)
