"""What Gaussians cost in memory, how many fit, and what to say when they did not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.machine_memory import is_out_of_memory
from fourdgs_ns.representation.base import Representation

GB = 1024**3
FLOAT = 4
"""Bytes of a number; everything that is trained is float32."""
ALIVE_BYTES = 800
"""What one Gaussian that is alive takes during a step beside its row. Counted from shapes, not measured: a slice with harmonics
of degree 3 and its gradient are 600 bytes, projections 80, intersections with four tiles and their sorting 120."""
USABLE_SHARE = 0.8
"""Share of the free GPU memory that Gaussians may be planned to take: images and losses need the rest."""


@dataclass(frozen=True)
class RowBytes:
    """Bytes per row of canonical parameters."""

    parameters: int
    gradients: int
    moments: int
    """Adam's two."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.parameters + self.gradients + self.moments


def row_bytes(representation: Representation) -> RowBytes:
    """What training keeps per row, derived from the shapes that the representation states."""
    numbers = sum(math.prod(spec.shape) for spec in representation.parameters.values())
    return RowBytes(FLOAT * numbers, FLOAT * numbers, 2 * FLOAT * numbers)


def training_bytes(representation: Representation, gaussians: int) -> int:
    """What training ``gaussians`` takes at most, all of them alive; images and frames not counted."""
    return gaussians * (row_bytes(representation).total + ALIVE_BYTES)


def affordable(representation: Representation, wanted: int, present: int, free: int) -> tuple[int, str | None]:
    """How many Gaussians to allow of the ``wanted`` ones, and the reason when it is fewer.

    Args:
        present: Gaussians whose parameters are on the GPU already; no fewer than these are allowed.
        free: bytes of GPU memory that are free.
    """
    room = USABLE_SHARE * (free + present * row_bytes(representation).parameters)
    each = training_bytes(representation, 1)
    fitting = max(int(room / each) // 1000 * 1000, present)
    if fitting >= wanted:
        return wanted, None
    return fitting, (
        f"at most {fitting:,} Gaussians instead of {wanted:,}: {each:,} bytes each in training, {free / GB:.1f} GB of GPU memory "
        "are free (--pipeline.model.densification.max-gaussians)"
    )


@dataclass(frozen=True)
class Use:
    """What was in GPU memory when it ran out."""

    gaussians: int
    row_bytes: int
    """Per Gaussian; moments and gradients count where there is training."""
    images: int
    """Rendered at once."""
    width: int
    height: int
    frame_bytes: int = 0
    """Decoded frames that wait on the GPU."""
    training: bool = True

    def advice(self) -> str:
        """What to lower: what takes the most."""
        # A training step keeps some two hundred bytes per pixel: images, gradients, maps of the loss.
        pixels = 200 * self.images * self.width * self.height
        smaller = "--downscale-factor 2 (after multiview-video-data)" if self.training else "the size of the image"
        options = {
            "--pipeline.model.densification.max-gaussians"
            if self.training
            else "the Gaussians (fourdgs-ns prune)": self.gaussians * (self.row_bytes + ALIVE_BYTES),
            "frames on the GPU: --pipeline.datamanager.residency disk": self.frame_bytes,
            smaller if self.images < 2 or not self.training else "--pipeline.datamanager.batch-size": pixels,
        }
        best = sorted((size, words) for words, size in options.items() if size)[::-1][:2]
        return ", or ".join(words for _, words in best)


class OutOfMemory(UserError):
    """GPU memory ran out; the message says what was in it and what to lower."""


@contextmanager
def one_line(doing: str, use: Callable[[], Use]) -> Iterator[None]:
    """Turn running out of GPU memory in here into :class:`OutOfMemory`; ``doing`` completes "while ..."."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(describe(doing, use())) from None


def describe(doing: str, use: Use) -> str:
    """The line: what was going on, how much of everything there was, what to lower."""
    free, total, held = gpu_memory()
    images = f", {use.images} image(s) of {use.width}x{use.height}" if use.images else ""
    frames = f", {use.frame_bytes / GB:.1f} GB of frames" if use.frame_bytes else ""
    others = total - free - held
    foreign = f", other programs hold {others / GB:.1f} GB" if others > total / 10 else ""
    return (
        f"GPU memory ran out while {doing}: {use.gaussians:,} Gaussians ({use.gaussians * use.row_bytes / GB:.1f} GB)"
        f"{images}{frames}; {free / GB:.1f} of {total / GB:.1f} GB are free{foreign}. "
        f"Lower {use.advice()}"
    )


def gpu_memory() -> tuple[int, int, int]:
    """Bytes free and in all on the current GPU, and those that this process holds; after giving back what nobody uses."""
    if not torch.cuda.is_available():
        return 0, 0, 0
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return free, total, torch.cuda.memory_reserved()
