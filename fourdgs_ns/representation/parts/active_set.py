"""Slices of what is alive at t, without waiting for the GPU to count it."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import GaussiansAtTime, Parameters

ROOM = 1.1, 4096
"""Places in a list of ids, as a multiple of how many were alive lately and beyond that: empty ones cost next to nothing, a
list that is too short a second rendering."""
FORGETTING = 0.99
"""How fast the number alive lately falls from one rendering to the next."""

REHEARSALS = 4
"""Renderings of the same Gaussians before a slice is recorded."""


@dataclass
class ActiveRows:
    """Ids of the Gaussians alive at one t; -1 behind the last one."""

    ids: Int[Tensor, " b"]
    total: Int[Tensor, " 1"] | None
    """How many there are, on the host, negative until the GPU has written it; None: all of ``ids``."""


class RecordedSlice:
    """The kernels of a slice as one CUDA graph that is replayed for any t: a launch instead of a dozen calls of Python.

    Its results lie in the same memory every time; they hold until the next replay.
    """

    def __init__(self, representation: Representation, params: Parameters, capacity: int, eyes: Float[Tensor, "c 3"]):
        # Tensors made in inference mode could not be filled outside it.
        with torch.inference_mode(False):
            self.t, self.eyes = torch.zeros(1, device=eyes.device), torch.zeros(eyes.shape, device=eyes.device)
            self.total = torch.empty(1, dtype=torch.int32, pin_memory=True)
        self.graph = torch.cuda.CUDAGraph()
        caller = torch.cuda.current_stream(eyes.device)
        beside = torch.cuda.Stream(eyes.device)
        beside.wait_stream(caller)
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.stream(beside):
            self._work(representation, params, capacity)  # compiles what was not
            # Other threads may go on with whatever they do on the GPU.
            self.graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.slice = self._work(representation, params, capacity)
            finally:
                self.graph.capture_end()
        caller.wait_stream(beside)

    def _work(self, representation: Representation, params: Parameters, capacity: int) -> GaussiansAtTime:
        from fourdgs_ns.kernels.slicing import list_alive

        ids = list_alive(representation.marks(params, self.t), capacity, self.total)
        return representation.at(params, self.t, ids, self.eyes)

    def replay(self, t: float, eyes: Float[Tensor, "c 3"]) -> GaussiansAtTime:
        """The slice at ``t`` for cameras at ``eyes``."""
        self.t.fill_(t)
        self.eyes.copy_(eyes)
        self.total.fill_(-1)
        self.graph.replay()
        return self.slice


class ActiveSet:
    """Slices for a caller that renders at one time after another.

    Only the GPU knows how many Gaussians are alive, once all earlier work is done: asking before each rendering makes it
    idle while the host prepares what comes next. Where the fused kernels slice, the list of ids is therefore as long as earlier
    renderings suggest, and its length is checked once the rendering is under way. Who renders the same ones often without
    gradients gets the slice from a recording.
    """

    def __init__(self) -> None:
        self.lately: float | None = None
        """The most Gaussians alive in recent renderings; None before the first."""
        self._totals: Tensor | None = None
        self._turns = itertools.count()
        self._of_thread = threading.local()

    def slice(
        self, representation: Representation, params: Parameters, t: float | Tensor, eyes: Float[Tensor, "c 3"]
    ) -> tuple[GaussiansAtTime, ActiveRows]:
        """The Gaussians alive at ``t``, and room for some more, as cameras at ``eyes`` see them."""
        if self.lately is None or not representation.fused(params, t):
            ids = representation.active(params, float(t))
            self._learn(len(ids))
            return representation.at(params, t, ids, eyes), ActiveRows(ids, None)
        if torch.is_grad_enabled():
            self._of_thread.key = self._of_thread.recording = None  # its memory is for training
        elif (recording := self._recording(representation, params, eyes)) is not None:
            gaussians = recording.replay(float(t), eyes)
            return gaussians, ActiveRows(gaussians.ids, recording.total)
        from fourdgs_ns.kernels.slicing import list_alive

        marks = representation.marks(params, t)
        total = self._next_total(marks.alive.is_cuda)
        ids = list_alive(marks, self._capacity(len(marks.alive)), total)
        return representation.at(params, t, ids, eyes), ActiveRows(ids, total)

    def count(self, rows: ActiveRows) -> int | None:
        """How many Gaussians were alive; None when the list had no room for all of them, and the rendering has to be made again.

        To be called after work that waited for the GPU, as rasterizing does: else this waits.
        """
        if rows.total is None:
            return len(rows.ids)
        if int(rows.total) < 0:
            torch.cuda.current_stream(rows.ids.device).synchronize()
        found = int(rows.total)
        self._learn(found)
        if found <= len(rows.ids):
            return found
        self._of_thread.recording = None
        return None

    def _recording(
        self, representation: Representation, params: Parameters, eyes: Float[Tensor, "c 3"]
    ) -> RecordedSlice | None:
        """This thread's recording for these parameters and as many cameras, once rendered often enough to be worth one."""
        key = (representation, representation.degrees, eyes.shape, *((v.data_ptr(), v.shape) for v in params.values()))
        mine = self._of_thread
        if getattr(mine, "key", None) != key:
            mine.key, mine.rendered, mine.recording = key, 0, None
        mine.rendered += 1
        if mine.recording is None and mine.rendered > REHEARSALS and eyes.is_cuda:
            mine.recording = RecordedSlice(representation, params, self._capacity(len(params["means"])), eyes)
        return mine.recording

    def _capacity(self, rows: int) -> int:
        assert self.lately is not None
        return min(int(ROOM[0] * self.lately) + ROOM[1], rows)

    def _next_total(self, pinned: bool) -> Int[Tensor, " 1"]:
        """A number in host memory that a kernel can write, one of several in turn: threads may render at the same time."""
        if self._totals is None:
            with torch.inference_mode(False):
                self._totals = torch.empty(64, dtype=torch.int32, pin_memory=pinned)
        turn = next(self._turns) % len(self._totals)
        return self._totals[turn : turn + 1].fill_(-1)

    def _learn(self, found: int) -> None:
        self.lately = max(float(found), FORGETTING * (self.lately or 0.0))
