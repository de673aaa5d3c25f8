"""What densification replaces must go: nothing may hold the rows that were there before."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import nn

from fourdgs_ns.densification.rows import edit_rows
from fourdgs_ns.plugin.optimizers import JointOptimizers
from fourdgs_ns.plugin.schedulers import FusedAdamConfig


def test_replaced_rows_are_freed():
    params = nn.ParameterDict({"means": nn.Parameter(torch.zeros(5, 3))})
    optimizers = JointOptimizers(
        {"means": {"optimizer": FusedAdamConfig(lr=0.1), "scheduler": None}}, {"means": [params["means"]]}
    )
    params["means"].sum().backward()
    optimizers.step_all()
    before = weakref.ref(params["means"])
    edit_rows(params, optimizers.optimizers, keep=torch.tensor([True, False, True, True, True]))
    gc.collect()
    assert before() is None
    optimizers.zero_grad_all()
    params["means"].sum().backward()
    optimizers.step_all()
    assert params["means"].shape == (4, 3) and float(params["means"].detach().max()) < -0.1
