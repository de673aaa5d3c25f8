"""What hostile files ask to import, to call or to construct: each of these is reported to the audit hook of ``watch.py``."""

from __future__ import annotations

import sys
from typing import Any

EVENT = "faults.bait"
sys.audit(EVENT, "imported")


def act(*values: Any, **named: Any) -> int:
    sys.audit(EVENT, "called")
    return 0


class Thing:
    """Constructed or filled by a file."""

    def __new__(cls, *values: Any, **named: Any) -> Thing:
        sys.audit(EVENT, "constructed")
        return super().__new__(cls)

    def __reduce__(self) -> tuple:
        return act, ("reduced",)
