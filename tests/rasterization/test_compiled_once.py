"""The process that compiles the CPU kernels and the later ones that load them from disk rasterize alike, bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DRAW = """
import hashlib, warnings
warnings.filterwarnings("ignore")
import torch
from fourdgs_ns.bench.render import frozen, make_scene
from fourdgs_ns.rasterization import rasterize
from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig

for config in SpacetimeConfig(), FourDConfig():  # one with scales and quaternions, one with covariances
    representation, params, cameras = make_scene(config, 1000, 1.0, (100, 80), torch.device("cpu"))
    leaves = frozen(representation.at(params, 0.5, representation.active(params, 0.5)))
    image = rasterize(leaves, cameras).features
    image.square().sum().backward()
    gradients = {name: value.grad for name, value in leaves.tensors().items() if value.grad is not None}
    for name, value in {"image": image.detach(), **gradients}.items():
        print(type(config).__name__, name, hashlib.sha256(value.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_first_and_later_processes_rasterize_the_same_bits(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", DRAW], env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    )
    assert first.count("image") == 2 and "means" in first
    assert first == second
