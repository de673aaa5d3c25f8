"""The file that holds one camera's frames in the frame store: its name, its sidecar, and whether it is intact."""

from __future__ import annotations

import json
import os
import re
import threading
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from fourdgs_ns.capture.capture import Capture, FrameSource, RecordedCamera, VideoFrames
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import kept_json, write_text
from fourdgs_ns.common.workspace import digest, stamp
from fourdgs_ns.geometry.camera import Camera

STORE_VERSION = 1
"""Part of every key; raise it when the same source would give other pixels."""

_position = threading.Lock()
"""Held while the position of a file is in use, on systems that cannot read and write at a given one."""

Shape = tuple[int, int, int, int]
"""Frames, height, width, channels."""


@dataclass(frozen=True, eq=False)
class CameraFile:
    """What one camera's file will hold, finished or not."""

    recorded: RecordedCamera
    pinhole: Camera
    """The camera of the stored frames: undistorted and at their size."""
    masks: FrameSource | None
    masks_are_mattes: bool
    directory: Path
    key: str

    def path(self, suffix: str) -> Path:
        """The file of this camera with the given ending; characters that file systems refuse are replaced."""
        name = re.sub(r"[^\w.-]", "_", self.recorded.name)
        return self.directory / f"{name}-{self.key}{suffix}"

    def data_path(self, shape: Shape) -> Path:
        """Where the finished frames are."""
        return self.path(".rgba" if shape[3] == 4 else ".rgb")


@dataclass
class Sidecar:
    """The JSON beside a file: its shape and the checksum of every frame written so far."""

    shape: Shape
    source: str
    """Video or first image, for the reader of the file."""
    crc32: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Sentences for the user that came up while decoding."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return int(np.prod(self.shape[1:]))

    @staticmethod
    def load(path: Path) -> Sidecar | None:
        """None when there is none or it is damaged."""
        try:
            fields = kept_json(path)
            n, h, w, c = (int(size) for size in fields.pop("shape"))
            return Sidecar((n, h, w, c), **fields)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
            return None

    def save(self, path: Path) -> None:
        """Write it to ``path``, whole or not at all."""
        write_text(path, json.dumps(asdict(self)))


def camera_file(
    capture: Capture, recorded: RecordedCamera, downscale: float, use_masks: bool, directory: Path
) -> CameraFile:
    """The file of ``recorded`` at source size / ``downscale``; reads only the sources' sizes and times.

    Raises UserError when a source is missing, or when there are no frames or not one mask per frame.
    """
    masks = recorded.masks if use_masks else None
    if len(recorded.frames) == 0:
        raise UserError(f"camera '{recorded.name}' of {capture.root} has no frames; remove it from the calibration")
    if masks is not None and len(masks) != len(recorded.frames):
        raise UserError(
            f"camera '{recorded.name}' has {len(recorded.frames)} frames but {len(masks)} masks; add the missing masks, "
            "or train without masks"
        )
    pinhole = recorded.camera.undistorted(downscale)
    lens = recorded.camera.undistortion
    # Poses and the matrix of an undistorted camera are left out: calibrating again keeps the frames.
    facts = {
        "version": STORE_VERSION,
        "camera": recorded.name,
        "frames": source_facts(recorded.frames, capture.root),
        "masks": None if masks is None else [capture.masks_are_mattes, source_facts(masks, capture.root)],
        "source_size": [recorded.width, recorded.height],
        "size": [pinhole.width, pinhole.height],
        "lens": None
        if lens is None
        else [lens.fisheye, *(m.tolist() for m in (lens.source_matrix, lens.pinhole_matrix, lens.distortion))],
    }
    return CameraFile(recorded, pinhole, masks, capture.masks_are_mattes, directory, digest(facts))


def source_facts(source: FrameSource, root: Path) -> list:
    """Which files and frames of the capture at ``root`` these are.

    Raises UserError when a file is missing.
    """
    if isinstance(source, VideoFrames):
        return [[stamp(source.path, root)], [int(i) for i in source.indices]]
    reading = "opaque" if source.opaque else "labels" if source.labels else None
    return [[stamp(path, root) for path in source.paths], reading]


def damage_of(path: Path, sidecar: Sidecar) -> str | None:
    """What is wrong with a finished file, judged by its size and its first, middle and last frame."""
    n, size = sidecar.shape[0], path.stat().st_size
    if len(sidecar.crc32) != n or size != n * sidecar.frame_bytes:
        return f"{size} bytes instead of {n * sidecar.frame_bytes}"
    with open(path, "rb", buffering=0) as file:
        for index in sorted({0, n // 2, n - 1}):
            if not frame_is_intact(file.fileno(), path, sidecar, index):
                return f"wrong checksum of frame {index}"
    return None


def frame_is_intact(fd: int, path: Path, sidecar: Sidecar, index: int) -> bool:
    """True when frame ``index`` of the open file has the checksum that the sidecar recorded."""
    frame = np.empty(sidecar.frame_bytes, np.uint8)
    read_into(fd, frame, index * sidecar.frame_bytes, path)
    return zlib.crc32(frame.data) == sidecar.crc32[index]


def read_into(fd: int, out: np.ndarray, offset: int, path: Path) -> None:
    """Fill the C-contiguous ``out`` with the bytes at ``offset`` of an open file, from any thread."""
    rest = out.data.cast("B")
    while rest:
        count = _read_at(fd, rest, offset)
        if count == 0:
            raise UserError(f"{path} became shorter while it was in use; start again, its frames are then decoded anew")
        rest, offset = rest[count:], offset + count


def write_at(fd: int, pixels: np.ndarray, offset: int) -> None:
    """Write the C-contiguous ``pixels`` at ``offset``."""
    rest = pixels.data.cast("B")
    while rest:
        count = _write_at(fd, rest, offset)
        rest, offset = rest[count:], offset + count


def _read_at(fd: int, out: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [out], offset)
    with _position:
        os.lseek(fd, offset, os.SEEK_SET)
        content = os.read(fd, len(out))
    out[: len(content)] = content
    return len(content)


def _write_at(fd: int, content: memoryview, offset: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, content, offset)
    with _position:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, content)
