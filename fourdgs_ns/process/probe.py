"""First step: what each video is, before anything is decoded in full."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.layouts.names import is_name
from fourdgs_ns.capture.layouts.sequences import VIDEO_SUFFIXES, files_in, listed
from fourdgs_ns.capture.video_header import UNEVEN_FRAMES, frame_times, opened, probe_video, rate_errors
from fourdgs_ns.common.errors import UserError

FEWEST_FRAMES = 2


@dataclass(frozen=True)
class RawVideo:
    """One camera's recording."""

    camera: str
    path: Path
    codec: str
    width: int
    """As shown: a rotation flag is applied."""
    height: int
    rotation: int
    """Degrees by which players turn the image, counter-clockwise."""
    bits: int
    hdr: bool
    fps: float
    variable_rate: bool
    frames: int
    times: tuple[float, ...]
    """When each frame is shown, seconds from the first one."""
    clock_start: float
    """Time of the first frame on the clock of the file, which sound shares."""
    audio: bool

    @property
    def duration(self) -> float:
        """Seconds from the first to the last frame."""
        return self.times[-1]

    def local_times(self) -> Float[np.ndarray, " n"]:
        """Seconds of each frame after the first one."""
        return np.asarray(self.times)


def find_videos(inputs: Sequence[Path], names: Sequence[str] = ()) -> dict[str, Path]:
    """Video files by camera, from a folder or a list of files; ``names`` replace the stems, in natural order.

    Raises:
        UserError: nothing there, fewer than two, or names that do not fit.
    """
    paths: list[Path] = []
    for given in inputs:
        if given.is_dir():
            inside = files_in(given, VIDEO_SUFFIXES)
            if not inside:
                raise UserError(
                    f"{given} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); give the folder of the videos"
                )
            paths.extend(inside)
        elif given.is_file():
            paths.append(given)
        else:
            raise UserError(f"{given} does not exist; give the videos, or the folder that holds them")
    if len(paths) < 2:
        raise UserError(
            f"{paths[0] if paths else 'nothing'} is a single video; a capture needs at least 2 cameras, give all of them"
        )
    if names and len(names) != len(paths):
        raise UserError(
            f"--camera-names gives {len(names)} names for {len(paths)} videos ({listed([p.name for p in paths])}); "
            "give one per video in this order"
        )
    found: dict[str, Path] = {}
    for i, path in enumerate(paths):
        name = names[i] if names else path.stem
        if not is_name(name) or name.startswith("."):
            raise UserError(
                f"{name[:60]!r} is no name for a camera, which is one of files, too; use letters and digits in --camera-names"
            )
        if name in found:
            raise UserError(
                f"{found[name]} and {path} would both be camera '{name}'; tell them apart with --camera-names"
            )
        found[name] = path.resolve()
    return found


def probe(videos: dict[str, Path]) -> list[RawVideo]:
    """Facts of every video.

    Raises:
        UserError: a file is no video or cut off, or two are the same recording.
    """
    _refuse_twins(videos)
    return [_probe_one(camera, path) for camera, path in videos.items()]


def to_json(videos: Sequence[RawVideo]) -> dict[str, Any]:
    """What the step keeps."""
    return {"videos": [{**asdict(video), "path": str(video.path)} for video in videos]}


def from_json(content: dict[str, Any]) -> list[RawVideo]:
    """Inverse of :func:`to_json`."""
    return [RawVideo(**{**v, "path": Path(v["path"]), "times": tuple(v["times"])}) for v in content["videos"]]


def notes_of(videos: Sequence[RawVideo]) -> list[str]:
    """What differs from a plain set of videos, and what is done about it."""
    notes = []
    for video in videos:
        if video.variable_rate:
            notes.append(
                f"{video.camera} has a variable frame rate: for each instant its frame nearest in time is taken"
            )
        if video.rotation:
            notes.append(f"{video.camera} is turned by {video.rotation} degrees, as its rotation flag says")
        if video.hdr:
            notes.append(f"{video.camera} is HDR ({video.bits} bit): it is brought to standard range")
        elif video.bits > 8:
            notes.append(f"{video.camera} has {video.bits} bits per channel: they are rounded to 8")
    sizes = sorted({(v.width, v.height) for v in videos})
    if len(sizes) > 1:
        notes.append(f"sizes differ ({listed([f'{w}x{h}' for w, h in sizes])}): each camera gets its own lens")
    rates = [v.fps for v in videos]
    if max(rates) / min(rates) > 1.01:
        notes.append(f"frame rates differ ({min(rates):.4g} to {max(rates):.4g}): the lowest one is used for all")
    return notes


def _probe_one(camera: str, path: Path) -> RawVideo:
    header = probe_video(path)
    times = frame_times(path)
    if len(times) < FEWEST_FRAMES:
        raise UserError(f"{path} has {len(times)} frames; a clip needs at least {FEWEST_FRAMES}, give another video")
    with opened(path) as container:
        audio = bool(container.streams.audio)
    local = times - times[0]
    usual = float(np.median(np.diff(local)))
    if usual <= 0:
        usual = 1.0 / header.fps
        local = np.arange(len(times)) * usual
    average = local[-1] / (len(local) - 1)
    variable = bool(rate_errors(local, 1 / average).max() > UNEVEN_FRAMES)
    return RawVideo(
        camera, path, header.codec, header.width, header.height, header.rotation, header.bits, header.hdr,
        1.0 / (usual if variable else average), variable, len(local), tuple(local.tolist()), float(times[0]), audio,
    )  # fmt: skip


def _refuse_twins(videos: dict[str, Path]) -> None:
    """Two cameras with the same bytes: a copy under two names, or one file given twice."""
    by_size: dict[int, list[str]] = {}
    for camera, path in videos.items():
        by_size.setdefault(path.stat().st_size, []).append(camera)
    for cameras in by_size.values():
        seen: dict[str, str] = {}
        for camera in cameras if len(cameras) > 1 else ():
            content = _content(videos[camera])
            if content in seen:
                other = seen[content]
                raise UserError(
                    f"cameras '{other}' and '{camera}' are the same recording ({videos[other]} and {videos[camera]}); "
                    "remove one of them"
                )
            seen[content] = camera


def _content(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            content.update(block)
    return content.hexdigest()
