"""The frames of each camera, and the instants that all cameras share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from fourdgs_ns.capture.capture import FrameSource, ImageFrames, VideoFrames
from fourdgs_ns.capture.images import probe_image
from fourdgs_ns.capture.video_header import MAX_FRAMES, probe_video
from fourdgs_ns.common.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"})
MASK_FOLDERS = ("masks", "mask", "fmasks", "bgmtv2", "rvm")
FEW = 6
"""How many names a sentence lists before it says "and N more"."""


@dataclass(frozen=True)
class Track:
    """All frames of one camera, before the cameras are aligned."""

    source: FrameSource
    numbers: Int[np.ndarray, " n"]
    """Number of each frame in the capture's own counting, increasing; equal numbers are the same instant."""
    width: int
    height: int
    fps: float | None = None
    """Frame rate that the file states; None for images."""
    has_alpha: bool = False
    hidden: int = 0
    """Frames that a video stores but hides by an edit list."""

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, picks: Sequence[int]) -> Track:
        """The frames ``picks`` only."""
        return replace(self, source=self.source.take(picks), numbers=self.numbers[list(picks)])


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sort key under which cam2 comes before cam10."""
    parts = re.split(r"(\d+)", name)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first few of them."""
    rest = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + rest


def files_in(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files of these types directly in ``folder``, naturally sorted; hidden ones are skipped."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        names = [entry.name for entry in found if entry.is_file() and not entry.name.startswith(".")]
    fitting = [name for name in names if os.path.splitext(name)[1].lower() in suffixes]
    return [folder / name for name in sorted(fitting, key=natural_key)]


def folders_in(folder: Path) -> list[Path]:
    """Folders directly in ``folder``, naturally sorted; hidden ones are skipped."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(found, key=lambda p: natural_key(p.name))


def by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    """One file per camera, named like it."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise UserError(f"camera '{path.stem}' has two files, {found[path.stem]} and {path}; delete one")
        found[path.stem] = path
    return found


def video_track(path: Path) -> Track:
    """All frames that a video shows, numbered from 0."""
    header = probe_video(path)
    numbers = np.arange(header.frame_count)
    source = VideoFrames(path, tuple(range(header.frame_count)))
    return Track(source, numbers, header.width, header.height, header.fps, hidden=header.hidden_frames)


def image_track(paths: Sequence[Path], camera: str) -> Track:
    """A numbered image sequence; one image is frame 0 whatever its name.

    Only the first and the last header are read: the frame reader compares each image with them when it decodes it.

    Raises:
        UserError: a number is missing or double, or the sizes differ.
    """
    paths = sorted(paths, key=lambda p: natural_key(p.name))
    if len(paths) > MAX_FRAMES:
        raise UserError(
            f"camera '{camera}' has {len(paths)} images in {paths[0].parent}; keep at most {MAX_FRAMES} there"
        )
    numbers = frame_numbers(paths, camera) if len(paths) > 1 else np.zeros(1, dtype=np.int64)
    first = probe_image(paths[0])
    check_same_size(paths[0], paths[-1], camera)
    order = np.argsort(numbers, kind="stable")
    source = ImageFrames(tuple(paths[i] for i in order))
    return Track(source, numbers[order], first.width, first.height, has_alpha=first.has_alpha)


def check_same_size(first: Path, other: Path, camera: str) -> None:
    """Refuse two images of one camera that differ in size."""
    a, b = probe_image(first), probe_image(other)
    if (a.width, a.height) != (b.width, b.height):
        raise UserError(
            f"camera '{camera}' has frames of two sizes: {first} is {a.width}x{a.height} and {other} is "
            f"{b.width}x{b.height}; export all frames of a camera at one size"
        )


def frame_numbers(paths: Sequence[Path], camera: str) -> Int[np.ndarray, " n"]:
    """The number in each file name (the last one that varies); positions when names have none.

    Raises:
        UserError: two files have the same number, or one is missing in the middle.
    """
    groups = [re.findall(r"\d+", p.stem) for p in paths]
    if not all(groups):
        return np.arange(len(paths))
    columns = list(zip(*(reversed(g) for g in groups), strict=False))
    column = next((c for c in columns if len(set(c)) > 1), columns[0])
    if max(len(digits) for digits in column) > 9:  # a time stamp or a hash is no counter
        return np.arange(len(paths))
    numbers = np.array([int(digits) for digits in column])
    order = np.argsort(numbers, kind="stable")
    steps = np.diff(numbers[order])
    double = np.flatnonzero(steps == 0)
    if len(double):
        a, b = paths[order[double[0]]], paths[order[double[0] + 1]]
        raise UserError(
            f"camera '{camera}' has two files for frame {numbers[order[double[0]]]}, {a} and {b}; delete one"
        )
    holes = np.flatnonzero(steps != steps.min())
    if len(holes):
        before = paths[order[holes[0]]]
        missing = numbers[order[holes[0]]] + steps.min()
        raise UserError(
            f"camera '{camera}' lacks frame {missing}: in {before.parent} nothing lies between {before.name} and "
            f"{paths[order[holes[0] + 1]].name}; put that frame back, or cut all cameras before it"
        )
    return numbers


def mask_source(root: Path, camera: str, track: Track) -> FrameSource | None:
    """Masks of one camera, one per frame of ``track``.

    Looked for as masks/<camera>/<frame>, masks/<camera>.png and masks/<camera>.mp4, under any name of ``MASK_FOLDERS``.

    Raises:
        UserError: a frame has no mask, or masks and frames differ in size.
    """
    for folder in (root / name for name in MASK_FOLDERS):
        images = files_in(folder / camera, IMAGE_SUFFIXES)
        flat = [p for p in files_in(folder, IMAGE_SUFFIXES | VIDEO_SUFFIXES) if p.stem == camera]
        if images:
            masks = image_track(images, camera)
        elif flat:
            masks = video_track(flat[0]) if flat[0].suffix.lower() in VIDEO_SUFFIXES else image_track(flat[:1], camera)
        else:
            continue
        if (masks.width, masks.height) != (track.width, track.height):
            raise UserError(
                f"the masks of camera '{camera}' in {folder} are {masks.width}x{masks.height} but "
                f"its frames {track.width}x{track.height}; export them at that size, or rename {folder.name} to ignore it"
            )
        position = {int(n): i for i, n in enumerate(masks.numbers)}
        if len(track) == 1 and len(masks) == 1:
            position = {int(track.numbers[0]): 0}
        for i, n in enumerate(track.numbers):
            if int(n) not in position:
                raise UserError(
                    f"frame {n} of camera '{camera}' ({track.source.describe(i)}) has no mask in {folder}; "
                    f"add it, or rename {folder.name} to ignore the masks"
                )
        return masks.source.take([position[int(n)] for n in track.numbers])
    return None


@dataclass(frozen=True)
class Alignment:
    """The instants all cameras share, and where each camera has them."""

    numbers: Int[np.ndarray, " f"]
    picks: Mapping[str, list[int]]
    notes: tuple[str, ...]


def align(tracks: Mapping[str, Track]) -> Alignment:
    """Cut all cameras to the frame numbers they share; a note says which camera had how many.

    Raises:
        UserError: lengths differ by more than 30 frames or a tenth of the clip, or no number is shared.
    """
    counts = {name: len(track) for name, track in tracks.items()}
    longest, shortest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    difference = counts[longest] - counts[shortest]
    if difference > min(30.0, max(1.0, counts[longest] / 10)):
        source = tracks[shortest].source
        where = source.path if isinstance(source, VideoFrames) else source.paths[0].parent
        raise UserError(
            f"camera '{shortest}' has {counts[shortest]} frames ({where}) but camera '{longest}' has "
            f"{counts[longest]}; cut all cameras to the same interval, "
            f"or move the files of the short camera away with its calibration"
        )
    ranges = {name: set(track.numbers.tolist()) for name, track in tracks.items()}
    common = np.array(sorted(set.intersection(*ranges.values())), dtype=np.int64)
    if len(common) == 0:
        first = next(iter(tracks))
        other = next((n for n in tracks if not ranges[n] & ranges[first]), shortest)
        raise UserError(
            f"no frame number is shared by all cameras: '{first}' has frames {_range(tracks[first])} and '{other}' has "
            f"{_range(tracks[other])}; number the frames of all cameras alike"
        )
    if len(common) < 0.5 * counts[shortest]:
        ends = "; ".join(f"{n} {_range(t)}" for n, t in list(tracks.items())[:FEW])
        raise UserError(
            f"all cameras share only the {len(common)} frames {common[0]} to {common[-1]} ({ends}); "
            f"number the frames of all cameras alike, or correct the offsets in sync.json"
        )
    notes: tuple[str, ...] = ()
    cut = [f"{n} has {len(t)} ({_range(t)})" for n, t in tracks.items() if len(t) != len(common)]
    if cut:
        notes = (f"frames {common[0]} to {common[-1]} are used, which all cameras share; {listed(cut)}",)
    hiding = [f"{n} stores {t.hidden} more" for n, t in tracks.items() if t.hidden]
    if hiding:
        notes = (*notes, f"frames that an edit list hides (a trimmed video) are left out: {listed(hiding)}")
    picks = {}
    for name, track in tracks.items():
        picks[name] = np.flatnonzero(np.isin(track.numbers, common)).tolist()
    return Alignment(common, picks, notes)


def common_fps(tracks: Mapping[str, Track]) -> tuple[float, tuple[str, ...]]:
    """The frame rate of videos; rates may differ as long as no camera drifts half a frame over the clip.

    Raises:
        UserError: they differ by more.
    """
    rates = {name: track.fps for name, track in tracks.items() if track.fps is not None}
    ordered = sorted(rates, key=rates.__getitem__)
    middle = rates[ordered[(len(ordered) - 1) // 2]]
    for name in (ordered[0], ordered[-1]):
        relative = abs(rates[name] / middle - 1)
        if relative > 0.01 or relative * len(tracks[name]) >= 0.5:
            other = next(n for n in ordered if rates[n] == middle)
            raise UserError(
                f"camera '{name}' runs at {rates[name]:g} frames per second but camera '{other}' at {middle:g}; "
                f"re-encode the videos to one constant rate with: ffmpeg -i INPUT -r {middle:g} OUTPUT.mp4"
            )
    if rates[ordered[0]] != rates[ordered[-1]]:
        note = f"headers state {rates[ordered[0]]:g} to {rates[ordered[-1]]:g} frames per second; {middle:g} is used"
        return middle, (note,)
    return middle, ()


def _range(track: Track) -> str:
    return f"{track.numbers[0]} to {track.numbers[-1]}"
