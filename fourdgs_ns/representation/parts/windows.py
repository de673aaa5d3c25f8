"""Temporal windows: how visible a Gaussian is, as a share of its peak, dt away from its temporal centre.

Each window is a weight in [0, 1] and its inverse, the reach: the |dt| at which opacity times weight falls to the threshold below
which rasterizers skip a Gaussian. ``shape`` is the window's own extra parameter (raw), empty for the plain Gaussian.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.representation.types import ALPHA_THRESHOLD

WindowKind = Literal["gaussian", "gated", "flat-top"]

GATE_SLOPE = 20.0
"""Steepness of the gate's sigmoid (FreeTimeGS++): gates end up near 0 or 1."""
INITIAL_GATE = -1.0
INITIAL_PLATEAU = 1e-3
"""Half width in t of a flat top at the start: nearly none."""


def initial_shape(kind: WindowKind, n: int) -> Float[Tensor, "n 1"] | None:
    """Raw extra parameter of ``n`` new windows, None for a window that has none."""
    if kind == "gaussian":
        return None
    return torch.full((n, 1), INITIAL_GATE if kind == "gated" else math.log(INITIAL_PLATEAU))


def gate(shape: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Share of a gated window that is always open, from its raw parameter."""
    return torch.sigmoid(GATE_SLOPE * shape)


def weight(
    kind: WindowKind, dt: Float[Tensor, "*#b"], duration: Float[Tensor, "*#b"], shape: Float[Tensor, "*#b"] | None
) -> Float[Tensor, "*#b"]:
    """Weight in [0, 1], 1 at dt = 0.

    * gaussian: exp(-(dt / s)^2 / 2) (FreeTimeGS, eq. 4);
    * gated: g + (1 - g) exp(-(dt / s)^2 / 2): a Gaussian that can become permanent (FreeTimeGS++);
    * flat-top: 1 up to |dt| = r, then exp(-((|dt| - r) / s)^2) (SharpTimeGS).
    """
    if kind == "flat-top":
        assert shape is not None
        beyond = (dt.abs() - torch.exp(shape)).clamp_min(0.0)
        return torch.exp(-((beyond / duration) ** 2))
    bump = torch.exp(-0.5 * (dt / duration) ** 2)
    if kind == "gaussian":
        return bump
    assert shape is not None
    opened = gate(shape)
    return opened + (1 - opened) * bump


def reach(
    kind: WindowKind, opacity: Float[Tensor, "*b"], duration: Float[Tensor, "*b"], shape: Float[Tensor, "*b"] | None
) -> Float[Tensor, "*b"]:
    """Largest |dt| at which ``opacity`` (peak, in [0, 1]) times the weight is at least 1/255; -1 where there is none."""
    needed = ALPHA_THRESHOLD / opacity.clamp_min(1e-12)
    visible = needed <= 1
    if kind == "gated":
        assert shape is not None
        opened = gate(shape)
        # Where the open share alone suffices the remaining share is negative: visible for ever.
        needed = (needed - opened) / (1 - opened).clamp_min(1e-12)
    depth = -torch.log(needed.clamp(1e-38, 1.0))
    if kind == "flat-top":
        assert shape is not None
        distance = torch.exp(shape) + duration * depth.sqrt()
    else:
        distance = duration * (2 * depth).sqrt()
    distance = torch.where(needed <= 0, torch.full_like(distance, math.inf), distance)
    return torch.where(visible, distance, -torch.ones_like(distance))
