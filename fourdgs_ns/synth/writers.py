"""Writes a rendered scene in the layouts of captures that the project reads.

Each writer renders all its views through :func:`render_cameras` or :meth:`Job.view`, and writes calibration next to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float

from fourdgs_ns.common.files import write_json
from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, Camera
from fourdgs_ns.synth.backdrop import Backdrop
from fourdgs_ns.synth.media import Video, write_image
from fourdgs_ns.synth.renderer import RenderedImage, Renderer
from fourdgs_ns.synth.rigs import moving_camera
from fourdgs_ns.synth.sound import RATE, heard, scene_sound


@dataclass(frozen=True)
class Job:
    """One capture to write."""

    renderer: Renderer
    cameras: list[Camera]
    """The rig; for dnerf empty."""
    root: Path
    images: bool
    """Images instead of videos where the layout has both."""
    chroma: str
    """Of videos: "444" or "420"."""
    advance: Callable[[], None]
    """Called after each rendered view."""
    audio: bool = False
    """Give videos a track of sound."""
    backdrop: Backdrop | None = None
    """Behind the things, in place of the room."""

    def seen(self, rendered: RenderedImage, number: int) -> RenderedImage:
        """What camera ``number`` takes of what was rendered."""
        if self.backdrop is None:
            return rendered
        return self.backdrop.shown(rendered, self.cameras[number], number)


@runtime_checkable
class Sink(Protocol):
    """Where the images of one camera go, in the order of frames."""

    def add(self, rendered: RenderedImage) -> None: ...

    def close(self) -> None: ...


class VideoSink:
    """A video of the images."""

    def __init__(self, path: Path, camera: Camera, job: Job) -> None:
        clip = job.renderer.scene.clip
        sound = None
        if job.audio:
            seconds, seed = clip.frames / clip.fps, job.renderer.scene.seed
            source = np.asarray(job.renderer.scene.focus, np.float64)
            sound = heard(camera, source, scene_sound(seconds, seed), seconds, clip.fps, seed), RATE
        self._video = Video(path, camera.width, camera.height, clip.fps, job.chroma, sound)

    def add(self, rendered: RenderedImage) -> None:
        self._video.add(rendered.image)

    def close(self) -> None:
        self._video.close()


class ImageSink:
    """A folder of numbered JPEG images."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def add(self, rendered: RenderedImage) -> None:
        write_image(self._folder / f"{self._count:06d}.jpg", rendered.image)
        self._count += 1

    def close(self) -> None:
        pass


class MatteSink:
    """A folder of numbered masks beside another sink."""

    def __init__(self, folder: Path, beside: Sink) -> None:
        self._folder, self._beside, self._count = folder, beside, 0

    def add(self, rendered: RenderedImage) -> None:
        write_image(self._folder / f"{self._count:06d}.png", rendered.matte)
        self._count += 1
        self._beside.add(rendered)

    def close(self) -> None:
        self._beside.close()


def render_cameras(job: Job, sink_of: Callable[[Camera], Sink]) -> None:
    """Render every frame of every camera into its sink, which works in a thread of its own."""
    for number, camera in enumerate(job.cameras):
        view = job.renderer.for_camera(camera)
        sink = sink_of(camera)
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
                waiting: deque[Future[None]] = deque()
                for frame in range(job.renderer.scene.clip.frames):
                    waiting.append(writer.submit(sink.add, job.seen(view.render(frame), number)))
                    if len(waiting) > 4:
                        waiting.popleft().result()
                    job.advance()
                for future in waiting:
                    future.result()
        finally:
            sink.close()


def num_views(layout: str, cameras: int, frames: int) -> int:
    """Views that a layout renders, for the progress bar."""
    return frames + 2 * cameras if layout == "dnerf" else frames * cameras


def write_n3dv(job: Job) -> None:
    """cam00.mp4, cam01.mp4, ... and poses_bounds.npy."""
    render_cameras(job, lambda camera: VideoSink(job.root / f"{camera.name}.mp4", camera, job))
    rows = [llff_row(camera, *depth_bounds(job.renderer, camera)) for camera in job.cameras]
    np.save(job.root / "poses_bounds.npy", np.stack(rows))


def llff_row(camera: Camera, near: float, far: float) -> Float[np.ndarray, "17"]:
    """A row of poses_bounds.npy: [down, right, backwards | centre | height, width, focal], then the depth bounds."""
    pose = camera.world_from_camera
    right, down, forward, centre = pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3]
    size = np.array([camera.height, camera.width, camera.intrinsics[0, 0]])
    matrix = np.stack([down, right, -forward, centre, size], axis=1)
    return np.concatenate([matrix.ravel(), [near, far]])


