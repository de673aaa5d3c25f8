"""Streams batches of one frame's views to training without ever holding the clip in host memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.common.console import say, warn
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.workspace import cache_directory
from fourdgs_ns.geometry.neighbors import mean_neighbor_distance
from fourdgs_ns.plugin.compat import select_cameras
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.dataset import MultiViewVideoDataset
from fourdgs_ns.points.loading import load_points
from fourdgs_ns.points.testimony import testify
from fourdgs_ns.points.thinning import thin_over_time
from fourdgs_ns.representation.types import PointsOverTime
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
        self._pending: dict[int, Future] = {}
        super().__init__(config, **kwargs)
        if self.test_mode == "val":
            for note in self.train_dataset.capture.notes:
                say(note)
            # Only a training starts from points; everything else loads a checkpoint.
            self.train_dataset.start_from(self._initial_points())

    def _contradiction(self) -> str:
        """What the pictures have against the calibration, which the user is told; empty for nothing.

        Raises:
            UserError: they contradict most cameras, and nobody said to trust their poses.
        """
        facts, options = self.train_dataset.facts, self.config.dataparser
        assert isinstance(options, MultiViewVideoDataParserConfig)
        capture = facts.require_capture()
        testimony = testify(capture, capture.cameras)
        sentence = testimony.sentence()
        if sentence is None:
            return ""
        if testimony.whole and not options.trust_poses:
            raise UserError(f"{capture.root}: {sentence}; or train all the same with --trust-poses True")
        warn(f"{capture.root}: {sentence}")
        return f"the pictures contradict the calibration of {listed(testimony.contradicted)}"

    def _initial_points(self) -> PointsOverTime:
        """Points over time in the training's world, from the capture or triangulated or random."""
        facts, options = self.train_dataset.facts, self.config.dataparser
        assert isinstance(options, MultiViewVideoDataParserConfig)
        capture, world = facts.require_capture(), facts.world_from_capture
        assert world is not None
        if options.masks == "ignore":
            # What is trained on needs points everywhere, not on the subject only.
            capture = replace(capture, cameras=tuple(replace(camera, masks=None) for camera in capture.cameras))
        found = load_points(
            capture,
            contradiction=self._contradiction(),
            train_cameras=facts.train_camera_names,
            downscale=facts.downscale,
            key_frames=options.key_frames,
            method=options.initial_points,
            matcher=options.matcher,
            max_points=options.max_points,
            velocities=options.velocities,
            num_random=options.num_random_points,
            seed=self.config.seed,
        )
        say(found.source)
        positions, colors, times = found.positions, found.colors, found.times
        velocities, static = found.velocities, found.static
        if options.thin_points != "none" and found.timed:
            keep = thin_over_time(positions, colors, times, options.thin_points)
            say(f"{int(keep.sum())} of them are kept (--thin-points {options.thin_points})")
            positions, colors, times = positions[keep], colors[keep], times[keep]
            velocities, static = velocities[keep], static[keep]
        positions = world.points_from_capture(positions)
        return PointsOverTime(
            positions=torch.from_numpy(positions),
            colors=torch.from_numpy(colors).float() / 255.0,
            times=torch.from_numpy(times).float(),
            spacing=torch.from_numpy(mean_neighbor_distance(positions)).float(),
            timed=found.timed,
            velocities=torch.from_numpy(world.vectors_from_capture(velocities)),
            static=torch.from_numpy(static),
            key_interval=found.key_interval,
        )

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
