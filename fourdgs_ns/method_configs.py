"""The methods, each in one block with every hyper-parameter in sight.

Learning rates of positions and motion are for a rig whose extent is 1 (the dataparser scales scenes so; the trainer multiplies by
the extent where it is not).
"""

from __future__ import annotations

import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.plugins.types import MethodSpecification

from fourdgs_ns.data.datamanager import MultiViewVideoDatamanagerConfig
from fourdgs_ns.data.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.densification.gradient import DensificationConfig
from fourdgs_ns.densification.guided import GuidedSamplingConfig
from fourdgs_ns.errors import install_excepthook
from fourdgs_ns.model import DynamicGaussiansModelConfig
from fourdgs_ns.pipeline import DynamicGaussiansPipelineConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig
from fourdgs_ns.schedulers import FusedAdamConfig, LogLinearSchedulerConfig
from fourdgs_ns.trainer import DynamicGaussiansTrainerConfig

install_excepthook()


def _machine() -> MachineConfig:
    return MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")


def _viewer() -> ViewerConfig:
    # The viewer shows the capture's pictures: it listens on this machine only, unless told otherwise.
    return ViewerConfig(
        websocket_host="127.0.0.1", quit_on_train_completion=True, num_rays_per_chunk=1 << 15, max_num_display_images=32
    )


def _logging() -> LoggingConfig:
    # The trainer prints its own table, which knows held-out scores and Gaussians.
    return LoggingConfig(steps_per_log=100, local_writer=LocalWriterConfig(enable=False))


spacetime_gaussian = MethodSpecification(
    config=DynamicGaussiansTrainerConfig(
        method_name="spacetime-gaussian",
        max_num_iterations=30_000,
        steps_per_save=5_000,
        steps_per_eval_image=1_000,
        steps_per_eval_all_images=10_000,
        mixed_precision=False,
        machine=_machine(),
        viewer=_viewer(),
        logging=_logging(),
        vis="viewer+tensorboard",
        pipeline=DynamicGaussiansPipelineConfig(
            datamanager=MultiViewVideoDatamanagerConfig(dataparser=MultiViewVideoDataParserConfig(), batch_size=2),
            model=DynamicGaussiansModelConfig(
                representation=SpacetimeConfig(variant="lite", initial_duration=0.2, initial_opacity=0.1),
                densification=DensificationConfig(
                    start=500,
                    stop=None,
                    every=100,
                    gradient_threshold=2e-4,
                    split_size=0.01,
                    prune_opacity=0.005,
                    prune_size=0.1,
                    reset_opacity_every=3_000,
                    reset_opacity_stop=6_000,
                    max_gaussians=1_000_000,
                ),
                guided_sampling=GuidedSamplingConfig(enabled=False, start=1_600),
                ssim_weight=0.2,
                near=0.2,
            ),
        ),
        optimizers={
            "means": {
                "optimizer": FusedAdamConfig(lr=1.6e-4),
                "scheduler": LogLinearSchedulerConfig(final_ratio=0.01),
            },
            "motion": {"optimizer": FusedAdamConfig(lr=2.8e-4), "scheduler": None},
            "scales": {"optimizer": FusedAdamConfig(lr=5e-3), "scheduler": None},
            "quats": {"optimizer": FusedAdamConfig(lr=1e-3), "scheduler": None},
            "omegas": {"optimizer": FusedAdamConfig(lr=1e-4), "scheduler": None},
            "opacities": {"optimizer": FusedAdamConfig(lr=5e-2), "scheduler": None},
            "temporal_centers": {"optimizer": FusedAdamConfig(lr=1e-4), "scheduler": None},
            "log_durations": {"optimizer": FusedAdamConfig(lr=3e-2), "scheduler": None},
            "features_dc": {"optimizer": FusedAdamConfig(lr=2.5e-3), "scheduler": None},
            "features_time": {"optimizer": FusedAdamConfig(lr=1e-3), "scheduler": None},
            "decoder": {"optimizer": FusedAdamConfig(lr=1e-4), "scheduler": None},
            "camera_colors": {"optimizer": FusedAdamConfig(lr=1e-3), "scheduler": None},
        },
    ),
    description="SpacetimeGaussian (CVPR 2024): cubic motion, temporal opacity; lite (RGB) and full (9 features + decoder).",
)
