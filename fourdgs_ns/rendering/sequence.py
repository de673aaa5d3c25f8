"""Images on their way to a folder of PNG files or an MP4 video: resumable, and never half-written under the final name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from fourdgs_ns.common.console import say
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import kept_json, make_folder, replacing, write_bytes, write_text
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.common.workspace import digest
from fourdgs_ns.synth.media import Video

RECIPE = "recipe.json"


@dataclass(frozen=True)
class Sequence:
    """Where images go, and everything that determines them."""

    out: Path
    """A name that ends in .mp4, or a folder for PNG files."""
    count: int
    fps: float
    recipe: dict[str, Any]
    """Plain values. Images that are already there are kept only if they were made by an equal recipe."""
    overwrite: bool = False

    @property
    def is_video(self) -> bool:
        return self.out.suffix.lower() == ".mp4"

    @property
    def folder(self) -> Path:
        """Where the images are kept: the output itself, or beside the video until that is complete."""
        return self.out.with_name(self.out.name + ".frames") if self.is_video else self.out

    def file(self, index: int) -> Path:
        return self.folder / f"{index:06d}.png"


def write_sequence(sequence: Sequence, render: Callable[[int], UInt8[np.ndarray, "h w 3"]]) -> int:
    """Render what is not there yet, then encode the video. Returns how many images were rendered.

    Interrupted, the images so far stay and the same command goes on after them.

    Raises:
        UserError: the output is of another kind, belongs to another recipe, or cannot be written.
    """
    _check(sequence, digest(sequence.recipe))
    missing = [index for index in range(sequence.count) if not sequence.file(index).exists()]
    kept = sequence.count - len(missing)
    with progress_bar(transient=False) as progress:
        task = progress.add_task("rendering", total=len(missing))
        for done, index in enumerate(missing, 1):
            write_png(sequence.file(index), render(index))
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, told=f"{speed:.1f} images/s" if speed else "")
    if kept:
        say(f"all {kept} images were there" if not missing else f"{kept} images were there already")
    if sequence.is_video:
        _encode(sequence)
    return len(missing)


def _check(sequence: Sequence, key: str) -> None:
    """Make the folder ready, or say why it cannot be."""
    out, folder = sequence.out, sequence.folder
    if not sequence.is_video and out.suffix:
        raise UserError(f"--out {out} ends in '{out.suffix}'; give a name that ends in .mp4, or a folder for PNG files")
    if sequence.is_video and out.is_dir():
        raise UserError(f"--out {out} is a folder; give another name for the video")
    if sequence.is_video and out.exists() and not sequence.overwrite:
        raise UserError(f"{out} exists; add --overwrite to replace it, or give another --out")
    if not sequence.is_video and out.is_file():
        raise UserError(f"--out {out} is a file; give a folder for PNG files, or a name that ends in .mp4")
    note = kept_json(folder / RECIPE) if (folder / RECIPE).exists() else None
    if (folder / RECIPE).exists() and not isinstance(note, dict):
        note = {}
    if folder.exists() and any(folder.iterdir()) and (note is None or note.get("digest") != key):
        if note is None:
            raise UserError(f"{folder} holds other files; give an empty or a new folder with --out")
        if not sequence.overwrite:
            raise UserError(
                f"{folder} holds images of another path, run or option; add --overwrite to replace them, or give another --out"
            )
        for file in [*folder.glob("[0-9]*.png"), folder / RECIPE]:
            file.unlink(missing_ok=True)
    elif sequence.overwrite and note is not None:
        for file in folder.glob("[0-9]*.png"):
            file.unlink()
    make_folder(folder)
    write_text(folder / RECIPE, json.dumps({"digest": key, **sequence.recipe}, indent=2, default=str))


def write_png(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write RGB by :func:`fourdgs_ns.common.files.replacing`."""
    done, data = cv2.imencode(".png", image[..., ::-1])
    assert done
    write_bytes(path, data.tobytes())


def _encode(sequence: Sequence) -> None:
    first = _read_png(sequence.file(0))
    height, width = (2 * (n // 2) for n in first.shape[:2])
    with replacing(sequence.out) as part:
        video = Video(part, width, height, sequence.fps, "420")
        try:
            for index in range(sequence.count):
                video.add(np.ascontiguousarray(_read_png(sequence.file(index))[:height, :width]))
        finally:
            video.close()
    shutil.rmtree(sequence.folder)


def _read_png(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    image = cv2.imread(str(path))
    if image is None:
        path.unlink()
        raise UserError(f"{path} is damaged and was removed; type the same command again")
    return image[..., ::-1]  # type: ignore[return-value]