def depth_bounds(renderer: Renderer, camera: Camera) -> tuple[float, float]:
    """Depths in metres that enclose all that a camera sees in a few frames, with a tenth to spare."""
    width = 64
    scale = width / camera.width
    height = max(1, round(camera.height * scale))
    small = replace(camera, width=width, height=height, intrinsics=np.diag([scale, scale, 1.0]) @ camera.intrinsics)
    last = renderer.scene.clip.frames - 1
    depths = np.stack(
        [renderer.ground_truth(small, frame).depth for frame in sorted({0, last // 3, last * 2 // 3, last})]
    )
    depths = depths[np.isfinite(depths)]
    return float(0.9 * np.min(depths)), float(1.1 * np.max(depths))


def write_easyvolcap(job: Job) -> None:
    """intri.yml, extri.yml, videos/ or images/, and masks/ of the actors."""

    def sink_of(camera: Camera) -> Sink:
        images = ImageSink(job.root / "images" / camera.name)
        sink = images if job.images else VideoSink(job.root / "videos" / f"{camera.name}.mp4", camera, job)
        return MatteSink(job.root / "masks" / camera.name, sink)

    render_cameras(job, sink_of)
    intri = _OpenCvYaml(job.root / "intri.yml", job.cameras)
    extri = _OpenCvYaml(job.root / "extri.yml", job.cameras)
    for camera in job.cameras:
        camera_from_world = np.linalg.inv(camera.world_from_camera)
        rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3:]
        intri.add(f"K_{camera.name}", camera.intrinsics)
        intri.add(f"H_{camera.name}", float(camera.height))
        intri.add(f"W_{camera.name}", float(camera.width))
        intri.add(f"D_{camera.name}", np.zeros((5, 1)))
        extri.add(f"R_{camera.name}", cv2.Rodrigues(rotation)[0])
        extri.add(f"Rot_{camera.name}", rotation)
        extri.add(f"T_{camera.name}", translation)
    intri.close()
    extri.close()
    if job.images:
        _write_metadata(job)


class _OpenCvYaml:
    """OpenCV's YAML, which starts with the list of cameras."""

    def __init__(self, path: Path, cameras: list[Camera]) -> None:
        self._storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
        self._storage.startWriteStruct("names", cv2.FILE_NODE_SEQ)
        for camera in cameras:
            self._storage.write("", camera.name)
        self._storage.endWriteStruct()

    def add(self, key: str, value: np.ndarray | float) -> None:
        self._storage.write(key, value)

    def close(self) -> None:
        self._storage.release()


def _write_metadata(job: Job) -> None:
    clip = job.renderer.scene.clip
    names = [camera.name for camera in job.cameras]
    write_json(job.root / "metadata.json", {"fps": clip.fps, "num_frames": clip.frames, "cameras": names})


def write_transforms(job: Job) -> None:
    """frames/<camera>/<frame>.jpg with transforms.json and metadata.json."""
    clip = job.renderer.scene.clip
    render_cameras(job, lambda camera: ImageSink(job.root / "frames" / camera.name))
    first = job.cameras[0]
    content = {
        "camera_model": "OPENCV",
        "w": first.width,
        "h": first.height,
        "fl_x": first.intrinsics[0, 0],
        "fl_y": first.intrinsics[1, 1],
        "cx": first.intrinsics[0, 2],
        "cy": first.intrinsics[1, 2],
        "frames": [
            {
                "file_path": f"frames/{camera.name}/{frame:06d}.jpg",
                "time": clip.time(frame),
                "camera_label": camera.name,
                "transform_matrix": (camera.world_from_camera @ OPENCV_FROM_OPENGL).tolist(),
            }
            for camera in job.cameras
            for frame in range(clip.frames)
        ],
    }
    write_json(job.root / "transforms.json", content)
    _write_metadata(job)


@dataclass(frozen=True)
class Split:
    """The poses of one split of a D-NeRF capture."""

    name: str
    cameras: list[Camera]
    """One per view."""
    frames: list[int]
    """The frame that each view shows."""


def dnerf_splits(renderer: Renderer, held_out: int, width: int, height: int) -> list[Split]:
    """Training views at every frame; ``held_out`` validation and test views spread over the clip."""
    scene = renderer.scene
    counts = {"train": scene.clip.frames, "val": held_out, "test": held_out}
    splits = []
    for number, (name, count) in enumerate(counts.items()):
        frames = [scene.clip.frame_at(share) for share in np.linspace(0.0, 1.0, count)]
        cameras = moving_camera(scene, count, 2.1 * number + scene.seed, "r_", width, height)
        splits.append(Split(name, cameras, frames))
    return splits


def write_dnerf(job: Job, splits: list[Split]) -> None:
    """train/, val/, test/ with RGBA images r_000.png, ... and transforms_<split>.json; the room is left out."""
    clip = job.renderer.scene.clip
    for split in splits:
        listed = []
        for camera, frame in zip(split.cameras, split.frames, strict=True):
            rendered = job.renderer.for_camera(camera).render(frame)
            rgba = np.concatenate([rendered.image, rendered.matte[..., None]], axis=2)
            write_image(job.root / split.name / f"{camera.name}.png", rgba)
            listed.append(
                {
                    "file_path": f"./{split.name}/{camera.name}",
                    "rotation": 0.0,
                    "time": clip.time(frame),
                    "transform_matrix": (camera.world_from_camera @ OPENCV_FROM_OPENGL).tolist(),
                }
            )
            job.advance()
        first = split.cameras[0]
        angle = 2 * np.arctan2(first.width / 2, first.intrinsics[0, 0])
        write_json(job.root / f"transforms_{split.name}.json", {"camera_angle_x": angle, "frames": listed})
    write_json(job.root / "metadata.json", {"fps": clip.fps, "num_frames": clip.frames})
