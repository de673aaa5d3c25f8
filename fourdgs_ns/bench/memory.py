"""What Gaussians cost in memory: per row by the representation's own shapes, in all, and on a GPU as a real step takes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fourdgs_ns.bench.render import REPRESENTATIONS, make_scene
from fourdgs_ns.densification.gradient import GradientDensificationConfig
from fourdgs_ns.densification.rows import edit_rows
from fourdgs_ns.plugin.optimizers import JointOptimizers
from fourdgs_ns.plugin.schedulers import FusedAdamConfig
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.types import Clip
from fourdgs_ns.training.losses import photometric_loss
from fourdgs_ns.training.memory import GB, RowBytes, row_bytes

PATTERN = 100_000
"""Rows that are made; larger scenes repeat them, because making millions takes minutes and memory is the same."""
STEPS = 3
GROWTH = 0.05
"""Share of rows that the growth adds; as many are removed."""


CAPTION = "GB; peak (on a GPU): of all tensors in training steps with one image, and while 1/20 of the rows is replaced"


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of one representation at one count."""

    name: str
    rows: int
    per_row: RowBytes
    alive: int | None = None
    """Gaussians alive at the last step that was measured; None where nothing was."""
    peak_step: int | None = None
    """The most that tensors took during training steps."""
    peak_growth: int | None = None
    """The same while rows were added and removed."""


def stated(name: str, rows: int) -> MemoryNeed:
    """What the representation's shapes say."""
    return MemoryNeed(name, rows, row_bytes(REPRESENTATIONS[name]().setup()))


def measured(name: str, rows: int, share: float, size: tuple[int, int], device: torch.device) -> MemoryNeed:
    """Some training steps and a growth of ``rows`` Gaussians of which ``share`` are alive, one image of ``size`` each.

    Only a GPU's allocator tells its peaks; on the CPU the same work is done and they stay None.

    Raises:
        torch.cuda.OutOfMemoryError: the GPU does not hold them.
    """
    representation, made, cameras = make_scene(REPRESENTATIONS[name](), min(rows, PATTERN), share, size, device)
    params = nn.ParameterDict()
    for key, value in made.items():
        params[key] = nn.Parameter(value.repeat(-(-rows // len(value)), *[1] * (value.dim() - 1))[:rows].contiguous())
    del made
    groups = {key: {"optimizer": FusedAdamConfig(lr=1e-5), "scheduler": None} for key in params}
    optimizers = JointOptimizers(groups, {key: [value] for key, value in params.items()})
    densifier = GradientDensificationConfig().setup(representation, Clip(300, 10.0), 1.0)
    statistics = densifier.empty_statistics(rows, device)
    target = torch.rand(1, cameras.height, cameras.width, 3, device=device)
    _peak(device)
    alive = 0
    for step in range(STEPS):
        t = (step + 0.5) / STEPS
        leaves = dict(params.items())
        optimizers.zero_grad_all()
        rendering = rasterize(representation.at(leaves, t, representation.active(leaves, t)), cameras)
        photometric_loss(rendering.features[..., :3], target, 0.2).backward()
        optimizers.step_all()
        densifier.observe(statistics, rendering)
        alive = len(rendering.ids)
        del rendering, leaves
    peak_step = _peak(device)
    keep = torch.rand(rows, device=device) >= GROWTH
    children = {key: value.detach()[~keep].clone() for key, value in params.items()}
    edit_rows(params, optimizers.optimizers, keep=keep, append=children)
    return MemoryNeed(name, rows, row_bytes(representation), alive, peak_step, _peak(device))


def _peak(device: torch.device) -> int | None:
    """The most that tensors took since the last call."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def gigabytes(size: int | None) -> str:
    """For a table."""
    return "" if size is None else f"{size / GB:.2f}"
