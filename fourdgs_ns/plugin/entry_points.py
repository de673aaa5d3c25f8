"""Entry points for Nerfstudio. It loads plugins inside every ``ns-*`` command: a failure of ours must not stop those of others.

Each method of ``representation/registry.py`` is an attribute of this module, its name with ``_`` where Python allows no other
sign, and one after a leading digit: ``4dgs-4dsh`` is ``_4dgs_4dsh``. A package that brings a method names it so to Nerfstudio:

    [project.entry-points."fourdgs_ns.methods"]
    my-method = "my_package.my_method:METHOD"
    [project.entry-points."nerfstudio.method_configs"]
    my-method = "fourdgs_ns.plugin.entry_points:my_method"
"""

from __future__ import annotations

import re
import sys
from typing import Any

from fourdgs_ns.common.errors import UserError


def __getattr__(name: str) -> Any:
    """Nerfstudio's specification of the method that is called ``name`` here; None where this installation is broken."""
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        from fourdgs_ns.common.errors import install_excepthook
        from fourdgs_ns.plugin import compat, run_config
        from fourdgs_ns.plugin.early_interrupts import honour_interrupts_of_ours
        from fourdgs_ns.plugin.methods import specification
        from fourdgs_ns.representation.registry import METHODS

        install_excepthook()
        compat.read_runs_safely(run_config.MARK, run_config.load_config)
        honour_interrupts_of_ours()
        known = {attribute_of(method): method for method in METHODS}
        found = specification(known[name]) if name in known else None
    except UserError as error:  # of the package that brings this method
        return _warn(str(error))
    except Exception as error:  # whatever is wrong with this installation, splatfacto must still run
        return _warn(
            f"fourdgs-ns could not be loaded and its methods are missing ({type(error).__name__}: {error}); "
            "reinstall it with: pip install --force-reinstall fourdgs-ns"
        )
    if found is None:
        _warn(f"an installed package names the method {name}, which nothing brings; reinstall or remove that package")
    return found


_warned: set[str] = set()


def _warn(sentence: str) -> None:
    """One line, however many methods it concerns."""
    if sentence not in _warned:
        print(f"warning: {sentence}", file=sys.stderr)
    _warned.add(sentence)


def attribute_of(method: str) -> str:
    """A method's name as an attribute of this module."""
    return re.sub(r"^(?=\d)|\W", "_", method)
