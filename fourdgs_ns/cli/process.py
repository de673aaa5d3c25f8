"""``fourdgs-ns process``: from the videos of several cameras to a capture."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fourdgs_ns.points.matcher_name import MatcherName


@dataclass
class Process:
    """Turn the videos of several cameras that stood still into a capture that trains.

    Steps: probe, synchronise, extract, calibrate, undistort, masks, points, check, write. Each keeps its result, so that an
    interrupted run goes on where it was; typing the command again with other options redoes only what depends on them.
    """

    videos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """A folder of videos, or the video files, one per camera. The first camera is held out for scores."""
    out: Path
    """Folder of the capture."""
    camera_names: tuple[str, ...] = ()
    """Names of the cameras, in natural order of the files. Default: the names of the files."""
    sync: Literal["auto", "audio", "flash", "none", "given"] = "auto"
    """audio: a common sound (clap once). flash: a flash or lamp all cameras see. none: recordings started together. given:
    --sync-offsets. auto: given if there are offsets, else audio if all have sound, else none."""
    sync_offsets: tuple[str, ...] = ()
    """CAMERA=SECONDS: how much later a recording started than the others; fractions of a frame count."""
    fps: float | None = None
    """Frames per second of the capture. Default: the lowest rate of the cameras."""
    start: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    """When the capture begins, counted from the beginning of what all cameras recorded: seconds (1.5), a frame at the capture's
    rate (45f) or a share (50%)."""
    end: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    """When it ends."""
    every: int = 1
    """Keep each n-th frame."""
    resize: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="W H")] = None
    """Size of the frames in pixels."""
    downscale: float = 1.0
    """How many times smaller than the videos the frames are."""
    calibration: str = "colmap"
    """colmap: from the frames themselves. Else a file or folder that other tools wrote: poses_bounds.npy, intri.yml,
    Calib.toml or camera_array.toml, a COLMAP model, transforms.json, cameras_parameters.txt, models.json."""
    lens: Literal["pinhole", "radial", "opencv", "fisheye"] = "radial"
    """Lens model of --calibration colmap. radial suits phones, opencv wide lenses with many points, fisheye action cameras."""
    shared_intrinsics: bool = False
    """One lens for all cameras of a size: better with identical cameras at one zoom."""
    matching: Literal["exhaustive", "sequential"] = "exhaustive"
    """sequential: cameras stand in a ring in the order of their names, only neighbours are compared."""
    markers: str = "auto"
    """ArUco or ChArUco markers that were carried through the scene tie cameras together that see nothing else in common, and a
    board of them (its size need not be known) corrects lenses and poses: auto, none, or the name of a dictionary such as
    DICT_4X4_50."""
    masks: str = "none"
    """none, background-subtraction, or a folder with one folder of masks per camera."""
    clean_plates: Path | None = None
    """Folder with one image <camera>.jpg of the empty scene each, for --masks background-subtraction."""
    points: MatcherName | Literal["none"] = "sift"
    """Initial points over time, as in fourdgs-ns init."""
    redo_from: Annotated[str | None, tyro.conf.arg(name="from", metavar="STEP")] = None
    """Redo this step and those after it: probe, synchronise, extract, calibrate, undistort, masks, points, check or write."""

    def run(self) -> None:
        """Run all steps; exit code 1 when the check ends in red, although the capture is written."""

        from fourdgs_ns.process.steps import ProcessOptions, process

        outcome = process(ProcessOptions(**vars(self)))
        if outcome.red:
            sys.exit(1)
