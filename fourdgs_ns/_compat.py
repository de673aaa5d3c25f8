"""The one place that touches private parts of other packages, with the versions it was written for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import Trainer


def start_step(trainer: Trainer) -> int:
    """First step of a run: 0, or the one after the checkpoint that was loaded (nerfstudio 1.1)."""
    return trainer._start_step
