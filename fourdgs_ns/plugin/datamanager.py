"""Streams batches of one frame's views to training without ever holding the clip in host memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from torch import Tensor

from fourdgs_ns.capture.frames.residency import FrameResidency, choose_residency
from fourdgs_ns.common.console import say
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.workspace import cache_directory
from fourdgs_ns.plugin.compat import select_cameras
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParser, MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from fourdgs_ns.plugin.starting_points import starting_points
from fourdgs_ns.training.sampling import SameTimeSampler

PREFETCH_BATCHES = 3


@dataclass
class MultiViewVideoDatamanagerConfig(FullImageDatamanagerConfig):
    """Batches of several cameras at one frame, streamed from the frame store."""

    _target: type = field(default_factory=lambda: MultiViewVideoDatamanager)
    dataparser: AnnotatedDataParserUnion = field(default_factory=MultiViewVideoDataParserConfig)
    """Reader of the capture; to change its options, end the command with multiview-video-data and the options."""
    batch_size: int = 2
    """Cameras per step, all at the same frame (a Gaussian's state at t is computed once for all of them)."""
    residency: Literal["auto", "gpu", "ram", "disk"] = "auto"
    """Where decoded frames wait: on the GPU (fastest), in host memory, or on disk with read-ahead. auto takes the first that
    fits and says so."""
    cache_gb: float | None = None
    """Most host memory for frames, in GB. Default: a quarter of what is free, at most 4."""
    seed: int = 0
    """Seed of the order in which views are trained on."""


class MultiViewVideoDatamanager(FullImageDatamanager[MultiViewVideoDataset]):
    """Same-time batches for training; lazy views for evaluation."""

    config: MultiViewVideoDatamanagerConfig
    train_dataset: MultiViewVideoDataset
    eval_dataset: MultiViewVideoDataset

    def __init__(self, config: MultiViewVideoDatamanagerConfig, **kwargs) -> None:
        if not isinstance(config.dataparser, MultiViewVideoDataParserConfig):
            raise UserError(
                "this method trains on video with time, which other dataparsers do not give; end the command with "
                "multiview-video-data (it reads D-NeRF folders and transforms.json with time, too)"
            )
        # The parent would switch an unused cache off with a message of its own for clips over 500 views.
        config.cache_images = "cpu"
        config.dataparser._target = MultiViewVideoDataParser  # frames come from the store, not from files
        self._pending: dict[int, Future] = {}
        super().__init__(config, **kwargs)
        if self.test_mode == "val":
            for note in self.train_dataset.capture.notes:
                say(note)
            # Only a training starts from points; everything else loads a checkpoint.
            points = starting_points(self.train_dataset.facts, config.dataparser, config.seed)
            self.train_dataset.start_from(points)

    @property
    def dataset_type(self) -> type[MultiViewVideoDataset]:  # type: ignore[override]
        return MultiViewVideoDataset

    def get_datapath(self) -> Path:
        """Where the viewer keeps camera paths: the capture's folder, or its cache where the capture is read-only."""
        root = self.train_dataset.capture.root
        cache = cache_directory(root)
        return root if cache.parent == root else cache

    def create_eval_dataset(self) -> MultiViewVideoDataset:
        dataset = super().create_eval_dataset()
        dataset.store_holder = self.train_dataset.store_holder
        return dataset

    def setup_train(self) -> None:
        """Prepares for training: nothing is decoded until the first batch or the viewer asks for a frame."""
        dataset = self.train_dataset
        assert dataset.cameras.times is not None
        self.same_time = SameTimeSampler(
            instants=dataset.cameras.times[:, 0].numpy(),
            groups=_size_groups(dataset.cameras),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
        )
        self.train_cameras = dataset.cameras
        self.reserved_bytes = 0
        """GPU memory that the Gaussians may come to need; the trainer fills it in."""
        self.neighbor_window = 0
        """Frames; above 0 batches also hold the same cameras at another frame nearby."""

    def setup_eval(self) -> None:
        """Evaluation reads single views on demand."""

    @cached_property  # Nerfstudio's viewer reads every plain property when it starts, which would load the whole clip
    def frames(self) -> FrameResidency:
        """The decoded frames, wherever they fit."""
        names = self.train_dataset.camera_names
        residency = choose_residency(
            self.train_dataset.store, names, self.config.residency, torch.device(self.device), self.config.cache_gb,
            self.reserved_bytes,
        )  # fmt: skip
        say(residency.reason)
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="read-ahead")
        return residency

    def bytes_on_gpu(self) -> int:
        """What the frames take of the GPU's memory."""
        on_gpu = torch.device(self.device).type == "cuda" and self.__dict__.get("frames") is not None
        return self.frames.bytes_on_device if on_gpu else 0

    def _load(self, views: np.ndarray) -> Tensor:
        dataset = self.train_dataset
        return self.frames.batch([(dataset.camera_name(v), int(dataset.store_index[v])) for v in views])

    def next_train(self, step: int) -> tuple[Cameras, dict]:
        """Views of one frame.

        Returns cameras [b] on the CPU (their scalars steer the render; the model moves what it needs) and a batch with
        ``image`` uint8 [b, h, w, 3 or 4] on the training device, ``image_idx`` [b] and ``camera_ids`` [b].
        """
        views = self.same_time.views(step)
        if self.frames.on_device:
            images = self._load(views)
        else:
            # Which views a step needs depends on nothing but the step: the next ones can be read while this one trains.
            for ahead in range(step, step + PREFETCH_BATCHES):
                if ahead not in self._pending:
                    self._pending[ahead] = self._workers.submit(self._load, self.same_time.views(ahead))
            images = self._pending.pop(step).result().to(self.device, non_blocking=True)
            self._pending = {k: v for k, v in self._pending.items() if k > step}
        batch = {"image": images, "image_idx": views, "camera_ids": self.train_dataset.camera_ids[views]}
        if self.neighbor_window:
            others = self._neighbors(views, step)
            batch["neighbor_cameras"] = select_cameras(self.train_cameras, torch.from_numpy(others))
            batch["neighbor_image"] = self._load(others).to(self.device, non_blocking=True)
        return select_cameras(self.train_cameras, torch.from_numpy(views)), batch

    def _neighbors(self, views: np.ndarray, step: int) -> np.ndarray:
        """For every view of a batch the same camera a few frames later or earlier, all at one frame; else the views."""
        ids, frames = self.train_dataset.camera_ids, self.train_dataset.frame_ids
        rng = np.random.default_rng([self.config.seed, 2, step])
        offset = int(rng.integers(1, self.neighbor_window + 1)) * int(rng.choice([-1, 1]))
        for shift in (offset, -offset):
            # Views lie camera by camera and frame by frame; where cameras lack frames these may be of different frames.
            others = views + shift
            if others.min() < 0 or others.max() >= len(ids) or bool((ids[others] != ids[views]).any()):
                continue
            if bool((frames[others] == frames[others[0]]).all()):
                return others
        return views

    def eval_view(self, view: int) -> tuple[Cameras, dict]:
        """One held-out view: camera [1] and a batch with ``image`` uint8 [h, w, 3 or 4]."""
        dataset = self.eval_dataset
        image = torch.from_numpy(dataset.get_numpy_image(view)).to(self.device)
        batch = {
            "image": image,
            "image_idx": view,
            "camera": dataset.camera_name(view),
            "frame": dataset.frame_number(view),
        }
        return dataset.cameras[view : view + 1], batch

    def next_eval_image(self, step: int) -> tuple[Cameras, dict]:
        # Walks through the held-out views in a scattered but reproducible order.
        count = len(self.eval_dataset)
        return self.eval_view(int(np.random.default_rng([self.config.seed, step]).integers(count)))

    @property
    def fixed_indices_eval_dataloader(self) -> EvalViews:  # type: ignore[override]
        return EvalViews(self)

    @property
    def eval_dataloader(self) -> EvalViews:
        """Where ns-render spiral takes its first camera from."""
        return EvalViews(self)

    @cached_property  # not a plain one: the viewer reads those
    def train_pixel_sampler(self) -> None:
        """What ns-export pointcloud and poisson take from a datamanager of rays; asking for it ends them in one line."""
        raise UserError(
            "this command of Nerfstudio asks for rays, but this method renders whole images; export with ns-export gaussian-splat"
        )

    def get_train_rays_per_batch(self) -> int:
        cameras = self.train_dataset.cameras
        return int(cameras.width[0]) * int(cameras.height[0]) * self.config.batch_size


class EvalViews:
    """All held-out views, read one at a time."""

    def __init__(self, datamanager: MultiViewVideoDatamanager) -> None:
        self.datamanager = datamanager

    def __len__(self) -> int:
        return len(self.datamanager.eval_dataset)

    def __iter__(self) -> Iterator[tuple[Cameras, dict]]:
        return (self.datamanager.eval_view(view) for view in range(len(self)))

    def get_camera(self, image_idx: int) -> tuple[Cameras, None]:
        """The camera of one view [1], in the form of Nerfstudio's data loaders."""
        return self.datamanager.eval_dataset.cameras[image_idx : image_idx + 1], None


def _size_groups(cameras: Cameras) -> np.ndarray:
    """A number per view that is equal for views of equal image size (only those can share a batch)."""
    sizes = torch.cat([cameras.height, cameras.width], dim=1).numpy()
    return np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1)
