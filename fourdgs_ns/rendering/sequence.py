"""Pictures on their way to a folder of PNG files or an MP4 video: resumable, and never half-written under the final name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from rich.progress import TextColumn

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.synth.media import Video

RECIPE = "recipe.json"


@dataclass(frozen=True)
class Sequence:
    """Where pictures go, and everything that determines them."""

    out: Path
    """A name that ends in .mp4, or a folder for PNG files."""
    count: int
    fps: float
    recipe: dict[str, Any]
    """Plain values. Pictures that are already there are kept only if they were made by an equal recipe."""
    overwrite: bool = False

    @property
    def is_video(self) -> bool:
        return self.out.suffix.lower() == ".mp4"

    @property
    def folder(self) -> Path:
        """Where the pictures are kept: the output itself, or beside the video until that is complete."""
        return self.out.with_name(self.out.name + ".frames") if self.is_video else self.out

    def file(self, index: int) -> Path:
        return self.folder / f"{index:06d}.png"


def write_sequence(sequence: Sequence, draw: Callable[[int], UInt8[np.ndarray, "h w 3"]]) -> int:
    """Draw what is not there yet, then encode the video. Returns how many pictures were drawn.

    Interrupted, the pictures so far stay and the same command goes on after them.

    Raises:
        UserError: the output is of another kind, belongs to another recipe, or cannot be written.
    """
    digest = hashlib.sha256(json.dumps(sequence.recipe, sort_keys=True, default=str).encode()).hexdigest()
    _check(sequence, digest)
    missing = [index for index in range(sequence.count) if not sequence.file(index).exists()]
    kept = sequence.count - len(missing)
    try:
        with progress_bar(transient=False, speed=TextColumn("{task.fields[rate]}")) as progress:
            task = progress.add_task("drawing", total=len(missing), rate="")
            for done, index in enumerate(missing, 1):
                write_png(sequence.file(index), draw(index))
                speed = progress.tasks[0].speed
                progress.update(task, completed=done, rate=f"{speed:.1f} pictures/s" if speed else "")
        if kept and not missing:
            progress.console.print(f"all {kept} pictures were there")
        elif kept:
            progress.console.print(f"{kept} pictures were there already")
        if sequence.is_video:
            _encode(sequence)
    except OSError as error:
        raise not_writable(sequence.out, error) from error
    return len(missing)


def _check(sequence: Sequence, digest: str) -> None:
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
    try:
        note = json.loads((folder / RECIPE).read_text()) if (folder / RECIPE).exists() else None
    except (OSError, ValueError):
        note = {}
    if folder.exists() and any(folder.iterdir()) and (note is None or note.get("digest") != digest):
        if note is None:
            raise UserError(f"{folder} holds other files; give an empty or a new folder with --out")
        if not sequence.overwrite:
            raise UserError(
                f"{folder} holds pictures of another path, run or option; add --overwrite to replace them, or give another --out"
            )
        for file in [*folder.glob("[0-9]*.png"), folder / RECIPE]:
            file.unlink(missing_ok=True)
    elif sequence.overwrite and note is not None:
        for file in folder.glob("[0-9]*.png"):
            file.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Mode bits say nothing about root or read-only mounts: only trying does.
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        (folder / RECIPE).write_text(json.dumps({"digest": digest, **sequence.recipe}, indent=2, default=str))
    except OSError as error:
        raise not_writable(out, error) from error


def write_png(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write RGB under a temporary name, then rename."""
    done, data = cv2.imencode(".png", picture[..., ::-1])
    assert done
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.part")  # the same command may be running twice
    try:
        temporary.write_bytes(data.tobytes())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _encode(sequence: Sequence) -> None:
    temporary = sequence.folder / "video.part.mp4"
    first = _read_png(sequence.file(0))
    height, width = (2 * (n // 2) for n in first.shape[:2])
    video = Video(temporary, width, height, sequence.fps, "420")
    try:
        for index in range(sequence.count):
            video.add(np.ascontiguousarray(_read_png(sequence.file(index))[:height, :width]))
    finally:
        video.close()
    os.replace(temporary, sequence.out)
    shutil.rmtree(sequence.folder)


def _read_png(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    picture = cv2.imread(str(path))
    if picture is None:
        path.unlink()
        raise UserError(f"{path} is damaged and was removed; type the same command again")
    return picture[..., ::-1]  # type: ignore[return-value]


def not_writable(out: Path, error: OSError) -> UserError:
    """The one line for an output that the system refused."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the disk is full" if full else (error.strerror or str(error)).lower()
    then = "free some space and type the same command again, it goes on" if full else "give another --out"
    return UserError(f"{out} cannot be written ({why}); {then}")
