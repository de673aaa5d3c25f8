"""The methods, each in one block with every hyper-parameter in sight.

Learning rates of positions and motion are for a rig whose extent is 1 (the dataparser scales scenes so; the trainer multiplies by
the extent where it is not).
"""

from __future__ import annotations

import torch
from nerfstudio.configs.base_config import LocalWriterConfig, LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from fourdgs_ns.common.errors import install_excepthook
from fourdgs_ns.densification.fourd import FourDDensificationConfig
from fourdgs_ns.densification.gradient import GradientDensificationConfig
from fourdgs_ns.densification.guided import GuidedSamplingConfig
from fourdgs_ns.densification.relocation import RelocationConfig
from fourdgs_ns.plugin.datamanager import MultiViewVideoDatamanagerConfig
from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
from fourdgs_ns.plugin.model_config import DynamicGaussiansModelConfig
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipelineConfig
from fourdgs_ns.plugin.schedulers import FusedAdamConfig, LogLinearSchedulerConfig
from fourdgs_ns.plugin.trainer import DynamicGaussiansTrainerConfig
from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig

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


def _group(lr: float, final_ratio: float | None = None) -> dict:
    """One parameter group: Adam, and a rate that falls to ``final_ratio`` of itself over the training (None: constant)."""
    scheduler = None if final_ratio is None else LogLinearSchedulerConfig(final_ratio=final_ratio)
    return {"optimizer": FusedAdamConfig(lr=lr), "scheduler": scheduler}


def _trainer(method_name: str, batch_size: int, model: DynamicGaussiansModelConfig, optimizers: dict) -> TrainerConfig:
    """What is the same for all methods."""
    return DynamicGaussiansTrainerConfig(
        method_name=method_name,
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
            datamanager=MultiViewVideoDatamanagerConfig(
                dataparser=MultiViewVideoDataParserConfig(), batch_size=batch_size
            ),
            model=model,
        ),
        # What is learned of cameras; clocks per second, too: at most a millisecond per step at the start.
        optimizers={
            **optimizers,
            "camera_colors": _group(1e-3),
            "camera_times": _group(1e-3, final_ratio=0.01),
            "camera_poses": _group(1e-5, final_ratio=0.1),
        },
    )


spacetime_gaussian = MethodSpecification(
    config=_trainer(
        "spacetime-gaussian",
        batch_size=2,
        model=DynamicGaussiansModelConfig(
            representation=SpacetimeConfig(variant="lite", initial_duration=0.2, initial_opacity=0.1),
            densification=GradientDensificationConfig(
                start=None,
                stop=None,
                every=100,
                gradient_threshold=2e-4,
                split_size=0.01,
                prune_opacity=0.005,
                prune_size=0.1,
                reset_opacity_every=None,
                reset_opacity_stop=None,
                max_gaussians=1_000_000,
            ),
            guided_sampling=GuidedSamplingConfig(enabled=False, start=1_600),
            ssim_weight=0.2,
            opacity_regularization=0.003,
            color_correction=True,
            near=0.3,
        ),
        optimizers={
            "means": _group(1.6e-4, final_ratio=0.01),
            "motion": _group(2.8e-4),
            "scales": _group(5e-3),
            "quats": _group(1e-3),
            "omegas": _group(1e-4),
            "opacities": _group(5e-2),
            "temporal_centers": _group(1e-4),
            "log_durations": _group(3e-2),
            "features_dc": _group(2.5e-3),
            "features_time": _group(1e-3),
            "decoder": _group(1e-4),
        },
    ),
    description="SpacetimeGaussian (CVPR 2024): cubic motion, temporal opacity; lite (RGB) and full (9 features + decoder).",
)

freetime = MethodSpecification(
    config=_trainer(
        "freetime",
        batch_size=2,
        model=DynamicGaussiansModelConfig(
            representation=FreeTimeConfig(
                sh_degree=3,
                sh_every=1_000,
                initial_opacity=0.5,
                initial_scale=0.5,
                initial_duration_seconds=0.1,
                static_duration=3.0,
                window="gaussian",
            ),
            densification=RelocationConfig(
                start=None,
                stop=None,
                every=100,
                max_gaussians=500_000 if torch.cuda.is_available() else 100_000,
                growth=0.2,
                dead_opacity=0.005,
                gradient_share=0.5,
            ),
            ssim_weight=0.2,
            color_correction=True,
            perceptual_weight=0.01,
            opacity_regularization=1e-2,
            opacity_regularization_over="all",
            opacity_regularization_share=0.5,
            near=0.3,
        ),
        # Velocities and temporal centres: rates per second, converted with the clip's duration.
        optimizers={
            "means": _group(1.6e-4, final_ratio=0.01),
            "velocities": _group(1.6e-3, final_ratio=0.01),
            "scales": _group(5e-3),
            "quats": _group(1e-3),
            "opacities": _group(5e-2),
            "temporal_centers": _group(1.6e-4),
            "log_durations": _group(5e-3),
            "features_dc": _group(2.5e-3),
            "features_rest": _group(1.25e-4),
            "window_shapes": _group(5e-3),
        },
    ),
    description="FreeTimeGS (CVPR 2025): Gaussians anywhere in space and time, linear motion, relocation within a fixed budget.",
)

fourdgs_4dsh = MethodSpecification(
    config=_trainer(
        "4dgs-4dsh",
        batch_size=4,
        model=DynamicGaussiansModelConfig(
            representation=FourDConfig(
                sh_degree=3,
                temporal_degree=2,
                sh_every=1_000,
                initial_opacity=0.1,
                initial_duration=0.2,
                static_duration=2.0,
                clip_length=0.1,
            ),
            densification=FourDDensificationConfig(
                start=None,
                stop=None,
                every=100,
                gradient_threshold=2e-4,
                temporal_gradient_threshold=2e-4,
                split_size=0.01,
                prune_opacity=0.005,
                prune_size=0.0,
                prune_frames=0.5,
                reset_opacity_every=0,
                static_duration=1.0,
                static_travel=2.0,
                max_gaussians=1_000_000,
            ),
            ssim_weight=0.2,
            color_correction=True,
            near=0.3,
        ),
        # Temporal centres: a rate per second, converted with the clip's duration.
        optimizers={
            "means": _group(1.6e-4, final_ratio=0.01),
            "scales": _group(5e-3),
            "temporal_scales": _group(5e-3),
            "left_quats": _group(1e-3),
            "right_quats": _group(1e-3),
            "opacities": _group(5e-2),
            "temporal_centers": _group(1.6e-4),
            "features_dc": _group(2.5e-3),
            "features_rest": _group(1.25e-4),
            "features_time": _group(1.25e-4),
        },
    ),
    description="4D Gaussian splatting (ICLR 2024): Gaussians of space-time, 4D spherical harmonics, what lasts becomes static.",
)
