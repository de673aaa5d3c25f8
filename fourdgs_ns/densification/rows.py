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

from fourdgs_ns.representation.base import Clip, Parameters, Representation


@torch.no_grad()
def edit_rows(
    params: nn.ParameterDict,
    optimizers: Mapping[str, Optimizer],
    *,
    keep: Bool[Tensor, " n"] | None = None,
    append: Mapping[str, Tensor] | None = None,
) -> None:
    """Keep the rows ``keep`` (None: all) and add the rows ``append`` behind them, in place.

    Adam's moments follow the kept rows and are zero for new ones; its step counter is untouched. Gradients are dropped.

    Args:
        params: canonical parameters, name -> [n, ...].
        optimizers: one Adam-like optimizer per name (its state besides "step" must be per row).
        append: name -> [k, ...] for every name of ``params``.
    """
    if append is not None:
        assert set(append) == set(params), (sorted(append), sorted(params))
    for name in list(params.keys()):
        old = params[name]
        fresh = None if append is None else append[name].to(old)

        def edited(tensor: Tensor, new: Tensor | None) -> Tensor:
            kept = tensor if keep is None else tensor[keep]
            return kept if new is None else torch.cat([kept, new])

        new = nn.Parameter(edited(old.data, fresh), requires_grad=old.requires_grad)
        params[name] = new
        optimizer = optimizers.get(name)
        if optimizer is None:
            continue
        state = optimizer.state.pop(old, {})
        blank = None if fresh is None else torch.zeros_like(fresh)
        optimizer.param_groups[0]["params"] = [new]
        if state:
            optimizer.state[new] = {
                key: value if key == "step" else edited(value, blank) for key, value in state.items()
            }


@torch.no_grad()
def forget_moments(optimizer: Optimizer, rows: Int[Tensor, " k"] | None = None) -> None:
    """Zero Adam's moments of ``rows`` (None: all), for instance after their values were set by hand."""
    for state in optimizer.state.values():
        for key, value in state.items():
            if key != "step":
                value[slice(None) if rows is None else rows] = 0


def never_on_a_frame(representation: Representation, params: Parameters, clip: Clip) -> Bool[Tensor, " n"]:
    """Rows whose lifespan lies between two frames or outside the clip: nobody ever looks at them."""
    start, stop = representation.lifespan(params)
    first = torch.ceil(start.clamp_min(0.0) / clip.frame_interval)
    last = torch.floor(stop.clamp_max(1.0) / clip.frame_interval)
    return first > last + 1e-4  # rounding of frame times
