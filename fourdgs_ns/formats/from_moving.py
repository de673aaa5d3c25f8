"""Moving Gaussians of a file as a model that can be trained on: the method that holds them exactly."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.trained_scene import TrainedScene, drop_non_finite
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.parts.moving import MovingGaussians
from fourdgs_ns.representation.parts.windows import GATE_SLOPE
from fourdgs_ns.representation.spacetime import lite_config
from fourdgs_ns.representation.types import Clip

NO_PLATEAU = 1e-6
"""Half width in t that stands for no flat top at all."""


def scene_from_moving(moving: MovingGaussians, clip: Clip, source: Path) -> TrainedScene:
    """spacetime-gaussian for plain colours and Gaussian windows, freetime for straight paths.

    Raises:
        UserError: neither of them holds the Gaussians exactly, or most are not finite.
    """
    params = {
        "means": moving.means, "scales": moving.log_scales, "quats": moving.quats, "opacities": moving.opacities[:, None],
        "temporal_centers": moving.centers[:, None],
    }  # fmt: skip
    straight = not bool(moving.motion[:, 1:].any()) and not bool(moving.omegas.any())
    notes: list[str] = []
    if moving.has_plain_window() and moving.colors.dim() == 2:
        params |= {
            "features_dc": moving.colors, "motion": moving.motion.reshape(-1, 9), "omegas": moving.omegas,
            "log_durations": moving.log_durations[:, None],
        }  # fmt: skip
        params = drop_non_finite(params, source, notes)
        return TrainedScene(lite_config(params["features_dc"]), params, clip, notes=notes)
    flat, gated = bool((moving.plateaus > 0).any()), bool((moving.gates > 0).any())
    if not straight or (flat and gated):
        raise UserError(
            f"{source} holds Gaussians that bend or turn and whose colours or windows are not SpacetimeGaussian's: no method "
            "here holds them exactly; convert them to a format instead of a run"
        )
    log_durations, velocities = moving.log_durations[:, None], moving.motion[:, 0]
    if flat:
        plateaus = moving.plateaus[:, None].clamp_min(NO_PLATEAU)
        params["window_shapes"] = plateaus.log()
        # Flat-top windows divide velocities by this: SharpTimeGS's damping, undone.
        velocities = velocities * (1 + ((log_durations.exp() + plateaus) ** 2).clamp_min(1.0))
    else:
        log_durations = log_durations - 0.5 * math.log(2.0)
    if gated:
        params["window_shapes"] = torch.logit(moving.gates[:, None], eps=1e-7) / GATE_SLOPE
    harmonics = moving.harmonics()
    params |= {"velocities": velocities, "log_durations": log_durations, "features_dc": harmonics[:, 0]}
    if harmonics.shape[1] > 1:
        params["features_rest"] = harmonics[:, 1:]
    window = "flat-top" if flat else "gated" if gated else "gaussian"
    degree = math.isqrt(harmonics.shape[1]) - 1
    params = drop_non_finite({name: value.contiguous() for name, value in params.items()}, source, notes)
    config = FreeTimeConfig(sh_degree=degree, window=window)  # type: ignore[arg-type]
    return TrainedScene(config, params, clip, notes=notes)
