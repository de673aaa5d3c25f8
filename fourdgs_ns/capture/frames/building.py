"""Decoding a capture's cameras in parallel into the files of the frame store, so that it can stop at any point."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from rich.filesize import decimal

from fourdgs_ns.capture.capture import VideoFrames
from fourdgs_ns.capture.frames.file import CameraFile, Shape, Sidecar, frame_is_intact, write_at
from fourdgs_ns.capture.sources import read_frames, read_masks
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import DISK_FULL, disk_error
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.geometry.resampling import Resampler

FLUSH_EVERY = 32
"""Frames between two progress records of an unfinished file."""
MAX_WORKERS = 8


def build_all(files: Sequence[CameraFile], directory: Path, show_progress: bool) -> None:
    """Decode the frames of ``files`` into ``directory``, several cameras at a time, each continuing where it stopped.

    Raises UserError for sources that cannot be decoded and when the disk is too small; whatever ends the build early
    (an error, Ctrl-C, a kill), the frames written so far are kept and used by the next call.
    """
    if not files:
        return
    begun = [_begin(file) for file in files]
    _require_space(directory, files, begun)
    stop = threading.Event()
    with (
        progress_bar(transient=False, show=show_progress) as bar,
        ThreadPoolExecutor(num_workers(len(files))) as pool,
    ):
        total, done = sum(b.shape[0] for b in begun), sum(len(b.crc32) for b in begun)
        size = decimal(sum(b.frame_bytes * b.shape[0] for b in begun))
        task = bar.add_task("decoding videos once", total=total, completed=done, told=f"frames, {size}")
        jobs = [pool.submit(_build, *job, stop, lambda: bar.advance(task)) for job in zip(files, begun, strict=True)]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            # Also on Ctrl-C: the other cameras record how far they are, the pool waits for that.
            stop.set()
            for job in jobs:
                job.cancel()
            raise


def num_workers(cameras: int) -> int:
    """How many cameras are decoded at a time."""
    return min(available_cores(), MAX_WORKERS, cameras)


def _begin(file: CameraFile) -> Sidecar:
    """How far an earlier build of this file came: the frames of its ``.part`` whose checksums hold."""
    part, progress = file.path(".part"), Sidecar.load(file.path(".part.json"))
    if progress is None or not part.exists():
        return Sidecar(_shape(file), str(getattr(file.recorded.frames, "path", file.recorded.frames.describe(0))))
    whole = min(len(progress.crc32), part.stat().st_size // progress.frame_bytes)
    with open(part, "rb", buffering=0) as data:
        intact = 0
        while intact < whole and frame_is_intact(data.fileno(), part, progress, intact):
            intact += 1
    progress.crc32 = progress.crc32[:intact]
    return progress


def _shape(file: CameraFile) -> Shape:
    frames = file.recorded.frames
    channels = 3 if file.masks is None else 4
    if not isinstance(frames, VideoFrames) and channels == 3:
        channels = next(read_frames(frames.take([0]))).shape[2]
    return len(frames), file.pinhole.height, file.pinhole.width, channels


def _require_space(directory: Path, files: Sequence[CameraFile], begun: Sequence[Sidecar]) -> None:
    needed = sum(b.frame_bytes * (b.shape[0] - len(b.crc32)) for b in begun)
    # A damaged file is replaced, so its room comes back.
    free = shutil.disk_usage(directory).free + sum(
        path.stat().st_size for file, b in zip(files, begun, strict=True) if (path := file.data_path(b.shape)).exists()
    )
    if needed > free:
        raise UserError(
            f"decoding {sum(b.shape[0] for b in begun)} frames of {len(files)} camera(s) needs {decimal(needed)}, "
            f"but the disk of {directory} has {decimal(free)} free; {_save_space(directory)}"
        )


def _save_space(directory: Path) -> str:
    return (
        "train on smaller frames with --downscale-factor, on fewer of them with --frames, or delete what earlier runs "
        f"left in {directory}"
    )


def _build(file: CameraFile, sidecar: Sidecar, stop: threading.Event, advance: Callable[[], None]) -> None:
    """Decode the frames that ``sidecar`` lacks and give the file its final name; on ``stop`` leave it resumable."""
    part, record = file.path(".part"), file.path(".part.json")
    file.data_path(sidecar.shape).unlink(missing_ok=True)
    try:
        with open(part, "r+b" if part.exists() else "w+b", buffering=0) as data:
            try:
                finished = _append_frames(file, sidecar, data.fileno(), stop, advance)
            finally:
                # Whatever stopped it: cut a half-written frame off, record the whole ones.
                data.truncate(len(sidecar.crc32) * sidecar.frame_bytes)
                with contextlib.suppress(OSError, UserError):
                    sidecar.save(record)
            if not finished:
                return
            os.fsync(data.fileno())
        # The order lets a crash between any two of these lines be continued.
        sidecar.save(file.path(".json"))
        os.replace(part, file.data_path(sidecar.shape))
        record.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        kept = f"{len(sidecar.crc32)} of {sidecar.shape[0]} frames of camera '{file.recorded.name}' are kept"
        remedy = f"{kept}: free some space and start again to continue there, or {_save_space(file.directory)}"
        raise disk_error(error, file.data_path(sidecar.shape), remedy) from error
    except UserError as error:
        raise UserError(f"camera '{file.recorded.name}': {error}") from error


def _append_frames(
    file: CameraFile,
    sidecar: Sidecar,
    fd: int,
    stop: threading.Event,
    advance: Callable[[], None],
) -> bool:
    """True when all frames are written, False when ``stop`` came first."""
    resample = Resampler(file.recorded.camera, file.pinhole)
    start = len(sidecar.crc32)
    frames = read_frames(file.recorded.frames, start=start, notes=sidecar.notes)
    masks = None if file.masks is None else read_masks(file.masks, start=start)
    for index, frame in enumerate(frames, start):
        if stop.is_set():
            return False
        pixels = _training_frame(file, resample, index, frame, None if masks is None else next(masks))
        if pixels.shape[2] != sidecar.shape[3]:
            raise UserError(
                f"{file.recorded.frames.describe(index)} {'has' if pixels.shape[2] == 4 else 'lacks'} an alpha channel "
                "unlike the first frame of its camera; save all images of a camera in the same mode"
            )
        write_at(fd, pixels, index * sidecar.frame_bytes)
        sidecar.crc32.append(zlib.crc32(pixels.data))
        advance()
        if len(sidecar.crc32) % FLUSH_EVERY == 0:
            sidecar.save(file.path(".part.json"))
    return True


def _training_frame(
    file: CameraFile, resample: Resampler, index: int, frame: np.ndarray, mask: np.ndarray | None
) -> UInt8[np.ndarray, "h w c"]:
    described = file.recorded.frames.describe(index)
    if mask is None or file.masks is None:
        return resample(frame, described)
    described_mask = file.masks.describe(index)
    if not file.masks_are_mattes:
        return np.dstack([resample(frame, described)[:, :, :3], resample(mask[:, :, None], described_mask)])
    if mask.shape != frame.shape[:2]:
        raise UserError(
            f"{described_mask} is {mask.shape[1]}x{mask.shape[0]} pixels, but its frame {described} is "
            f"{frame.shape[1]}x{frame.shape[0]}; make the masks from these frames, or train without masks"
        )
    if frame.shape[2] == 4:
        mask = np.rint(mask * (frame[:, :, 3] / 255.0)).astype(np.uint8)
    return resample(np.dstack([frame[:, :, :3], mask]), described)
