"""How Numba kernels are compiled and spread over the processor's cores.

Kernels are compiled without Numba's own parallel mode: they release Python's lock and work on a range of items, and
plain threads share the ranges. That compiles several times faster, gives the same result for any number of threads, lets the
viewer render from its thread while training renders from another (Numba's threading layers end the process there), and leaves no
OpenMP threads spinning between calls.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numba import njit

# Reordering and contraction let LLVM use vector registers. The flags "nnan" and "ninf" are left out on purpose: with
# them the compiler may delete the checks for non-finite values.
_FASTMATH = {"reassoc", "contract", "arcp", "nsz"}

exact_kernel: Callable[[Callable], Any] = njit(nogil=True, cache=True, error_model="numpy")
"""Decorator: compile at the first call, keep the result on disk, divide by zero as IEEE 754 says.

What is on disk is compiled again when the file of the kernel itself changes, not when a helper or a constant in another file
does: whoever changes one that several files use deletes __pycache__.
"""
kernel: Callable[[Callable], Any] = njit(nogil=True, cache=True, error_model="numpy", fastmath=_FASTMATH)
"""The same for sums whose order does not matter."""

exact_helper: Callable[[Callable], Any] = njit(nogil=True, error_model="numpy", forceinline=True)
"""Decorator of what an exact kernel calls.

It becomes part of its caller. Else a process that compiles runs the helper's own machine code, and later ones, which load the
caller from disk, the caller's copy of it: the two may round differently, and the first training after an installation, or the
first synthetic capture, would differ from the second.
"""
helper: Callable[[Callable], Any] = njit(nogil=True, error_model="numpy", fastmath=_FASTMATH, forceinline=True)
"""The same for what a kernel calls."""


@functools.lru_cache(maxsize=4)
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="compiled")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def spread(threads: int, function: Callable[..., None], count: int, chunk: int, *args: Any) -> None:
    """Call ``function(start, end, *args)`` for ranges of ``chunk`` items that cover [0, count).

    Ranges run at once on at most ``threads`` threads, so ``function`` must write different memory for different items.
    Returns when all are done.
    """
    starts = iter(range(0, count, chunk))

    def work() -> None:
        for start in starts:
            function(start, min(start + chunk, count), *args)

    futures = []
    if (helpers := min(threads, -(-count // chunk)) - 1) > 0:
        pool = _pool(threads - 1)
        futures = [pool.submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        future.result()
