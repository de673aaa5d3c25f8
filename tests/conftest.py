"""Shared fixtures."""

from __future__ import annotations

import os

import pytest
import torch

from .annotations import execute_annotations

torch.set_num_threads(2)
if not torch.cuda.is_available():
    # Triton's interpreter runs the kernels on the CPU; it must be chosen before they are defined.
    os.environ.setdefault("TRITON_INTERPRET", "1")
execute_annotations()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``fuzz`` run only where that is asked for: -m fuzz."""
    if "fuzz" not in str(config.getoption("markexpr")):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("fuzz")])
        items[:] = [item for item in items if not item.get_closest_marker("fuzz")]
