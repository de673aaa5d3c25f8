"""``fourdgs-ns``: what Nerfstudio's commands cannot do. This starts one of ``commands.py``."""

from __future__ import annotations

import sys
import warnings

from fourdgs_ns.common.console import close_quietly
from fourdgs_ns.common.errors import UserError, report
from fourdgs_ns.common.files import as_user_error
from fourdgs_ns.common.interrupts import go_on_with, interruptible
from fourdgs_ns.common.typed_command import typed_again


def entry_point(arguments: list[str] | None = None) -> None:
    """Runs one command; a user's mistake is one line and exit code 1, an interrupt one and 130.

    Who pipes into ``head`` gets no traceback.
    """
    try:
        with interruptible():
            _reported(arguments)
    except BrokenPipeError:
        close_quietly()


def _reported(arguments: list[str] | None) -> None:
    try:
        try:
            _run(arguments)
        finally:
            sys.stdout.flush()
    except UserError as error:
        report(error)
        sys.exit(1)
    except BrokenPipeError:
        raise
    except OSError as error:
        report(as_user_error(error))
        sys.exit(1)


def _run(arguments: list[str] | None) -> None:
    import tyro

    # These take seconds to import, in which Ctrl-C may come.
    from fourdgs_ns.cli.commands import COMMANDS

    # Nerfstudio's own, about torch's future: nothing that a user of these commands could act on.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nerfstudio")
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="fourdgs-ns",
        description="Dynamic Gaussian splatting beside Nerfstudio's commands.",
        args=arguments,
    )
    go_on_with(lambda: typed_again(command))
    command.run()
