"""Random canonical parameters of 4D Gaussians, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from fourdgs_ns.representation.fourd import STATIC_MARK, FourDConfig, FourDRepresentation


def random_rows(
    n: int = 40, seed: int = 0, static: int = 0, **options
) -> tuple[FourDRepresentation, dict[str, Tensor]]:
    """Rows of moderate shape, quaternions of any length; the first ``static`` ones do not depend on time."""
    generator = torch.Generator().manual_seed(seed)
    representation = FourDConfig(**options).setup()
    rows = {
        name: torch.randn(n, *spec.shape, generator=generator, dtype=torch.float64)
        for name, spec in representation.parameters.items()
    }
    rows["temporal_centers"] = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    rows["scales"] = rows["scales"] * 0.5 - 1.5
    rows["temporal_scales"] = rows["temporal_scales"] * 0.5 - 1.0
    rows["temporal_scales"][:static] = STATIC_MARK
    return representation, rows
