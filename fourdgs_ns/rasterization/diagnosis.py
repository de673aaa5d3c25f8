"""Why CUDA or gsplat does not work on this machine, and what to do: facts first, then rules over them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

TIMEOUT = 20
GSPLAT_RANGE = ((1, 4), (1, 6))
"""From, and below: what the package is tested with."""


@dataclass
class Facts:
    """What can be seen of the machine; None where there is nothing."""

    python: str = ""
    system: str = ""
    torch: str | None = None
    torch_cuda: str | None = None
    """CUDA version that torch was built for."""
    cuda_error: str | None = None
    """Why torch sees no GPU, where it says."""
    devices: list[tuple[str, tuple[int, int]]] = field(default_factory=list)
    """Name and compute capability of each GPU that torch sees."""
    architectures: list[str] = field(default_factory=list)
    """What torch's own kernels are compiled for, such as sm_90 or compute_90."""
    driver: str | None = None
    """Version of the NVIDIA driver."""
    driver_cuda: str | None = None
    """Newest CUDA version that the driver runs."""
    nvcc: str | None = None
    """Version of the CUDA toolkit on the PATH or in CUDA_HOME."""
    compiler: str | None = None
    ninja: bool = False
    gsplat: str | None = None
    nerfstudio: str | None = None
    arch_list: str | None = None
    """The environment variable TORCH_CUDA_ARCH_LIST."""
    kernels: str | None = None
    """Outcome of loading gsplat's kernels: "ok", an error, or None when that was not tried."""


@dataclass(frozen=True)
class Finding:
    """One line for the user."""

    level: Literal["ok", "note", "problem"]
    found: str
    remedy: str = ""


def run_tool(*command: str) -> str | None:
    """Output of a program, None when it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def installed(package: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def find_nvcc() -> str | None:
    """Version of the compiler that torch would use."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    candidates = [str(Path(home) / "bin" / "nvcc")] if home else []
    candidates += ["nvcc", "/usr/local/cuda/bin/nvcc"]
    for candidate in candidates:
        match = re.search(r"release (\d+\.\d+)", run_tool(candidate, "--version") or "")
        if match:
            return match[1]
    return None


def gather(build: bool) -> Facts:
    """Look at this machine. Never raises for what is broken: that is what it reports.

    Args:
        build: Also load gsplat's kernels, which compiles them the first time.
    """
    facts = Facts(python=platform.python_version(), system=f"{platform.system()} {platform.machine()}")
    smi = run_tool("nvidia-smi") or ""
    match = re.search(r"Driver Version:\s*([\d.]+).*?CUDA Version:\s*([\d.]+)", smi)
    if match:
        facts.driver, facts.driver_cuda = match[1], match[2]
    facts.nvcc, facts.compiler = (
        find_nvcc(),
        next(filter(None, map(shutil.which, ("c++", "g++", "clang++", "cl"))), None),
    )
    facts.ninja = shutil.which("ninja") is not None or importlib.util.find_spec("ninja") is not None
    facts.gsplat, facts.nerfstudio = installed("gsplat"), installed("nerfstudio")
    facts.arch_list = os.environ.get("TORCH_CUDA_ARCH_LIST")
    try:
        import torch
    except Exception as error:  # a broken installation raises whatever its parts raise
        facts.cuda_error = f"torch cannot be imported ({str(error).splitlines()[0] if str(error) else error!r})"
        return facts
    facts.torch, facts.torch_cuda = torch.__version__, torch.version.cuda
    try:
        torch.cuda.init()
        count = torch.cuda.device_count()
        facts.devices = [(torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)) for i in range(count)]
        facts.architectures = torch.cuda.get_arch_list()
    except (RuntimeError, AssertionError) as error:
        facts.cuda_error = (str(error).splitlines() or ["no reason given"])[0]
    if build and facts.devices:
        from fourdgs_ns.common.errors import UserError
        from fourdgs_ns.rasterization.gsplat_backend import load_gsplat

        try:
            load_gsplat(torch.device("cuda"))
            facts.kernels = "ok"
        except UserError as error:
            facts.kernels = str(error)
    return facts


def numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def covered(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether kernels compiled for ``architectures`` run on a GPU: the same major version and no newer minor one, or code
    (compute_XY) that the driver compiles for it."""
    for name in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name)
        if match is None:
            continue
        built = (int(match[2]), int(match[3]))
        if match[1] == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
        if match[1] == "compute" and built <= capability:
            return True
    return False


def diagnose(facts: Facts) -> list[Finding]:
    """Every finding, in the order in which problems should be solved."""
    findings = [Finding("ok", f"Python {facts.python} on {facts.system}")]
    if facts.torch is None:
        reason = facts.cuda_error or "torch is not installed"
        return [*findings, Finding("problem", reason, "install it again: pip install --force-reinstall fourdgs-ns")]
    findings.append(
        Finding("ok", f"torch {facts.torch}, built for {'CUDA ' + facts.torch_cuda if facts.torch_cuda else 'the CPU'}")
    )
    findings += _packages(facts)
    if facts.driver is None and not facts.devices:
        return [
            *findings,
            Finding(
                "note",
                "no NVIDIA driver answers (nvidia-smi): training and rendering run on the CPU, slowly",
                "for a GPU install its driver (Linux: nvidia-driver; in a container: start it with --gpus all)",
            ),
        ]
    if facts.driver is not None:
        findings.append(Finding("ok", f"NVIDIA driver {facts.driver}, for CUDA up to {facts.driver_cuda}"))
    if facts.torch_cuda is None:
        newest = f"cu{''.join(str(n) for n in numbers(facts.driver_cuda)[:2])}" if facts.driver_cuda else "cu128"
        remedy = f"pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/{newest} or older"
        return [*findings, Finding("problem", "this torch was built without CUDA", remedy)]
    if facts.driver_cuda and numbers(facts.driver_cuda)[:1] < numbers(facts.torch_cuda)[:1]:
        return [
            *findings,
            Finding(
                "problem",
                f"the driver runs CUDA up to {facts.driver_cuda} and torch needs {facts.torch_cuda}",
                f"update the NVIDIA driver, or install a torch for CUDA {facts.driver_cuda}",
            ),
        ]
    if not facts.devices:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        remedy = (
            "unset CUDA_VISIBLE_DEVICES" if hidden is not None and hidden.strip() in ("", "-1")
            else "restart the machine after a driver update; in a container start it with --gpus all"
        )  # fmt: skip
        return [*findings, Finding("problem", f"torch sees no GPU ({facts.cuda_error or 'no reason given'})", remedy)]
    for name, capability in facts.devices:
        label = f"{name}, compute capability {capability[0]}.{capability[1]}"
        if covered(capability, facts.architectures):
            findings.append(Finding("ok", label))
        else:
            findings.append(
                Finding(
                    "problem",
                    f"{label}: this torch has kernels for {', '.join(facts.architectures) or 'nothing'} only",
                    "install a torch that is built for this GPU: a newer one for a newer GPU, CUDA 12.6 wheels for an older one",
                )
            )
    return [*findings, *_toolchain(facts), *_kernels(facts)]


def _packages(facts: Facts) -> list[Finding]:
    findings = []
    if facts.nerfstudio is None:
        findings.append(Finding("problem", "nerfstudio is not installed", "pip install 'nerfstudio>=1.1.5,<1.2'"))
    else:
        findings.append(Finding("ok", f"nerfstudio {facts.nerfstudio}"))
    if facts.gsplat is None:
        findings.append(Finding("problem", "gsplat is not installed", "pip install 'gsplat>=1.4.0,<1.5'"))
    elif not GSPLAT_RANGE[0] <= numbers(facts.gsplat)[:2] < GSPLAT_RANGE[1]:
        findings.append(
            Finding(
                "problem", f"gsplat {facts.gsplat} is not the version in use here", "pip install 'gsplat>=1.4.0,<1.5'"
            )
        )
    elif numbers(facts.gsplat)[:2] == (1, 5):
        findings.append(
            Finding(
                "ok",
                f"gsplat {facts.gsplat}, which renders the same (tried: 1.5.3) but is newer than Nerfstudio asks for",
            )
        )
    else:
        findings.append(Finding("ok", f"gsplat {facts.gsplat}"))
    return findings


def _toolchain(facts: Facts) -> list[Finding]:
    """What gsplat needs to compile its kernels on first use."""
    findings = []
    prebuilt = facts.kernels == "ok"
    assert facts.torch_cuda is not None
    if facts.nvcc is None:
        findings.append(
            Finding(
                "note" if prebuilt else "problem",
                "nvcc is not on the PATH nor in CUDA_HOME: gsplat cannot compile its kernels",
                f"install the CUDA toolkit {facts.torch_cuda} (conda install -c nvidia cuda-toolkit={facts.torch_cuda}, or from "
                "developer.nvidia.com) and put its bin folder on the PATH",
            )
        )
    elif numbers(facts.nvcc)[:1] != numbers(facts.torch_cuda)[:1]:
        findings.append(
            Finding(
                "problem",
                f"nvcc is of CUDA {facts.nvcc} and torch of CUDA {facts.torch_cuda}: extensions will not compile",
                f"install the CUDA toolkit {facts.torch_cuda} and set CUDA_HOME to it",
            )
        )
    else:
        findings.append(Finding("ok", f"nvcc of CUDA {facts.nvcc}"))
    if facts.compiler is None:
        findings.append(
            Finding("problem", "there is no C++ compiler", "Debian, Ubuntu: apt-get install build-essential")
        )
    if not facts.ninja:
        findings.append(Finding("problem", "ninja is missing, which compiles the kernels", "pip install ninja"))
    if facts.arch_list and facts.devices:
        wanted = [part.strip().removesuffix("+PTX") for part in re.split(r"[;\s]+", facts.arch_list) if part.strip()]
        lacking = [f"{a}.{b}" for _, (a, b) in facts.devices if f"{a}.{b}" not in wanted]
        if lacking and "+PTX" not in facts.arch_list:
            findings.append(
                Finding(
                    "problem",
                    f"TORCH_CUDA_ARCH_LIST is '{facts.arch_list}' and leaves out this GPU ({lacking[0]})",
                    f"export TORCH_CUDA_ARCH_LIST={lacking[0]} and delete ~/.cache/torch_extensions/*/gsplat_cuda",
                )
            )
    return findings


def _kernels(facts: Facts) -> list[Finding]:
    if facts.kernels == "ok":
        return [Finding("ok", "gsplat's kernels run on the GPU")]
    if facts.kernels is None:
        return [
            Finding(
                "note", "gsplat's kernels were not tried", "fourdgs-ns doctor --build compiles and runs them (minutes)"
            )
        ]
    found, _, remedy = facts.kernels.partition(": ")
    return [Finding("problem", found, remedy)]
