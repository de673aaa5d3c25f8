"""``fourdgs-ns``: what Nerfstudio's commands cannot do. One file per command; this one only assembles them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import tyro

from fourdgs_ns.cli.benchmark_process import BenchmarkProcess
from fourdgs_ns.cli.check import Check
from fourdgs_ns.cli.convert_capture import ConvertCapture
from fourdgs_ns.cli.init import Init
from fourdgs_ns.cli.process import Process
from fourdgs_ns.cli.synth import Synth
from fourdgs_ns.errors import UserError, report

COMMANDS: dict[str, Callable[..., Process | Check | Init | Synth | ConvertCapture | BenchmarkProcess]] = {
    "process": Process,
    "check": Check,
    "convert-capture": ConvertCapture,
    "init": Init,
    "synth": Synth,
    "benchmark-process": BenchmarkProcess,
}


def entry_point(arguments: list[str] | None = None) -> None:
    """Runs one command; a user's mistake is one line and exit code 1."""
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
        print("\ninterrupted; nothing was left half-written", file=sys.stderr)
        sys.exit(130)
