"""The strategies of densification by name, each by the class of its options.

A strategy is one file in this folder and one entry here, or one file and one entry point elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.registry import Registry
from fourdgs_ns.densification.base import DensificationConfig, Strategy

STRATEGIES: Registry[Strategy] = Registry(
    "densification strategy",
    Strategy,
    "fourdgs_ns.densification",
    {
        "gradient": "fourdgs_ns.densification.gradient:STRATEGY",
        "relocation": "fourdgs_ns.densification.relocation:STRATEGY",
        "fourd": "fourdgs_ns.densification.fourd:STRATEGY",
    },
)


def chosen(name: str, options: Mapping[str, float], before: DensificationConfig) -> DensificationConfig:
    """Options of the strategy ``name``: what all strategies share as it is in ``before``, then what ``options`` says.

    Raises:
        UserError: the strategy or one of the options is unknown.
    """
    kind = STRATEGIES.named(name).config
    known = {f.name: f for f in fields(kind)}
    shared = {f.name: getattr(before, f.name) for f in fields(DensificationConfig)}
    given = {key.replace("-", "_"): value for key, value in options.items()}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise UserError(
            f"the densification strategy '{name}' has no option '{unknown[0]}'; it has {', '.join(sorted(known))}"
        )
    default: Any = kind()
    for key, value in given.items():
        whole = isinstance(getattr(default, key), int) or getattr(default, key) is None
        if not math.isfinite(value) or (whole and value != int(value)):
            raise UserError(f"--pipeline.model.strategy-options {key} is {value}; give a {'whole ' * whole}number")
        given[key] = int(value) if whole else value
    return kind(**{**shared, **given})
