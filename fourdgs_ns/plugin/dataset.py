"""Views served from the frame store, in the form Nerfstudio's viewer and renderers expect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.frames.store import FrameStore, open_frame_store
from fourdgs_ns.common.console import say
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.representation.types import PointsOverTime

DIRECTION_SHARE = 0.5
"""A camera turned away by 90 degrees counts like one this share of the rig's size away."""


class MultiViewVideoDataset(InputDataset):
    """One item per view (camera and frame). Building it decodes nothing; the first frame asked for builds the store."""

    capture: Capture
    store_holder: dict[str, FrameStore]
    """Shared by the training and the evaluation dataset, so that one store serves both."""

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        # The parent copies metadata deeply; a capture is immutable and its stores are shared on purpose.
        super().__init__(dataparser_outputs, scale_factor)
        self.metadata = dict(dataparser_outputs.metadata)
        self.facts = CaptureFacts.of(self.metadata)
        self.capture = self.facts.require_capture()
        self.camera_names = self.facts.camera_names
        metadata = dataparser_outputs.cameras.metadata
        assert metadata is not None
        self.camera_ids: npt.NDArray[np.int64] = metadata["cam_id"][:, 0].numpy()
        self.frame_ids: npt.NDArray[np.int64] = metadata["frame_id"][:, 0].numpy()
        counts = np.bincount(self.camera_ids, minlength=len(self.camera_names))
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.store_index = np.arange(len(self.camera_ids)) - starts[self.camera_ids]
        """Position of each view among its camera's frames, which is its index in the store."""
        self.store_holder = {}

    def start_from(self, points: PointsOverTime) -> None:
        """Tell the model, which is built with this dataset's metadata, what to start from."""
        self.facts = replace(self.facts, points=points)
        self.metadata = self.facts.as_metadata()

    @property
    def store(self) -> FrameStore:
        """The frame store of this dataset's capture and resolution, built on first use."""
        if "store" not in self.store_holder:
            store = open_frame_store(self.capture, self.facts.downscale, masks=self.facts.masks_as_alpha)
            for note in store.notes:
                say(note)
            self.store_holder["store"] = store
        return self.store_holder["store"]

    def camera_name(self, view: int | np.integer) -> str:
        """Physical camera of a view."""
        return self.camera_names[self.camera_ids[view]]

    def frame_number(self, view: int) -> int:
        """Frame of a view in the capture's own counting."""
        return int(self.capture.numbers()[self.frame_ids[view]])

    def get_numpy_image(self, image_idx: int) -> npt.NDArray[np.uint8]:
        return self.store.read(self.camera_name(image_idx), int(self.store_index[image_idx]))

    def get_image_uint8(self, image_idx: int) -> torch.Tensor:
        return (self.get_image_float32(image_idx) * 255).round().to(torch.uint8)

    def nearest_view(self, pose: Float[Tensor, "3 4"], t: float) -> int:
        """The view that comes closest to a camera at ``t``: first the physical camera, then its frame.

        Args:
            pose: world from camera, OpenGL axes, in the training's world.
        """
        poses = self.cameras.camera_to_worlds.numpy()
        assert self.cameras.times is not None
        times = self.cameras.times[:, 0].numpy()
        # Cameras may move: each counts where it is at the frame nearest to t.
        candidates = []
        for camera in np.unique(self.camera_ids):
            views = np.flatnonzero(self.camera_ids == camera)
            candidates.append(int(views[np.abs(times[views] - t).argmin()]))
        wanted = pose.cpu().numpy()
        places = poses[candidates]
        size = max(float(np.linalg.norm(places[:, :, 3] - places[:, :, 3].mean(axis=0), axis=1).max()), 1e-6)
        distance = np.linalg.norm(places[:, :, 3] - wanted[:, 3], axis=1) / size
        turned = 1.0 - (places[:, :, 2] * wanted[:, 2]).sum(axis=1)
        return candidates[int((distance + DIRECTION_SHARE * turned).argmin())]
