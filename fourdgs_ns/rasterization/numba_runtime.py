"""What all Numba kernels of the CPU backend share: how they are compiled, and the lock that serialises them."""

from __future__ import annotations

import threading
from typing import Any, Callable

from numba import njit

KERNEL_LOCK = threading.Lock()
"""Hold this around every call of a parallel kernel: the viewer renders from its own thread while training runs, and
Numba's fallback threading layer ends the process when two threads enter it at once."""

# Reordering and contraction let LLVM use vector registers. The flags "nnan" and "ninf" are left out on purpose: with
# them the compiler may delete the checks for non-finite values.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


def kernel(parallel: bool = False) -> Callable[[Callable], Any]:
    """Decorator: compile at the first call, keep the result on disk, divide by zero as IEEE 754 says."""
    return njit(parallel=parallel, cache=True, fastmath=_FASTMATH, error_model="numpy")
