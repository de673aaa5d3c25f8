"""The methods of the registry as Nerfstudio wants them: one trainer config each.

Learning rates of positions and motion are for a rig whose extent is 1 (the dataparser scales the world so; the trainer multiplies
by the extent where it is not).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from fourdgs_ns.densification.base import DensificationConfig
from fourdgs_ns.densification.registry import STRATEGIES
from fourdgs_ns.plugin.datamanager import MultiViewVideoDatamanagerConfig
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.model import DynamicGaussiansModelConfig
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipelineConfig
from fourdgs_ns.plugin.schedulers import FusedAdamConfig, LogLinearSchedulerConfig
from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainerConfig
from fourdgs_ns.representation.method import Method
from fourdgs_ns.representation.registry import METHODS


def specification(name: str) -> MethodSpecification:
    """What Nerfstudio registers for a method of the registry."""
    return MethodSpecification(config=trainer_config(name), description=METHODS.named(name).description)


def trainer_config(name: str) -> DynamicGaussiansTrainerConfig:
    """A fresh config of a method, as ``ns-train`` starts from it."""
    method = METHODS.named(name)
    return DynamicGaussiansTrainerConfig(
        method_name=name,
        max_num_iterations=30_000,
        steps_per_save=5_000,
        steps_per_eval_image=1_000,
        steps_per_eval_all_images=10_000,
        mixed_precision=False,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        # The viewer shows the capture's images: it listens on this machine only, unless told otherwise.
        viewer=ViewerConfig(
            websocket_host="127.0.0.1",
            quit_on_train_completion=True,
            num_rays_per_chunk=1 << 15,
            max_num_display_images=32,
        ),
        # The trainer prints its own line, which knows held-out scores and Gaussians, and its last words are what to type next.
        logging=LoggingConfig(steps_per_log=100, local_writer=LocalWriterConfig(enable=False), profiler="none"),
        vis="viewer+tensorboard",
        pipeline=DynamicGaussiansPipelineConfig(
            datamanager=MultiViewVideoDatamanagerConfig(
                dataparser=MultiViewVideoDataParserConfig(), batch_size=method.batch_size
            ),
            model=DynamicGaussiansModelConfig(
                representation=deepcopy(method.config), densification=_densification(method), **method.model_options
            ),
        ),
        optimizers=_optimizers(method),
    )


def _densification(method: Method) -> DensificationConfig:
    config = STRATEGIES.named(method.densification).config(**method.densification_options)
    if method.max_gaussians_on_cpu is not None and not torch.cuda.is_available():
        config.max_gaussians = method.max_gaussians_on_cpu
    return config


def _optimizers(method: Method) -> dict:
    groups = {name: _group(spec.learning_rate, spec.final_ratio) for name, spec in method.parameters().items()}
    groups["decoder"] = _group(method.config.setup().decoder_learning_rate)
    # What is learned of cameras; clocks per second, too: at most a millisecond per step at the start.
    groups["camera_colors"] = _group(1e-3)
    groups["camera_times"] = _group(1e-3, final_ratio=0.01)
    groups["camera_poses"] = _group(1e-5, final_ratio=0.1)
    return groups


def _group(lr: float, final_ratio: float | None = None) -> dict:
    """One parameter group: Adam, and a rate that falls to ``final_ratio`` of itself over the training (None: constant)."""
    scheduler = None if final_ratio is None else LogLinearSchedulerConfig(final_ratio=final_ratio)
    return {"optimizer": FusedAdamConfig(lr=lr), "scheduler": scheduler}
