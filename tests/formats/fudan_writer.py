"""Checkpoints in the published format, written from known Gaussians."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourdgs_ns.representation.parts.rotations4d import other_convention


def gaussians(n: int = 200, seed: int = 0, duration: float = 1.0, moving: float = 0.3) -> dict[str, Tensor]:
    """Raw values as the format stores them; three quarters stand still. Times fill the window of length ``duration``."""
    g = torch.Generator().manual_seed(seed)
    left = torch.randn(n, 4, generator=g)
    right = left * (0.5 + torch.rand(n, 1, generator=g))
    right[: n // 4] += moving * torch.randn(n // 4, 4, generator=g)
    return {
        "xyz": torch.randn(n, 3, generator=g),
        "t": (torch.rand(n, 1, generator=g) * 1.2 - 0.1) * duration,
        "scaling": torch.randn(n, 3, generator=g) * 0.4 - 2.5,
        "scaling_t": torch.randn(n, 1, generator=g) * 0.4 - 1.0 + float(np.log(duration)),
        "rotation": left,
        "rotation_r": right,
        "opacity": torch.randn(n, 1, generator=g),
        "features": torch.randn(n, 48, 3, generator=g) * 0.3,
    }


def capture_tuple(raw: dict[str, Tensor], **changes: Any) -> list[Any]:
    """The 19 values; ``changes`` replace by name: old=True, rot_4d=False, active=(3, 2)."""
    n = len(raw["xyz"])
    left, right = raw["rotation"], raw["rotation_r"]
    if changes.get("old"):
        left, right = other_convention(left, right)
    rot_4d = changes.get("rot_4d", True)
    degree, degree_t = changes.get("active", (3, 2))
    adam = {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(n, 3)}},
            "param_groups": [{"lr": np.float64(1.6e-4), "name": "xyz", "params": [0]}]}  # fmt: skip
    features = nn.Parameter(raw["features"])
    return [
        degree, nn.Parameter(raw["xyz"]), features[:, :1].contiguous(), features[:, 1:].contiguous(),
        nn.Parameter(raw["scaling"]), nn.Parameter(left), nn.Parameter(raw["opacity"]), torch.zeros(n), torch.zeros(n, 1),
        torch.zeros(n, 1), torch.zeros(n, 1), adam, np.float64(4.4), nn.Parameter(raw["t"]), nn.Parameter(raw["scaling_t"]),
        nn.Parameter(right) if rot_4d else torch.empty(0), rot_4d, None, degree_t,
    ]  # fmt: skip


def static_tuple(raw: dict[str, Tensor]) -> list[Any]:
    """The 12 values of gaussian_dim 3."""
    values = capture_tuple(raw, active=(3, 0))
    return [*values[:9], values[10], values[11], values[12]]


def save(path: Path, values: list[Any]) -> Path:
    torch.save((tuple(values), 30_000), path)
    return path
