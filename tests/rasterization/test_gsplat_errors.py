"""What a user reads when gsplat's CUDA kernels cannot be loaded. A stand-in for gsplat fails the way gsplat 1.4 does."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.rasterization.gsplat_backend import load_gsplat


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (AttributeError("'NoneType' object has no attribute 'quat_scale_to_covar_preci_fwd'"), "no CUDA toolkit"),
        (OSError("gsplat_cuda.so: cannot open shared object file\nmore lines"), "gsplat_cuda.so: cannot open shared"),
        (ImportError("/cache/gsplat_cuda.so: undefined symbol: x"), "undefined symbol"),
        (RuntimeError("Error building extension 'gsplat_cuda': [1/21] nvcc ...\npages of output"), "Error building"),
    ],
)
def test_failures_become_one_sentence_with_the_remedy(monkeypatch, failure, told):
    def fail(*_args, **_kwargs):
        raise failure

    stand_in = ModuleType("gsplat")
    stand_in.quat_scale_to_covar_preci = fail
    monkeypatch.setitem(sys.modules, "gsplat", stand_in)
    with pytest.raises(UserError) as caught:
        load_gsplat(torch.device("cpu"))
    message = str(caught.value)
    assert told in message
    assert "more lines" not in message
    assert "pages of output" not in message
    for remedy in ("CUDA toolkit", "nvcc", "TORCH_CUDA_ARCH_LIST", "MAX_JOBS"):
        assert remedy in message
    assert "\n" not in message
