"""How much memory the host has and has free, how much this process took of it, and whether that of the GPU ran out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

SUPPOSED = 8 * 1024**3
"""Bytes that a host is supposed to have, and to have free, where the system does not tell."""


def host_memory() -> int:
    """Bytes of host memory in all."""
    return _pages("SC_PHYS_PAGES")


def _pages(which: str) -> int:
    try:
        return os.sysconf(which) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return SUPPOSED


def free_host_memory() -> int:
    """Bytes of host memory that can be taken without swapping: what the system can free, and the container's limit."""
    free = _pages("SC_AVPHYS_PAGES")
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        # The file cache is not free but can be had.
        free = int(lines["MemAvailable"].split()[0]) * 1024
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, limit - int((group / "memory.current").read_text()) + int(held["inactive_file"]))
    except (OSError, KeyError, ValueError):
        pass  # no container, no limit, or another system
    return max(free, 0)


def peak_host_memory() -> int:
    """Peak resident bytes of this process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that GPU memory ran out: torch's own exception, or CUDA's message in a plain one."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "CUDA" in str(error) and "out of memory" in str(error)
