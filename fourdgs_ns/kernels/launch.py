"""Launching Triton kernels with little Python: a training step makes a dozen launches, each shorter than Triton's own call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TRITON = tuple(int(part) for part in triton.__version__.split(".")[:2])


class Kernel:
    """A Triton kernel that is compiled once per type of its arguments, never per value or alignment.

    Triton looks at every argument of every launch, because it compiles special versions for values like 1 and multiples of 16.
    Here all but the ``tl.constexpr`` parameters, which come last and are given by name, are exempt from that, so that what the
    first launch compiled serves the next ones directly.
    """

    def __init__(self, function: Callable) -> None:
        parameters = inspect.signature(function).parameters.values()
        self.constants = [p.name for p in parameters if p.annotation not in (inspect.Parameter.empty, None)]
        runtime = [p.name for p in parameters if p.name not in self.constants]
        # Triton's interpreter knows constants by the type; before 3.2 not by its name, which deferred annotations are.
        function.__annotations__ |= dict.fromkeys(self.constants, tl.constexpr)
        options = {"do_not_specialize": runtime}
        if TRITON >= (3, 2):  # before, the first stands for both
            options["do_not_specialize_on_alignment"] = runtime
        self.function = triton.jit(**options)(function)
        self.compiled: dict[tuple, Any] = {}

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            values = [constants[name] for name in self.constants]
            device = next(a.device for a in arguments if isinstance(a, Tensor))
            key = (device, *values, *map(_kind, arguments))
            compiled = self.compiled.get(key)
            if compiled is None:
                # None in Triton's interpreter, which compiles nothing.
                self.compiled[key] = self.function[grid](*arguments, **constants)
            else:
                # Since Triton 3.3 machine code is launched with the constants, too, which it ignores.
                compiled[(*grid, 1, 1)[:3]](*arguments, *(values if TRITON >= (3, 3) else ()))

        return launch


def _kind(argument: Any) -> Any:
    """What the machine code depends on: element type, or that a number needs 64 bits."""
    if isinstance(argument, Tensor):
        return argument.dtype
    return (int, -(2**31) <= argument < 2**31) if isinstance(argument, int) else type(argument)


@triton.jit
def instant(t):
    """t, given as a number or, where launches are recorded and replayed, by its place in memory."""
    if isinstance(t, float):  # so it is in Triton's interpreter
        return t
    elif t.dtype.is_ptr():
        return tl.load(t)
    else:
        return t


def as_argument(t: float | Tensor) -> float | Tensor:
    """t for a kernel that reads it by :func:`instant`."""
    return t if isinstance(t, Tensor) else float(t)


def kernel(function: Callable) -> Kernel:
    """Decorator for a Triton kernel that is launched from Python; what kernels call is decorated with ``triton.jit``."""
    return Kernel(function)


class _NoContext:
    """Forgets what a forward pass wants to keep."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        pass

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        pass


def call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply``, whose bookkeeping takes longer than a launch, or its forward pass alone where no gradient is wanted."""
    return function.apply(*arguments) if torch.is_grad_enabled() else function.forward(_NoContext(), *arguments)
