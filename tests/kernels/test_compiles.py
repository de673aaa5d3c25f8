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
from fourdgs_ns.kernels import fourd, fourd_colors, freetime, photometric, spacetime, tile_lists, view_colors
from fourdgs_ns.kernels import slicing as rows

SCALARS = {"t": "fp32", "mark": "fp32", "limit": "fp32", "frequency": "fp32", "m": "i32", "n": "i32",
           "capacity": "i32", "runs": "i32", "counts": "*i32"}
def compile_kernel(kernel, **constants):
    names = list(inspect.signature(kernel.fn).parameters)
    types = {**SCALARS, "ids": "*i64", "alive": "*i1", **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(
        fn=kernel, signature={name: types.get(name, "*fp32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    assert triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]

for kernel in (fourd._mark_alive, fourd._forward, fourd._backward):
    compile_kernel(kernel, BLOCK=128)
for kernel in (freetime._forward, freetime._backward):
    compile_kernel(kernel, BLOCK=256)
SCALARS["t"] = "*fp32"  # by its place in memory, as recorded launches have it
compile_kernel(freetime._forward, BLOCK=256)
SCALARS["t"] = "fp32"
for kernel in (spacetime._forward, spacetime._backward):
    compile_kernel(kernel, CONSTANT=6, SLOPE=3, BLOCK=256)
SCALARS |= dict.fromkeys(("tiles_x", "tiles_y", "zero", "entries", "projections", "width", "height"), "i32")
SCALARS |= {"order": "*i64", "ends": "*i64", "tiles": "*i16"}
SCALARS |= dict.fromkeys(("radii", "listed"), "*i32") | dict.fromkeys(("ssim_share", "l1_share"), "fp32")
compile_kernel(tile_lists._count, TILE=8, BLOCK=256)
compile_kernel(tile_lists._list, TILE=8, HALVINGS=20, BLOCK=256)
SCALARS["total"] = "i32"
for kernel in (photometric._compare, photometric._gradient):
    compile_kernel(kernel, CHANNELS=3, ROWS=32, BLOCK=128)
SCALARS["total"] = "*i32"
compile_kernel(rows._mark_alive, FACTOR=0.5, BLOCK=1024)
compile_kernel(rows._list_alive, RUNS=4, LOADS=2, BLOCK=1024)
for kernel in (view_colors._forward, view_colors._backward):
    compile_kernel(kernel, CAMERAS=2, USED=16, COUNT=16, WAVES=2, STORED_WAVES=2, ROWS=64)
    compile_kernel(kernel, CAMERAS=2, USED=1, COUNT=16, WAVES=0, STORED_WAVES=0, ROWS=64)
for kernel in (fourd_colors._fold, fourd_colors._unfold):
    compile_kernel(kernel, COUNT=48, PADDED=64, STORED=48, WAVES=2, STORED_WAVES=2, ROWS=16)
    compile_kernel(kernel, COUNT=3, PADDED=4, STORED=48, WAVES=0, STORED_WAVES=2, ROWS=256)
"""


@pytest.mark.slow
def test_slices_compile():
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
