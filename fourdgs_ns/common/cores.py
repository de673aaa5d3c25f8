"""How work is spread over the processor's cores by threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(tasks: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for ``tasks`` pieces of work at once, among which OpenCV's own threads are shared out.

    OpenCV would spread the work of each of ours over all cores once more; on 16 cores that took half as much processor time
    again.
    """
    count = max(1, min(tasks, available_cores()))
    before = cv2.getNumThreads()
    cv2.setNumThreads(max(1, available_cores() // count))
    try:
        with ThreadPoolExecutor(count) as pool:
            yield pool
    finally:
        cv2.setNumThreads(before)
