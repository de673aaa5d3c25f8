"""Timing of device work: warm, many repetitions, the median."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

WARM_UP = 10


def median_ms(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median milliseconds of ``work`` on ``device``, by CUDA events on a GPU and by the wall clock on the CPU.

    On a GPU the time runs from when the work is given to an idle device until it is done, so launches that the host cannot
    hide count, as they do in a training step.
    """
    for _ in range(min(WARM_UP, repeats)):
        work()
    times = []
    if device.type == "cuda":
        for _ in range(repeats):
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            start.record()
            work()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop))
    else:
        for _ in range(repeats):
            begin = perf_counter()
            work()
            times.append(1000 * (perf_counter() - begin))
    return float(np.median(times))


def hardware(device: torch.device) -> str:
    """What measured."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    return f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}"
