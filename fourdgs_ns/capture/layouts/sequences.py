"""The frames of each camera, and the instants that all cameras share."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int

from fourdgs_ns.capture.capture import FrameSource, ImageFrames, VideoFrames
from fourdgs_ns.capture.images import probe_image
from fourdgs_ns.capture.layouts.reading import composed, path_in
from fourdgs_ns.capture.stamps import LARGEST_NUMBER, UNITS, are_stamps, on_grid, period_of, unit_of
from fourdgs_ns.capture.video_header import MAX_FRAMES, probe_video
from fourdgs_ns.common.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"})
INNER_FOLDERS = ("rgb", "images", "image", "color", "frames")
"""Where a camera's own folder keeps its frames when it does not hold them itself."""
MASK_FOLDERS = ("masks", "mask", "fmasks", "bgmtv2", "rvm")
LARGEST_STAMP = 2**62
"""Nanoseconds since 1970 until the year 2116."""
FEW = 6
"""How many names a sentence lists before it says "and N more"."""


@dataclass(frozen=True)
class Track:
    """All frames of one camera, before the cameras are aligned."""

    source: FrameSource
    numbers: Int[np.ndarray, " n"]
    """Number of each frame in the capture's own counting, increasing; equal numbers are the same instant. Time stamps until
    the cameras are aligned, where ``stamped``."""
    width: int
    height: int
    fps: float | None = None
    """Frame rate that the file states, or that time stamps have; None for other images."""
    has_alpha: bool = False
    hidden: int = 0
    """Frames that a video stores but hides by an edit list."""
    stamped: bool = False

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, picks: Sequence[int]) -> Track:
        """The frames ``picks`` only."""
        return replace(self, source=self.source.take(picks), numbers=self.numbers[list(picks)])


