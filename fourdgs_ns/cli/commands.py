"""The commands of ``fourdgs-ns`` by name, one file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fourdgs_ns.cli.bench import Bench
from fourdgs_ns.cli.benchmark_process import BenchmarkProcess
from fourdgs_ns.cli.check import Check
from fourdgs_ns.cli.compare import Compare
from fourdgs_ns.cli.convert import Convert
from fourdgs_ns.cli.convert_capture import ConvertCapture
from fourdgs_ns.cli.doctor import Doctor
from fourdgs_ns.cli.evaluate import Evaluate
from fourdgs_ns.cli.export import Export
from fourdgs_ns.cli.info import Info
from fourdgs_ns.cli.init import Init
from fourdgs_ns.cli.process import Process
from fourdgs_ns.cli.prune import Prune
from fourdgs_ns.cli.render import Render
from fourdgs_ns.cli.synth import Synth

COMMANDS: dict[str, Callable[..., Any]] = {
    "process": Process,
    "check": Check,
    "convert-capture": ConvertCapture,
    "synth": Synth,
    "init": Init,
    "prune": Prune,
    "render": Render,
    "evaluate": Evaluate,
    "compare": Compare,
    "export": Export,
    "convert": Convert,
    "info": Info,
    "doctor": Doctor,
    "bench": Bench,
    "benchmark-process": BenchmarkProcess,
}
