"""All frames of a capture, decoded once to 8-bit files at training resolution.

Training visits views in random order, which video codecs cannot do; a store of plain bytes can, from any thread and
with the kernel's page cache as the only cache. One file per camera: ``<camera>-<key>.rgb`` (or ``.rgba``) holds the
frames as raw uint8 [n, h, w, c], ``<camera>-<key>.json`` says what they are. The key is a digest of everything that
determines the pixels, so another resolution, clip or choice of cameras never meets wrong frames and reuses right ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.frames.building import build_all
from fourdgs_ns.capture.frames.file import CameraFile, Shape, Sidecar, camera_file, damage_of, read_into
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.workspace import cache_directory, only_builder
from fourdgs_ns.geometry.camera import Camera


@dataclass(frozen=True, eq=False)
class StoredCamera:
    """The finished file of one camera."""

    pinhole: Camera
    path: Path
    shape: Shape
    """Frames, height, width, channels."""
    crc32: tuple[int, ...]
    """Checksum of every frame."""


class FrameStore:
    """Random access to the training frames of several cameras. Safe to use from several threads, and to pickle.

    Frames are read straight into the caller's array instead of through a memory map: the touched pages
    of a map count as resident memory of the process, which would grow to the size of the clip, while the page cache
    behind a read belongs to the kernel.
    """

    def __init__(self, cameras: Mapping[str, StoredCamera], notes: Sequence[str] = ()) -> None:
        self.notes = tuple(notes)
        """Sentences that the user should read once: uneven frame rates, files that had to be rebuilt."""
        self._cameras = dict(cameras)
        self._intact = {name: np.zeros(camera.shape[0], bool) for name, camera in self._cameras.items()}
        """Frames whose checksum was found right; a disk is asked once."""
        self._files = {name: open(camera.path, "rb", buffering=0) for name, camera in self._cameras.items()}  # noqa: SIM115

    def __reduce__(self) -> tuple:
        return FrameStore, (self._cameras, self.notes)

    @property
    def cameras(self) -> dict[str, Camera]:
        """The pinhole cameras that the stored frames belong to, by name."""
        return {name: camera.pinhole for name, camera in self._cameras.items()}

    @property
    def total_bytes(self) -> int:
        """Bytes of all frames of all cameras."""
        return sum(int(np.prod(camera.shape)) for camera in self._cameras.values())

    def shape(self, camera: str) -> Shape:
        """Frames, height, width, channels (3: RGB, 4: RGB and straight alpha) of a camera."""
        return self._cameras[camera].shape

    def read(
        self, camera: str, index: int, out: Shaped[np.ndarray, "h w c"] | None = None
    ) -> UInt8[np.ndarray, "h w c"]:
        """Entry ``index`` of the camera's frames, into ``out`` (C-contiguous uint8) when it is given.

        Raises:
            UserError: the disk damaged it. The camera's file is removed, so that the next start decodes it anew.
        """
        n, *frame_shape = self._cameras[camera].shape
        if not 0 <= index < n:
            raise IndexError(f"camera '{camera}' has {n} frames, there is no frame {index}")
        if out is None:
            out = np.empty(frame_shape, np.uint8)
        elif list(out.shape) != frame_shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out must be a C-contiguous uint8 array of shape {tuple(frame_shape)}")
        read_into(self._files[camera].fileno(), out, index * out.nbytes, self._cameras[camera].path)
        if not self._intact[camera][index]:
            self._check(camera, index, out)
        return out

    def _check(self, camera: str, index: int, frame: np.ndarray) -> None:
        stored = self._cameras[camera]
        if zlib.crc32(frame.data) != stored.crc32[index]:
            with suppress(OSError):
                stored.path.unlink()
            raise UserError(
                f"frame {index} of camera '{camera}' in {stored.path} is damaged (wrong checksum); "
                + ("delete that file and " if stored.path.exists() else "")
                + "start again, the camera is then decoded anew; check the disk if this happens more than once"
            )
        self._intact[camera][index] = True

    def memmap(self, camera: str) -> np.memmap:
        """All frames of a camera as a read-only map [n, h, w, c], for passes over whole clips; raises as :meth:`read`."""
        for index in np.flatnonzero(~self._intact[camera]):
            self.read(camera, int(index))
        return np.memmap(self._cameras[camera].path, np.uint8, mode="r", shape=self._cameras[camera].shape)

    def close(self) -> None:
        """Close the files; the store cannot be read afterwards."""
        for file in self._files.values():
            file.close()


def open_frame_store(
    capture: Capture, downscale: float, *, masks: bool, directory: Path | None = None, progress: bool = True
) -> FrameStore:
    """The frame store of ``capture`` at source size / ``downscale``, built as far as it does not exist yet.

    Cameras are decoded in parallel. An interrupted build continues where it stopped, a damaged file is built again,
    and a second process waits for the first. With ``masks`` the masks of cameras that have them become the alpha
    channel; mattes then also weight the colours when pixels are averaged. ``directory`` defaults to ``frames`` in
    :func:`fourdgs_ns.common.workspace.cache_directory`.

    Raises UserError when a source cannot be decoded or does not fit its camera, and when the disk is too small.
    """
    directory = cache_directory(capture.root) / "frames" if directory is None else directory
    directory.mkdir(parents=True, exist_ok=True)
    files = [camera_file(capture, recorded, downscale, masks, directory) for recorded in capture.cameras]
    stored, notes = _open_finished(files)
    if len(stored) < len(files):
        with only_builder(directory, "decoding into"):
            stored, notes = _open_finished(files)
            build_all([file for file in files if file.recorded.name not in stored], directory, progress)
            stored, built_notes = _open_finished(files)
            notes = [*(note for note in notes if note not in built_notes), *built_notes]
        for file in files:
            if file.recorded.name not in stored:
                raise UserError(
                    f"the frames of camera '{file.recorded.name}' do not read back from {directory} as written; "
                    "check that disk, or set XDG_CACHE_HOME to a folder on another one"
                )
    return FrameStore({file.recorded.name: stored[file.recorded.name] for file in files}, notes)


def _open_finished(files: Sequence[CameraFile]) -> tuple[dict[str, StoredCamera], list[str]]:
    """The cameras whose files are there and intact, and sentences about them and about damaged ones."""
    stored, notes = {}, []
    for file in files:
        sidecar = Sidecar.load(file.path(".json"))
        if sidecar is None or not file.data_path(sidecar.shape).exists():
            continue
        damage = damage_of(file.data_path(sidecar.shape), sidecar)
        if damage is None:
            stored[file.recorded.name] = StoredCamera(
                file.pinhole, file.data_path(sidecar.shape), sidecar.shape, tuple(sidecar.crc32)
            )
            notes.extend(sidecar.notes)
        else:
            notes.append(
                f"the stored frames of camera '{file.recorded.name}' were damaged ({damage}) and decoded again: "
                "check the disk if this happens more than once"
            )
    return stored, notes
