"""doctor: every state of a machine that users report leads to its cause and a way out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fourdgs_ns.rasterization.diagnosis import Facts, covered, diagnose, gather

GOOD = Facts(
    python="3.11.7", system="Linux x86_64", torch="2.11.0", torch_cuda="12.8", devices=[("NVIDIA RTX 4090", (8, 9))],
    architectures=["sm_80", "sm_86", "sm_90", "compute_90"], driver="570.10", driver_cuda="12.8", nvcc="12.8",
    compiler="/usr/bin/g++", ninja=True, gsplat="1.4.0", nerfstudio="1.1.5", kernels="ok",
)  # fmt: skip


def problems(**changes) -> list:
    return [f for f in diagnose(replace(GOOD, **changes)) if f.level == "problem"]


def test_a_good_machine_has_no_problems():
    findings = diagnose(GOOD)
    assert all(f.level == "ok" for f in findings)
    assert any("RTX 4090" in f.found for f in findings)


def test_a_newer_gsplat_that_was_tried_is_no_problem():
    assert any("gsplat 1.5.3" in f.found and "newer" in f.found for f in diagnose(replace(GOOD, gsplat="1.5.3")))
    assert not problems(gsplat="1.5.3")


@pytest.mark.parametrize(
    ("changes", "found", "remedy"),
    [
        ({"torch": None, "cuda_error": "torch cannot be imported (libc10.so)"}, "libc10", "pip install"),
        ({"torch_cuda": None, "devices": []}, "without CUDA", "cu128"),
        (
            {"driver_cuda": "11.4", "devices": []},
            "driver runs CUDA up to 11.4 and torch needs 12.8",
            "update the NVIDIA driver",
        ),
        ({"devices": [], "cuda_error": "unknown error"}, "sees no GPU (unknown error)", "--gpus all"),
        ({"devices": [("GTX 1080", (6, 1))]}, "GTX 1080, compute capability 6.1", "built for this GPU"),
        ({"nvcc": None, "kernels": None}, "nvcc is not on the PATH", "CUDA toolkit 12.8"),
        ({"nvcc": "11.8"}, "nvcc is of CUDA 11.8", "CUDA_HOME"),
        ({"compiler": None}, "no C++ compiler", "build-essential"),
        ({"ninja": False}, "ninja", "pip install ninja"),
        ({"arch_list": "7.5;8.0"}, "leaves out this GPU (8.9)", "TORCH_CUDA_ARCH_LIST=8.9"),
        ({"gsplat": None}, "gsplat is not installed", "pip install"),
        ({"gsplat": "1.6.0"}, "gsplat 1.6.0", "1.4.0"),
        ({"nerfstudio": None}, "nerfstudio", "pip install"),
        ({"kernels": "gsplat cannot rasterize on the GPU because X: install Y"}, "because X", "install Y"),
    ],
)
def test_problems_are_named_with_a_way_out(changes, found, remedy):
    told = problems(**changes)
    assert len(told) == 1
    assert found in told[0].found and remedy in told[0].remedy


def test_hidden_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "unset CUDA_VISIBLE_DEVICES" in problems(devices=[])[0].remedy


def test_no_gpu_is_no_problem():
    findings = diagnose(replace(GOOD, driver=None, driver_cuda=None, devices=[], nvcc=None, kernels=None))
    assert not [f for f in findings if f.level == "problem"]
    assert any("on the CPU" in f.found for f in findings)


def test_architectures_cover_what_nvidia_promises():
    assert covered((8, 9), ["sm_86"])  # the same major version, older minor one
    assert not covered((8, 0), ["sm_86"])
    assert not covered((12, 0), ["sm_90"])
    assert covered((12, 0), ["compute_90"])  # compiled by the driver
    assert covered((9, 0), ["sm_90a"])


def test_this_machine_can_be_looked_at():
    facts = gather(build=False)
    assert facts.torch and facts.python
    assert diagnose(facts)
