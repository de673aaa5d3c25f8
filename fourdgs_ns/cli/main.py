"""``fourdgs-ns``: what Nerfstudio's commands cannot do. One file per command; this one only assembles them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import tyro

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
from fourdgs_ns.common.console import close_quietly, status
from fourdgs_ns.common.errors import UserError, report

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


def entry_point(arguments: list[str] | None = None) -> None:
    """Runs one command; a user's mistake is one line and exit code 1, and who pipes into ``head`` gets no traceback."""
    try:
        try:
            _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        close_quietly()


def _run(arguments: list[str] | None) -> None:
    # Nerfstudio's own, about torch's future: nothing that a user of these commands could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nerfstudio")
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="fourdgs-ns",
        description="Dynamic Gaussian splatting beside Nerfstudio's commands.",
        args=arguments,
    )
    try:
        command.run()
    except UserError as error:
        report(error)
        sys.exit(1)
    except KeyboardInterrupt:
        status("\ninterrupted; nothing was left half-written")
        sys.exit(130)
