"""Learning-rate schedules whose state is plain Python, so that checkpoints load with ``weights_only=True``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


@dataclass
class LogLinearSchedulerConfig(SchedulerConfig):
    """Learning rate that falls by the same factor every step, as 3DGS does for positions."""

    _target: type = field(default_factory=lambda: LogLinearScheduler)
    final_ratio: float = 0.01
    """Learning rate at the end, as a share of the one at the start."""
    max_steps: int | None = None
    """Step at which the end is reached; it stays there afterwards. Default: the length of the training."""


class LogLinearScheduler(Scheduler):
    """Builds the schedule of :class:`LogLinearSchedulerConfig`."""

    config: LogLinearSchedulerConfig

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        ratio, steps = self.config.final_ratio, self.config.max_steps
        assert steps is not None, "the trainer fills in the length of the training"
        return LambdaLR(optimizer, lr_lambda=lambda step: math.pow(ratio, min(step / steps, 1.0)))


@dataclass
class FusedAdamConfig(AdamOptimizerConfig):
    """Adam in one kernel per tensor instead of a dozen."""

    eps: float = 1e-15
    """As in 3DGS: gradients of single Gaussians are tiny."""
    fused: bool = True
    """Use torch's fused implementation (CPU and CUDA)."""
