"""Kernels that pass in Triton's interpreter must also compile for a GPU, which the interpreter does not try: no GPU is needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMPILE = """
import inspect, sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from fourdgs_ns.kernels import fourd, fourd_colors, rows

SCALARS = {"t": "fp32", "mark": "fp32", "limit": "fp32", "frequency": "fp32", "m": "i32", "n": "i32"}
def compile_kernel(kernel, **constants):
    names = list(inspect.signature(kernel.function.fn).parameters)
    types = {**SCALARS, "ids": "*i64", "alive": "*i1", **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(
        fn=kernel.function, signature={name: types.get(name, "*fp32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    assert triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]

for kernel in (fourd._mark_alive, fourd._forward, fourd._backward):
    compile_kernel(kernel, BLOCK=128)
for kernel in (fourd_colors.fold, fourd_colors.unfold):
    compile_kernel(kernel, COUNT=48, PADDED=64, STORED=48, WAVES=2, STORED_WAVES=2, ROWS=16)
    compile_kernel(kernel, COUNT=3, PADDED=4, STORED=48, WAVES=0, STORED_WAVES=2, ROWS=256)
"""


@pytest.mark.slow
def test_slices_of_4d_gaussians_compile():
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