def natural_key(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sort key under which cam2 comes before cam10."""
    parts = re.split(r"(\d+)", name)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def in_clear_order(names: Sequence[str], file: Path, remedy: str) -> list[str]:
    """``names`` as they are sorted, for a ``file`` that lists cameras without naming them.

    Raises:
        UserError: by number and by letters they are sorted differently, and programs do either; ``remedy`` says what to do.
    """
    by_number, by_letter = sorted(names, key=natural_key), sorted(names)
    first = next((i for i, (a, b) in enumerate(zip(by_number, by_letter)) if a != b), None)
    if first is None:
        return by_number
    raise UserError(
        f"{file} does not say which camera is which: row {first} is {by_number[first]} when names are sorted by number, but "
        f"{by_letter[first]} when by letters, as LLFF does; {remedy}"
    )


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


def images_of(folder: Path) -> list[Path]:
    """The images of one camera: in its folder, else in a folder of a usual name inside, else in the only one inside."""
    own = files_in(folder, IMAGE_SUFFIXES)
    if own:
        return own
    inner = {f.name: images for f in folders_in(folder) if (images := files_in(f, IMAGE_SUFFIXES))}
    usual = next((name for name in INNER_FOLDERS if name in inner), None)
    return inner[usual] if usual is not None else next(iter(inner.values())) if len(inner) == 1 else []


def telling_names(folders: Sequence[PurePath]) -> list[str]:
    """What tells each of ``folders`` from the others: its name, else that of a folder around it, else its path below all."""
    different = set(folders)
    for depth in range(1, 1 + min(len(folder.parts) for folder in different)):
        names = {folder: folder.parts[-depth] for folder in different}
        if len(set(names.values())) == len(different):
            return [names[folder] for folder in folders]
    around = os.path.commonpath([str(folder) for folder in different])
    return ["_".join(folder.relative_to(around).parts) for folder in folders]


def by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    """One file per camera, named like it."""
    found: dict[str, Path] = {}
    for path in paths:
        name = composed(path.stem)
        if name in found:
            raise UserError(f"camera '{name}' has two files, {found[name]} and {path}; delete one")
        found[name] = path
    return found


def video_track(path: Path) -> Track:
    """All frames that a video shows, numbered from 0; where it dropped some, their numbers are missing."""
    header = probe_video(path)
    numbers = np.arange(header.frame_count)
    if header.numbers is not None and len(header.numbers) == header.frame_count:
        numbers = np.array(header.numbers)
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
    source, numbers = ImageFrames(tuple(paths[i] for i in order)), numbers[order]
    fps = stamped_fps(numbers)
    size = first.width, first.height
    return Track(source, numbers, *size, fps, has_alpha=first.has_alpha, stamped=fps is not None)


def stamped_fps(numbers: Int[np.ndarray, " n"]) -> float | None:
    """Frame rate of increasing time stamps; None for numbers of frames."""
    if not are_stamps(numbers.astype(np.float64)):
        return None
    period = period_of(numbers.astype(np.float64))
    return 1.0 / (period * UNITS[str(unit_of(period))])


def check_same_size(first: Path, other: Path, camera: str) -> None:
    """Refuse two images of one camera that differ in size."""
    a, b = probe_image(first), probe_image(other)
    if (a.width, a.height) != (b.width, b.height):
        raise UserError(
            f"camera '{camera}' has frames of two sizes: {first} is {a.width}x{a.height} and {other} is "
            f"{b.width}x{b.height}; export all frames of a camera at one size"
        )


def frame_numbers(paths: Sequence[Path], camera: str) -> Int[np.ndarray, " n"]:
    """The number in each file name (the last one that varies), which may be a time stamp; positions when names have none.

    Raises:
        UserError: two files have the same number, or one is missing in the middle.
    """
    groups = [re.findall(r"\d+", p.stem) for p in paths]
    if not all(groups):
        return np.arange(len(paths))
    columns = list(zip(*(reversed(g) for g in groups), strict=False))
    column = next((c for c in columns if len(set(c)) > 1), columns[0])
    if max(int(digits) for digits in column) > LARGEST_STAMP:
        return np.arange(len(paths))
    numbers = np.array([int(digits) for digits in column])
    order = np.argsort(numbers, kind="stable")
    steps = np.diff(numbers[order])
    if are_stamps(numbers[order].astype(np.float64)):
        return numbers
    if numbers.max() > LARGEST_NUMBER:  # a hash is no counter
        return np.arange(len(paths))
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
        images = files_in(path_in(folder, camera), IMAGE_SUFFIXES)
        flat = [p for p in files_in(folder, IMAGE_SUFFIXES | VIDEO_SUFFIXES) if composed(p.stem) == camera]
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
        # Masks of a video's frames count these, whatever was dropped before; a single mask is that of a single frame.
        if len(track) == len(masks) and (isinstance(track.source, VideoFrames) or len(track) == 1):
            position = {int(n): i for i, n in enumerate(track.numbers)}
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
    late: Mapping[str, float]
    """How much later than the middle of the rig a camera exposes its frames, in frames, as time stamps say."""


def align(tracks: Mapping[str, Track]) -> Alignment:
    """Cut all cameras to the frame numbers they share; a note says which camera had how many.

    Time stamps become numbers first, each by the clock of its camera.

    Raises:
        UserError: stamps are irregular or of some cameras only, lengths differ by more than 30 frames or a tenth of the clip, or
            no number is shared.
    """
    tracks, late = _numbered(tracks)
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
    return Alignment(common, picks, notes, late)


def _numbered(tracks: Mapping[str, Track]) -> tuple[Mapping[str, Track], Mapping[str, float]]:
    """The same cameras with numbers of frames in place of time stamps, and how late each camera's clock is, in frames."""
    stamped = {name: track for name, track in tracks.items() if track.stamped}
    if not stamped:
        return tracks, {}
    other = next((name for name in tracks if name not in stamped), None)
    grid = None if other is not None else on_grid({n: t.numbers.astype(np.float64) for n, t in stamped.items()})
    if grid is None:
        first = next(iter(stamped))
        found = f"those of camera '{other}' have not" if other is not None else "they do not lie on one frame rate"
        raise UserError(
            f"files of camera '{first}' have time stamps in their names ({stamped[first].source.describe(0)}) but {found}; "
            "number the frames of all cameras alike, such as 000000.jpg"
        )
    return {name: replace(track, numbers=grid.numbers[name]) for name, track in tracks.items()}, grid.late


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
        slowest, fastest = rates[ordered[0]], rates[ordered[-1]]
        return middle, (f"files state {slowest:g} to {fastest:g} frames per second; {middle:g} is used",)
    return middle, ()


def _range(track: Track) -> str:
    return f"{track.numbers[0]} to {track.numbers[-1]}"
