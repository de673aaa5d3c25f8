"""``ply-sequence``: a folder of ``frame_00000.ply`` and so on, one 3DGS PLY per frame: what editors play as a flip-book."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing
from fourdgs_ns.formats.gaussian_ply import Slicer
from fourdgs_ns.formats.gaussian_ply import read as read_frame
from fourdgs_ns.formats.options import ExportOptions
from fourdgs_ns.formats.scene import Scene

FRAME_NAME = re.compile(r"frame_(\d{5,})\.ply")


def write(
    path: Path, scene: Scene, options: ExportOptions, advance: Callable[[int, int], None] | None = None
) -> list[str]:
    """Write the chosen frames into the folder ``path``, numbered as in the clip, in the capture's world.

    Args:
        advance: Called after each frame with the number of frames done and wanted.

    Returns:
        Notes for the user. A frame in which nothing is visible has no rows.

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
    slicer = Slicer(scene, options, "ply-sequence", notes)
    frames, times = options.chosen_frames(scene), scene.times()
    counts = []
    with appearing(path, options.overwrite) as temporary:
        for done, frame in enumerate(frames, start=1):
            counts.append(slicer.write(temporary / f"frame_{frame:05d}.ply", times[frame]))
            if advance is not None:
                advance(done, len(frames))
    return [*notes, f"{len(frames)} frames with {min(counts)} to {max(counts)} visible Gaussians"]


def frames_of(folder: Path) -> dict[int, Path]:
    """Frame number -> file, in order."""
    found = {}
    for file in folder.iterdir():
        match = FRAME_NAME.fullmatch(file.name)
        if match:
            found[int(match[1])] = file
    return dict(sorted(found.items()))


def read(path: Path) -> dict[int, Scene]:
    """Every frame as a static model.

    Raises:
        UserError: there are no frames in the folder, or one is damaged.
    """
    frames = frames_of(path) if path.is_dir() else {}
    if not frames:
        raise UserError(f"{path} holds no frame_00000.ply and so on; give the folder of a PLY sequence")
    return {number: read_frame(file) for number, file in frames.items()}
