"""The pipeline: one process, points over time into the model, and scores per camera and frame."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.base_datamanager import DataManagerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from PIL import Image
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.interrupts import honour_interrupts_of_process
from fourdgs_ns.common.progress import progress_bar
from fourdgs_ns.evaluation.scores import all_scores, mean_scores, scores_per_camera
from fourdgs_ns.plugin import checkpoints, compat
from fourdgs_ns.plugin.capture_folder import locate_for_command
from fourdgs_ns.plugin.datamanager import MultiViewVideoDatamanager, MultiViewVideoDatamanagerConfig
from fourdgs_ns.plugin.model import DynamicGaussiansModel, DynamicGaussiansModelConfig, Surroundings
from fourdgs_ns.training.memory import one_line
from fourdgs_ns.viewer.controls import TimeControls
from fourdgs_ns.viewer.inspector import Inspector


@dataclass
class DynamicGaussiansPipelineConfig(VanillaPipelineConfig):
    """Data and model of one training."""

    _target: type = field(default_factory=lambda: DynamicGaussiansPipeline)
    datamanager: DataManagerConfig = field(default_factory=MultiViewVideoDatamanagerConfig)
    """Where the views come from."""
    model: ModelConfig = field(default_factory=DynamicGaussiansModelConfig)
    """What is trained."""


class DynamicGaussiansPipeline(VanillaPipeline):
    """Nerfstudio's pipeline with time-aware evaluation."""

    datamanager: MultiViewVideoDatamanager  # type: ignore[assignment]

    def __init__(
        self, config: DynamicGaussiansPipelineConfig, *args, test_mode: str = "val", world_size: int = 1, **kw
    ):
        if world_size > 1:
            raise UserError(
                "training on several GPUs is not supported: densification would diverge between them; use --machine.num-devices 1"
            )
        if test_mode != "val":
            locate_for_command(config.datamanager)
        honour_interrupts_of_process()
        super().__init__(config, *args, test_mode=test_mode, world_size=world_size, **kw)  # type: ignore[arg-type,misc]
        model = self.gaussians.config
        if test_mode == "val" and model.temporal_consistency:
            self.datamanager.neighbor_window = model.temporal_window
        inspector = Inspector(self.gaussians, self.datamanager.train_dataset, self.datamanager.eval_dataset)
        # Nerfstudio asks for "inference" where it exports or renders without the dataset.
        exporting = test_mode == "inference"
        self.gaussians.prepare(Surroundings(exporting, inspector.render, self.datamanager.bytes_on_gpu))
        self.time_controls = TimeControls(inspector)
        """Found by the viewer, which then shows them."""
        compat.mend_ns_render(type(self.datamanager))
        compat.keep_viewer_local()
        compat.tell_exports(self._exported_time)
        compat.load_checkpoints_only(
            DynamicGaussiansPipeline, lambda folder: checkpoints.step_of(checkpoints.latest_checkpoint(folder, None))
        )

    @property
    def gaussians(self) -> DynamicGaussiansModel:
        """The model, typed."""
        model = self.model
        assert isinstance(model, DynamicGaussiansModel)
        return model

    def _exported_time(self) -> str:
        return f"{self.gaussians.default_time() * self.gaussians.clip.duration_seconds:.3f} s"

    def load_pipeline(self, loaded_state: dict[str, Any], step: int) -> None:
        """Also refuses a checkpoint with which a training cannot go on, see :mod:`fourdgs_ns.plugin.checkpoints`."""
        if self.test_mode == "val":
            checkpoints.require_same_training(loaded_state["_model._extra_state"], self.gaussians.get_extra_state())
        super().load_pipeline(loaded_state, step)

    @torch.no_grad()
    def score(self, camera: Cameras, batch: dict[str, Any]) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Scores and images of one held-out view; ``fps`` is the rate of rendering it, slice included."""
        _synchronize(self.device)
        start = perf_counter()
        outputs = self.gaussians.get_outputs_for_camera(camera)
        _synchronize(self.device)
        seconds = perf_counter() - start
        with one_line("a held-out view was scored", lambda: self.gaussians.memory_use(camera)):
            scores, images = self.gaussians.get_image_metrics_and_images(outputs, batch)
        return {**scores, "fps": 1.0 / seconds}, images

    def sampled_scores(self, count: int) -> dict[str, float]:
        """Mean scores over ``count`` held-out views spread evenly over cameras and frames."""
        total = len(self.datamanager.eval_dataset)
        # A step coprime to the clip's length would do; a golden-ratio stride spreads for every count.
        views = sorted({int(total * ((k * 0.6180339887498949) % 1.0)) for k in range(min(count, total))})
        self.eval()
        scores = []
        for view in views:
            camera, batch = self.datamanager.eval_view(view)
            scores.append(self.score(camera, {**batch, "quick": True})[0])
        self.train()
        return mean_scores(scores)

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, Any]:
        """Scores over all held-out views.

        Under ``ns-eval`` the result also holds ``per_camera`` (means) and ``per_view`` (camera -> frame -> scores), which
        Nerfstudio writes into its JSON. With ``output_path`` truth and render are saved side by side.
        """
        self.eval()
        views = self.datamanager.fixed_indices_eval_dataloader
        per_view: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
        with progress_bar() as progress:
            for camera, batch in progress.track(views, total=len(views), description="evaluating held-out views"):
                scores, images = self.score(camera, batch)
                per_view[batch["camera"]][str(batch["frame"])] = scores
                if output_path is not None:
                    pixels = (images["img"].clamp(0, 1) * 255).round().byte().cpu().numpy()
                    folder = output_path / batch["camera"]
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(folder / f"{batch['frame']:06d}.png")
        self.train()
        everything = all_scores(per_view)
        result: dict[str, Any] = dict(mean_scores(everything))
        if get_std:
            for key in everything[0]:
                result[f"{key}_std"] = float(np.std([scores[key] for scores in everything]))
        if self.test_mode == "test":
            result["gaussians"] = self.gaussians.num_points
            result["per_camera"] = scores_per_camera(per_view)
            result["per_view"] = dict(per_view)
        return result


def _synchronize(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
