"""Measures ``process`` on synthetic recordings whose clocks, lenses and poses are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.capture.video import decode
from fourdgs_ns.capture.video_header import opened
from fourdgs_ns.common.console import say
from fourdgs_ns.common.files import write_json
from fourdgs_ns.common.workspace import FOLDER
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.process.alignment import compare_rigs
from fourdgs_ns.process.steps import Outcome, ProcessOptions, process
from fourdgs_ns.synth.generate import Recipe, build_renderer, build_rig
from fourdgs_ns.synth.media import Video
from fourdgs_ns.synth.sound import RATE, heard, scene_sound

LATE_FRAMES = (0, 7, -4, 12, 3, -9, 5, -2)


@dataclass(frozen=True)
class Errors:
    """Against the truth of the recordings."""

    sync_milliseconds: float
    """Largest over the cameras."""
    position_percent: float
    """Largest distance of a camera's centre after similarity alignment, in percent of the rig's diameter."""
    rotation_degrees: float
    focal_percent: float
    calibrated: int


def record(
    folder: Path, cameras: int, frames: int, size: tuple[int, int], fps: float, unique: int, advance: Callable[[], None]
) -> list[Camera]:
    """Recordings with sound. Only ``unique`` frames are rendered and played forth and back, because rendering is slow.

    Cameras are late by the whole frames of ``LATE_FRAMES``, in image and sound.
    """
    recipe = Recipe(
        cameras=cameras,
        frames=unique,
        width=size[0],
        height=size[1],
        fps=fps,
        scene="stage",
        layout="n3dv",
        images=False,
        chroma="420",
        seed=0,
        ground_truth=False,
        points=False,
        samples=4,
    )
    renderer = build_renderer(recipe)
    late = [LATE_FRAMES[i % len(LATE_FRAMES)] for i in range(cameras)]
    rig = [replace(c, time_offset_seconds=n / fps) for c, n in zip(build_rig(recipe, renderer), late, strict=True)]
    seconds = frames / fps
    sound = scene_sound(seconds, 0)
    period = max(1, 2 * (unique - 1))
    for camera, own in zip(rig, late, strict=True):
        view = renderer.for_camera(replace(camera, time_offset_seconds=None))
        images = []
        for k in range(unique):
            images.append(view.render(k).image)
            advance()
        track = heard(camera, np.asarray(renderer.scene.focus, np.float64), sound, seconds, fps, 0)
        video = Video(folder / f"{camera.name}.mp4", *size, fps, "420", (track, RATE))
        for k in range(frames):
            phase = (k + own) % period
            video.add(images[phase if phase < unique else period - phase])
        video.close()
    return rig


def errors_of(outcome: Outcome, rig: list[Camera], fps: float) -> Errors:
    """Compare the results of the steps with the rig that was recorded."""
    offsets = outcome.results["synchronise"]["offsets"]
    late = np.array([camera.time_offset_seconds for camera in rig])
    found = np.array([offsets[camera.name] for camera in rig])
    sync = (found - found[0]) - (late - late[0])
    by_name = {c["name"]: Camera.from_json(c) for c in outcome.results["calibrate"]["cameras"]}
    known = [camera for camera in rig if camera.name in by_name]
    reference = np.stack([camera.world_from_camera for camera in known])
    poses = np.stack([by_name[camera.name].world_from_camera for camera in known])
    difference = compare_rigs(poses, reference)
    centres = reference[:, :3, 3]
    size = max(float(np.linalg.norm(a - b)) for a in centres for b in centres)
    focal = [by_name[c.name].intrinsics[0, 0] / c.intrinsics[0, 0] - 1 for c in known]
    return Errors(
        1000 * float(np.abs(sync).max()),
        100 * float(difference.position.max()) / size,
        float(difference.rotation_degrees.max()),
        100 * float(np.abs(focal).max()),
        len(known),
    )


def decoding_seconds(videos: list[Path]) -> float:
    """Plain decoding of all frames with PyAV, nothing converted."""
    started = time.perf_counter()
    for path in videos:
        with opened(path) as container:
            for _ in decode(container, path):
                pass
    return time.perf_counter() - started


def benchmark(
    folder: Path, *, cameras: int, frames: int, size: tuple[int, int], fps: float, unique: int
) -> dict[str, Any]:
    """Record, process, compare and print; ``folder`` keeps recordings (raw/) and capture."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    rig = record(raw, cameras, frames, size, fps, unique, lambda: None)
    say(f"recorded {cameras} x {frames} frames at {size[0]}x{size[1]} in {time.perf_counter() - started:.0f} s")
    decoded = decoding_seconds(sorted(raw.glob("*.mp4")))
    outcome = process(ProcessOptions((raw,), folder / "capture", sync="audio"))
    errors = errors_of(outcome, rig, fps)
    seconds = {**outcome.seconds}
    extracting = seconds.get("extract", float("nan"))
    result = {"seconds": seconds, "decoding_seconds": decoded, **vars(errors)}
    say(f"minutes per step: {', '.join(f'{k} {v / 60:.2f}' for k, v in seconds.items())}")
    say(f"extraction {extracting:.1f} s, plain decoding {decoded:.1f} s ({extracting / decoded:.2f} times)")
    say(
        f"audio sync error at most {errors.sync_milliseconds:.2f} ms; {errors.calibrated} of {cameras} cameras calibrated, "
        f"positions within {errors.position_percent:.3f} % of the rig's size, {errors.rotation_degrees:.3f} degrees, focal "
        f"lengths within {errors.focal_percent:.2f} %"
    )
    write_json(folder / "capture" / FOLDER / "benchmark.json", result)
    return result
