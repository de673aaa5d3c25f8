"""The dataparser as other methods of Nerfstudio need it: they read images by name and start from points without time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from fourdgs_ns.capture.capture import ImageFrames, RecordedCamera
from fourdgs_ns.capture.frames.file import camera_file
from fourdgs_ns.capture.frames.store import FrameStore, open_frame_store
from fourdgs_ns.common.console import say
from fourdgs_ns.common.files import write_bytes
from fourdgs_ns.common.workspace import cache_directory
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParser


class MultiViewVideoFiles(MultiViewVideoDataParser):
    """Every view is a file on disk; the training split also has points to start from.

    Our own methods take frames from the frame store and replace this by its parent.
    """

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        outputs = super()._generate_dataparser_outputs(split, **kwargs)
        facts = CaptureFacts.of(outputs.metadata)
        metadata = dict(outputs.metadata)
        if split == "train" and self.config.initial_points != "random":
            metadata |= self._points(facts)
        return replace(outputs, image_filenames=_files(facts), metadata=metadata)

    def _points(self, facts: CaptureFacts) -> dict[str, Tensor]:
        """Under the names that Splatfacto looks for: positions [n, 3] in its world, colours [n, 3] from 0 to 255."""
        from fourdgs_ns.plugin.starting_points import starting_points  # slow to import, and not needed for --help

        points = starting_points(facts, self.config, seed=0)
        return {"points3D_xyz": points.positions, "points3D_rgb": (points.colors * 255).round().to(torch.uint8)}


def _files(facts: CaptureFacts) -> list[Path]:
    """One image per view. Frames of videos, undistorted and masked ones are written, once, beside the frame store."""
    capture = facts.require_capture()
    folder = cache_directory(capture.root)
    names = {camera: _names(facts, capture.camera(camera), folder / "views") for camera in facts.camera_names}
    missing = [camera for camera, files in names.items() if not all(file.exists() for file in files)]
    if missing:
        (folder / "views").mkdir(exist_ok=True)
        say(f"writing frames as files for methods that read such, into {folder / 'views'}")
        _write(open_frame_store(capture.only_cameras(missing), facts.downscale, masks=facts.masks_as_alpha), names)
    return [file for files in names.values() for file in files]


def _names(facts: CaptureFacts, camera: RecordedCamera, folder: Path) -> list[Path]:
    masked = facts.masks_as_alpha and camera.masks is not None
    resampled = camera.camera.undistortion is not None or facts.downscale != 1
    if isinstance(camera.frames, ImageFrames) and not (masked or resampled or camera.frames.opaque):
        return list(camera.frames.paths)
    stored = camera_file(facts.require_capture(), camera, facts.downscale, facts.masks_as_alpha, folder)
    return [stored.path(f"-{i:06d}.png") for i in range(len(camera.frames))]


def _write(store: FrameStore, names: Mapping[str, Sequence[Path]]) -> None:
    """With straight alpha where the store has it, as Nerfstudio composites images over its background."""
    for camera in store.cameras:
        for i, file in enumerate(names[camera]):
            image = store.read(camera, i)
            code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
            write_bytes(file, cv2.imencode(".png", cv2.cvtColor(image, code))[1].tobytes())
    store.close()
