"""Entry point for Nerfstudio. It loads plugins inside every ``ns-*`` command: a failure of ours must not stop those of others."""

from __future__ import annotations

import sys
from typing import Any

spacetime_gaussian: Any
freetime: Any
fourdgs_4dsh: Any
try:
    from fourdgs_ns.plugin.methods import fourdgs_4dsh, freetime, spacetime_gaussian
except Exception as error:  # whatever is wrong with this installation, splatfacto must still run
    print(
        f"warning: fourdgs-ns could not be loaded and its methods are missing ({type(error).__name__}: {error}); "
        "reinstall it with: pip install --force-reinstall fourdgs-ns",
        file=sys.stderr,
    )
    spacetime_gaussian = freetime = fourdgs_4dsh = None
