"""Shared fixtures."""

from __future__ import annotations

import os

import torch

from .annotations import execute_annotations

torch.set_num_threads(2)
if not torch.cuda.is_available():
    # Triton's interpreter runs the kernels on the CPU; it must be chosen before they are defined.
    os.environ.setdefault("TRITON_INTERPRET", "1")
execute_annotations()
