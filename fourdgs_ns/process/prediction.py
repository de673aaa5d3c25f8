"""Disk, memory and minutes that training a capture will take on this machine, by simple stated formulas."""

from __future__ import annotations

import shutil

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.selection import automatic_downscale
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.machine_memory import host_memory
from fourdgs_ns.common.workspace import cache_directory

GIB = 2**30
GAUSSIANS = 500_000
BYTES_PER_GAUSSIAN = 1_200
"""Parameters, gradients and two moments of about 70 numbers each."""
VIEWS_PER_STEP = 2
GPU_MEGAPIXELS_PER_SECOND = 200.0
"""Rendered, differentiated and optimised: freetime at 1352x1014 with 0.5 M Gaussians on an H100."""
CPU_MEGAPIXELS_PER_SECOND_AND_CORE = 0.4
"""The same: spacetime-gaussian on the sample capture, two cores."""
STEP_OVERHEAD_SECONDS = 0.004


def predict(capture: Capture, iterations: int) -> list[dict[str, str]]:
    """Items for disk, memory and minutes.

    Disk: 3 bytes per pixel, frame and camera at training size. Memory: the same, plus ``BYTES_PER_GAUSSIAN`` for
    ``GAUSSIANS`` Gaussians. Minutes: iterations times (views per step times megapixels per view / speed + overhead).
    """
    downscale = automatic_downscale(capture)
    pixels = [c.width * c.height / downscale**2 for c in capture.cameras]
    store = 3.0 * sum(p * len(c.frames) for p, c in zip(pixels, capture.cameras))
    free = shutil.disk_usage(cache_directory(capture.root)).free
    memory = GAUSSIANS * BYTES_PER_GAUSSIAN + store
    gpu, gpu_memory = _gpu()
    cores = available_cores()
    available = gpu_memory if gpu else host_memory()
    speed = GPU_MEGAPIXELS_PER_SECOND if gpu else CPU_MEGAPIXELS_PER_SECOND_AND_CORE * cores
    megapixels = sum(pixels) / len(pixels) / 1e6
    minutes = iterations * (VIEWS_PER_STEP * megapixels / speed + STEP_OVERHEAD_SECONDS) / 60
    disk_color = "green" if store < 0.7 * free else "yellow" if store < free else "red"
    memory_color = "green" if memory < 0.8 * available else "yellow"  # frames then stay on disk
    time_color = "green" if minutes < 120 else "yellow"
    size = f"at 1/{downscale} of the size" if downscale > 1 else "at full size"
    where = "on this GPU" if gpu else f"on {cores} CPU cores; a GPU, fewer iterations or --downscale-factor shorten it"
    return [
        _item(disk_color, "disk", f"{store / GIB:.1f} GiB for the frames {size}, {free / GIB:.0f} GiB free"),
        _item(
            memory_color,
            "memory",
            f"{memory / GIB:.1f} GiB with all frames in memory, {available / GIB:.0f} GiB there"
            + ("" if memory_color == "green" else "; frames will be read from disk"),
        ),
        _item(time_color, "time", f"about {minutes:.0f} minutes for {iterations} iterations {where}"),
    ]


def _item(color: str, name: str, text: str) -> dict[str, str]:
    return {"color": color, "name": name, "text": text}


def _gpu() -> tuple[bool, int]:
    import torch

    if not torch.cuda.is_available():
        return False, 0
    return True, int(torch.cuda.get_device_properties(0).total_memory)
