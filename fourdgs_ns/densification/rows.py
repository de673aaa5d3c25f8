"""Removing and adding rows of canonical parameters together with what Adam remembers about them.

gsplat's strategy operations do one of these at a time, copy temporal attributes verbatim and keep their building block
private; here one call keeps some rows, appends others and hands every optimizer its new tensor.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from fourdgs_ns.representation.base import Representation
from fourdgs_ns.representation.types import Clip, Parameters


@torch.no_grad()
def edit_rows(
    params: nn.ParameterDict,
    optimizers: Mapping[str, Optimizer],
    *,
    keep: Bool[Tensor, " n"] | None = None,
    append: Mapping[str, Tensor] | None = None,
) -> None:
    """Keep the rows ``keep`` (None: all) and add the rows ``append`` behind them, in place.

    Adam's moments follow the kept rows and are zero for new ones; its step counter is untouched. Gradients are dropped, and
    before anything is copied: with them gone, the rows never take more memory here than during a step, as long as the largest
    tensor of new rows is no larger than the old gradients together.

    Args:
        params: canonical parameters, name -> [n, ...].
        optimizers: one Adam-like optimizer per name (its state besides "step" must be per row).
        append: name -> [k, ...] for every name of ``params``.
    """
    if append is not None:
        assert set(append) == set(params), (sorted(append), sorted(params))
    for name in params:
        # By name: a loop variable would hold the last tensor to the end.
        params[name].grad = None
    kept = None if keep is None else torch.nonzero(keep).squeeze(-1)
    for name in list(params.keys()):
        old = params[name]
        fresh = None if append is None else append[name].to(old)
        new = nn.Parameter(_edited(old.data, kept, fresh), requires_grad=old.requires_grad)
        params[name] = new
        optimizer = optimizers.get(name)
        if optimizer is not None:
            state = optimizer.state.pop(old, {})
            optimizer.param_groups[0]["params"] = [new]
            # The old values go before the moments come, and one moment before the other.
            del old
            blank = None if fresh is None else torch.zeros_like(fresh)
            for key in [key for key in state if key != "step"]:
                state[key] = _edited(state.pop(key), kept, blank)
            if state:
                optimizer.state[new] = state


def _edited(tensor: Tensor, kept: Int[Tensor, " m"] | None, fresh: Tensor | None) -> Tensor:
    """Rows ``kept`` (None: all) of ``tensor``, then ``fresh``; the result is the only copy that is made."""
    if kept is None and fresh is None:
        return tensor
    m = tensor.shape[0] if kept is None else kept.shape[0]
    out = tensor.new_empty(m if fresh is None else m + fresh.shape[0], *tensor.shape[1:])
    if kept is None:
        out[:m] = tensor
    else:
        torch.index_select(tensor, 0, kept, out=out[:m])
    if fresh is not None:
        out[m:] = fresh
    return out


@torch.no_grad()
def forget_moments(optimizer: Optimizer, rows: Int[Tensor, " k"] | None = None) -> None:
    """Zero Adam's moments of ``rows`` (None: all), for instance after their values were set by hand."""
    for state in optimizer.state.values():
        for key, value in state.items():
            if key != "step":
                value[slice(None) if rows is None else rows] = 0


def never_on_a_frame(representation: Representation, params: Parameters, clip: Clip) -> Bool[Tensor, " n"]:
    """Gaussians whose lifespan lies between two frames or outside the clip: nobody ever looks at them."""
    start, stop = representation.lifespan(params)
    first = torch.ceil(start.clamp_min(0.0) / clip.frame_interval)
    last = torch.floor(stop.clamp_max(1.0) / clip.frame_interval)
    return first > last + 1e-4  # rounding of frame times
