"""Where decoded frames wait between steps: GPU, host memory or disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from fourdgs_ns.capture.frames.store import FrameStore
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.machine_memory import free_host_memory, is_out_of_memory

GIB = 1024**3
GPU_SHARE = 0.85
"""Share of the free GPU memory that frames and Gaussians may be planned to take: images and losses need the rest."""


@runtime_checkable
class FrameResidency(Protocol):
    """Hands out frames by (camera, index)."""

    on_device: bool
    """True when ``batch`` returns tensors on the training device without a copy from the host."""
    bytes_on_device: int
    """What the frames take of the GPU's memory."""
    reason: str
    """One sentence for the log: where the frames are and why."""

    def batch(self, views: Sequence[tuple[str, int]]) -> Tensor:
        """uint8 [b, h, w, c] of views of equal size."""


class InMemory:
    """All frames as tensors, on the GPU or in host memory."""

    def __init__(self, store: FrameStore, names: Sequence[str], device: torch.device, reason: str) -> None:
        self.on_device = True
        self.bytes_on_device = sum(int(np.prod(store.shape(name))) for name in names) if device.type == "cuda" else 0
        self.reason = reason
        self.frames = {}
        for name in names:
            whole = torch.empty(store.shape(name), dtype=torch.uint8, device=device)
            # Frame by frame: a whole camera in host memory could be as large as the budget.
            for i in range(whole.shape[0]):
                whole[i] = torch.from_numpy(store.read(name, i))
            self.frames[name] = whole

    def batch(self, views: Sequence[tuple[str, int]]) -> Tensor:
        return torch.stack([self.frames[name][i] for name, i in views])


class OnDisk:
    """Frames read when needed into fresh (pinned) buffers; the operating system's file cache does the rest."""

    def __init__(self, store: FrameStore, pin: bool, reason: str) -> None:
        self.on_device = False
        self.bytes_on_device = 0
        self.reason = reason
        self.store = store
        self.pin = pin

    def batch(self, views: Sequence[tuple[str, int]]) -> Tensor:
        shape = self.store.shape(views[0][0])[1:]
        images = torch.empty((len(views), *shape), dtype=torch.uint8, pin_memory=self.pin)
        for k, (name, i) in enumerate(views):
            self.store.read(name, i, out=images[k].numpy())
        return images


def choose_residency(
    store: FrameStore,
    names: Sequence[str],
    wish: Literal["auto", "gpu", "ram", "disk"],
    device: torch.device,
    cache_gb: float | None,
    reserved: int = 0,
) -> FrameResidency:
    """The fastest place that holds the frames of cameras ``names`` within the budgets, or the place that was asked for.

    Args:
        cache_gb: most host memory to take; None: a quarter of what is free, at most 4 GB.
        reserved: bytes of GPU memory that something else will need.

    Raises:
        UserError: the GPU was asked for and is none, or what was asked for does not hold the frames.
    """
    needed = int(sum(np.prod(store.shape(name)) for name in names))
    size = f"{needed / GIB:.1f} GB of frames" if needed > GIB / 10 else f"{needed / 2**20:.1f} MB of frames"
    cuda = device.type == "cuda"
    free_gpu = torch.cuda.mem_get_info(device)[0] if cuda else 0
    budget = min(free_host_memory() / 4, 4 * GIB) if cache_gb is None else cache_gb * GIB
    if wish == "gpu":
        if not cuda:
            raise UserError(
                "residency is 'gpu' but training runs on the CPU; use --pipeline.datamanager.residency auto"
            )
        if needed > free_gpu:
            raise UserError(
                f"{size} do not fit into {free_gpu / GIB:.1f} GB of free GPU memory; use "
                "--pipeline.datamanager.residency auto, or a --downscale-factor"
            )
    if wish == "ram" and needed > (free_ram := free_host_memory()):
        raise UserError(
            f"{size} do not fit into {free_ram / GIB:.1f} GB of free host memory; use "
            "--pipeline.datamanager.residency auto, or a --downscale-factor"
        )
    free = f"{free_gpu / GIB:.1f} GB of GPU memory are free, {reserved / GIB:.1f} GB are kept for Gaussians"
    fits = cuda and needed + reserved <= GPU_SHARE * free_gpu
    if wish == "gpu" or (wish == "auto" and fits):
        try:
            return InMemory(store, names, device, f"{size} are held on the GPU ({free})")
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if wish == "gpu":
                raise UserError(
                    f"GPU memory ran out while {size} were copied there ({free}); use "
                    "--pipeline.datamanager.residency auto, or a --downscale-factor"
                ) from None
            free = f"GPU memory ran out while they were copied there; {free}"
    why = f"{free}; " if cuda else ""
    if wish == "ram" or (wish == "auto" and needed <= budget):
        reason = f"{size} are held in host memory ({why}budget {budget / GIB:.1f} GB)"
        memory = InMemory(store, names, torch.device("cpu"), reason)
        # On a GPU machine a batch still has to travel, so it is read ahead like one from disk.
        memory.on_device = not cuda
        return memory
    return OnDisk(store, cuda, f"{size} are read from disk as needed ({why}host budget {budget / GIB:.1f} GB)")
