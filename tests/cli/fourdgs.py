"""``python -m tests.cli.fourdgs`` is ``fourdgs-ns``, of this checkout."""

from fourdgs_ns.cli.main import entry_point

entry_point()
