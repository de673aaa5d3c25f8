"""A method as one entry: its representation and what it is trained with, as plain values. Nerfstudio is not known here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fourdgs_ns.representation.base import ParameterSpec, RepresentationConfig


@dataclass(frozen=True)
class Method:
    """Everything that the rest of the package must know to train, evaluate and export a method."""

    name: str
    """As ``ns-train`` knows it."""
    description: str
    """One line for its help."""
    variants: Mapping[str, RepresentationConfig]
    """Options worth telling apart, by a name for tables; the first are the defaults. Together they have every parameter."""
    densification: str
    """Name of the strategy that adds and removes Gaussians, see ``fourdgs_ns.densification.registry``."""
    densification_options: Mapping[str, Any] = field(default_factory=dict)
    """What differs from that strategy's defaults."""
    max_gaussians_on_cpu: int | None = None
    """Budget where there is no GPU; None: the same."""
    batch_size: int = 2
    """Cameras per step, all at one instant."""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the defaults of ``fourdgs_ns.plugin.model``."""

    @property
    def config(self) -> RepresentationConfig:
        """The representation's options by default."""
        return next(iter(self.variants.values()))

    def parameters(self) -> dict[str, ParameterSpec]:
        """Every parameter that some variant has."""
        return {name: spec for config in self.variants.values() for name, spec in config.setup().parameters.items()}
