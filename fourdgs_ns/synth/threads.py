"""Spreads compiled loops over the processor's cores.

The kernels of the generator release Python's lock and work on a range of items; plain threads share the ranges. That
compiles several times faster than Numba's own parallel mode and gives the same result for any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from fourdgs_ns.common.cores import available_cores


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="synth")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def spread(kernel: Callable[..., None], count: int, chunk: int, *args: Any) -> None:
    """Call ``kernel(start, end, *args)`` for ranges of ``chunk`` items that cover [0, count).

    ``kernel`` must write different memory for different items. Returns when all are done.
    """
    if available_cores() == 1 or count <= chunk:
        kernel(0, count, *args)
        return
    pool = _pool()
    futures = [pool.submit(kernel, start, min(start + chunk, count), *args) for start in range(0, count, chunk)]
    for future in futures:
        future.result()
