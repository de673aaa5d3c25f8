"""Row editing keeps parameters, Adam's memory and optimizers in step."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from fourdgs_ns.densification.rows import edit_rows, forget_moments


def make(n: int = 6) -> tuple[nn.ParameterDict, dict[str, torch.optim.Adam]]:
    torch.manual_seed(0)
    params = nn.ParameterDict({"means": nn.Parameter(torch.randn(n, 3)), "opacities": nn.Parameter(torch.randn(n, 1))})
    optimizers = {name: torch.optim.Adam([value], lr=0.1) for name, value in params.items()}
    for _ in range(3):
        sum((value**2).sum() for value in params.values()).backward()
        for optimizer in optimizers.values():
            optimizer.step()
    return params, optimizers


def test_kept_rows_keep_values_and_moments_and_new_rows_start_without():
    params, optimizers = make()
    before = {name: value.detach().clone() for name, value in params.items()}
    moments = {n: o.state[params[n]]["exp_avg"].clone() for n, o in optimizers.items()}
    keep = torch.tensor([True, False, True, True, False, True])
    fresh = {"means": torch.full((2, 3), 9.0), "opacities": torch.full((2, 1), 8.0)}
    edit_rows(params, optimizers, keep=keep, append=fresh)
    for name, value in params.items():
        torch.testing.assert_close(value.detach(), torch.cat([before[name][keep], fresh[name]]))
        state = optimizers[name].state[value]
        torch.testing.assert_close(state["exp_avg"][:4], moments[name][keep])
        assert bool((state["exp_avg"][4:] == 0).all()) and bool((state["exp_avg_sq"][4:] == 0).all())
        assert float(state["step"]) == 3
        assert optimizers[name].param_groups[0]["params"][0] is value
        assert len(optimizers[name].state) == 1


def test_training_goes_on_with_the_new_rows():
    params, optimizers = make()
    edit_rows(params, optimizers, append={"means": torch.ones(1, 3), "opacities": torch.ones(1, 1)})
    before = params["means"].detach().clone()
    (params["means"] ** 2).sum().backward()
    optimizers["means"].step()
    assert bool((params["means"] != before).all())


def test_forgetting_moments_of_some_rows():
    params, optimizers = make()
    state = optimizers["means"].state[params["means"]]
    rest = state["exp_avg"][2:].clone()
    forget_moments(optimizers["means"], torch.tensor([0, 1]))
    assert bool((state["exp_avg"][:2] == 0).all())
    torch.testing.assert_close(state["exp_avg"][2:], rest)
    assert float(state["step"]) == 3


class LiveBytes(TorchDispatchMode):
    """The most memory that tensors held at once, those of ``known`` included."""

    def __init__(self, known: list[torch.Tensor]) -> None:
        super().__init__()
        self.sizes: dict[StorageWeakRef, int] = {}
        self.most = 0
        for tensor in known:
            self.add(tensor)

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self.sizes[StorageWeakRef(storage)] = storage.nbytes()
        self.sizes = {ref: size for ref, size in self.sizes.items() if not ref.expired()}
        self.most = max(self.most, sum(self.sizes.values()))

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.add(out)
        return out


@pytest.mark.parametrize("share_kept", [1.0, 0.9])
def test_growing_takes_no_more_memory_than_a_step(share_kept):
    n = 10_000
    params, optimizers = make(n)
    state = [x for o in optimizers.values() for s in o.state.values() for key, x in s.items() if key != "step"]
    during_step = [*(p.data for p in params.values()), *(p.grad for p in params.values()), *state]
    rows = sum(x.nbytes for x in during_step)
    watch = LiveBytes(during_step)
    assert watch.most == rows
    del state, during_step
    keep = None if share_kept == 1 else torch.arange(n) < share_kept * n
    fresh = {name: torch.zeros(n // 20, *value.shape[1:]) for name, value in params.items()}
    with watch:
        edit_rows(params, optimizers, keep=keep, append=fresh)
    ids_of_kept_rows = 8 * n
    assert watch.most <= rows + ids_of_kept_rows, (watch.most, rows)
