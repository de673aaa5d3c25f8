"""How our Triton kernels are compiled and called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TRITON = tuple(int(part) for part in triton.__version__.split(".")[:2])


def kernel(function: Callable) -> Any:
    """Decorator for a Triton kernel that is launched from Python; what kernels call is decorated with ``triton.jit``.

    It is compiled once per type of its arguments, never per value or alignment: all but the ``tl.constexpr`` parameters, which
    come last and are given by name, are exempt from that.
    """
    parameters = inspect.signature(function).parameters.values()
    constants = [p.name for p in parameters if p.annotation not in (inspect.Parameter.empty, None)]
    runtime = [p.name for p in parameters if p.name not in constants]
    # Triton's interpreter knows constants by the type; before 3.2 not by its name, which deferred annotations are.
    function.__annotations__ |= dict.fromkeys(constants, tl.constexpr)
    options = {"do_not_specialize": runtime}
    if TRITON >= (3, 2):  # before, the first stands for both
        options["do_not_specialize_on_alignment"] = runtime
    return triton.jit(**options)(function)


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


class _NoContext:
    """Forgets what a forward pass wants to keep."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        pass

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        pass


def call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function.apply``, whose bookkeeping takes longer than a launch, or its forward pass alone where no gradient is wanted."""
    return function.apply(*arguments) if torch.is_grad_enabled() else function.forward(_NoContext(), *arguments)
