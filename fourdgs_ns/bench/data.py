"""How fast frames are decoded, stored and served, against plain decoding in the same run, and the host memory that takes."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from fourdgs_ns.bench import step
from fourdgs_ns.capture.capture import Capture, FrameSource
from fourdgs_ns.capture.frames.building import num_workers
from fourdgs_ns.capture.frames.store import open_frame_store
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.common.machine_memory import peak_host_memory
from fourdgs_ns.common.workspace import cache_directory
from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainer
from fourdgs_ns.synth.media import Video

FPS = 30.0


@dataclass(frozen=True)
class DataRates:
    """Frames per second and bytes of host memory."""

    cameras: int
    frames: int
    """Of all cameras."""
    decoding: float
    """Plain decoding to RGB; nothing is kept."""
    building: float
    """Decoding into the frame store: resampling where it applies, checksums, the disk."""
    served: float
    """What the data path alone gives to training."""
    needed: float
    """What training at full speed takes."""
    residency: str
    """Where frames wait, and why."""
    peak_building: int
    """Peak resident bytes of this process until the store was built."""
    peak: int
    """The same after training."""


def make_recordings(folder: Path, cameras: int, frames: int, size: tuple[int, int]) -> Path:
    """A capture in N3DV's layout whose cameras all recorded the same clip, which is stored once: a texture that drifts.

    What is shown does not matter to the data path; its size, length and number of cameras do.
    """
    width, height = size
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2 + frames // 4, 3)).astype(np.uint8)
    texture = cv2.resize(coarse, (width + 2 * frames, height), interpolation=cv2.INTER_CUBIC)
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "cam00.mp4"
    video = Video(first, width, height, FPS, "420")
    for k in range(frames):
        video.add(np.ascontiguousarray(texture[:, 2 * k : 2 * k + width]))
    video.close()
    rows = []
    for camera in range(cameras):
        if camera:
            os.link(first, folder / f"cam{camera:02d}.mp4")
        angle = 0.05 * (camera - (cameras - 1) / 2)
        right, back = np.array([np.cos(angle), 0, -np.sin(angle)]), np.array([np.sin(angle), 0, np.cos(angle)])
        pose = np.stack([np.array([0, -1.0, 0]), right, back, 4 * back, [height, width, 0.8 * width]], axis=1)
        rows.append(np.concatenate([pose.reshape(-1), [1.0, 10.0]]))
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def decoding_rate(capture: Capture) -> float:
    """Frames per second of plain decoding, as many cameras at a time as the frame store is built from."""
    start = perf_counter()
    with ThreadPoolExecutor(num_workers(len(capture.cameras))) as pool:
        count = sum(pool.map(_decode_all, [camera.frames for camera in capture.cameras]))
    return count / (perf_counter() - start)


def _decode_all(source: FrameSource) -> int:
    return sum(1 for _ in read_frames(source))


def _build(trainer: DynamicGaussiansTrainer) -> float:
    """Build the frame store anew in a folder of its own; its files then serve the training unless it has them already."""
    dataset = trainer.pipeline.datamanager.train_dataset
    cache = cache_directory(dataset.capture.root)
    (cache / "frames").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        start = perf_counter()
        options = dataset.facts.downscale, dataset.facts.masks_as_alpha
        store = open_frame_store(dataset.capture, options[0], masks=options[1], directory=Path(folder), progress=False)
        seconds = perf_counter() - start
        store.close()
        for file in Path(folder).iterdir():
            target = cache / "frames" / file.name
            if not target.exists():
                os.replace(file, target)
    return sum(len(camera.frames) for camera in dataset.capture.cameras) / seconds


def measure(trainer: DynamicGaussiansTrainer, steps: int) -> DataRates:
    """Decode plainly, build the store, train ``steps`` steps and serve as many batches without training."""
    capture = trainer.pipeline.datamanager.train_dataset.capture
    decoding = decoding_rate(capture)
    building = _build(trainer)
    peak_building = peak_host_memory()
    times = step.measure(trainer, steps)
    return DataRates(
        cameras=len(capture.cameras),
        frames=sum(len(camera.frames) for camera in capture.cameras),
        decoding=decoding,
        building=building,
        served=times.frames_per_second,
        needed=times.frames_needed,
        residency=trainer.pipeline.datamanager.frames.reason,
        peak_building=peak_building,
        peak=peak_host_memory(),
    )
