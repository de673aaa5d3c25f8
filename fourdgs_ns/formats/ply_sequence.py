"""``ply-sequence``: a folder of ``frame_00000.ply`` and so on, one 3DGS PLY per frame: what editors play as a flip-book."""

from __future__ import annotations

import re
from pathlib import Path

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing
from fourdgs_ns.formats import gaussian_ply
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import size_lines
from fourdgs_ns.formats.trained_scene import TrainedScene

FRAME_NAME = re.compile(r"frame_(\d{5,})\.ply")


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write the chosen frames into the folder ``path``, numbered as in the clip, in the capture's world.

    Returns:
        Notes for the user. A frame in which nothing is visible has no Gaussians.

    Raises:
        UserError: the folder is there and may not be replaced, or holds more than such a sequence.
    """
    if options.overwrite and path.is_dir():
        other = next((entry.name for entry in path.iterdir() if not FRAME_NAME.fullmatch(entry.name)), None)
        if other is not None:
            raise UserError(
                f"{path} holds {other}, which is no frame of a sequence; give a folder that may be replaced"
            )
    notes: list[str] = []
    slicer = gaussian_ply.Slicer(scene, options, "ply-sequence", notes)
    frames, times = options.chosen_frames(scene), scene.times()
    counts = []
    with appearing(path, options.overwrite) as temporary:
        for done, frame in enumerate(frames, start=1):
            counts.append(slicer.write(temporary / f"frame_{frame:05d}.ply", times[frame]))
            options.advance(done, len(frames))
    return [*notes, f"{len(frames)} frames with {min(counts)} to {max(counts)} visible Gaussians"]


def frames_of(folder: Path) -> dict[int, Path]:
    """Frame number -> file, in order."""
    found = {}
    for file in folder.iterdir():
        match = FRAME_NAME.fullmatch(file.name)
        if match:
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def frames_in(folder: Path) -> dict[int, Path]:
    """The same, or any other PLYs of Gaussians that lie there: other programs name frames in their own ways."""
    found = frames_of(folder)
    others = [] if found else sorted(folder.glob("*.ply"))
    return dict(enumerate(others)) if len(others) > 1 and gaussian_ply.recognizes(others[0]) else found


def recognizes(path: Path) -> bool:
    """A folder of such frames."""
    return path.is_dir() and bool(frames_in(path))


def describe(path: Path) -> dict[str, str]:
    frames = frames_in(path)
    first = gaussian_ply.describe(next(iter(frames.values())))
    return {
        "what": "a sequence of 3DGS PLYs", "frames": f"{len(frames)} ({min(frames)} to {max(frames)})",
        "Gaussians": f"{first['Gaussians']} in the first", "SH degree": first["SH degree"], **size_lines(path),
    }  # fmt: skip


FORMAT = Format(
    "ply-sequence", "a folder of PLYs, one per frame, for editors", recognizes, describe, "", write,
    frozenset({"frames", "sh_degree"}),
)  # fmt: skip
