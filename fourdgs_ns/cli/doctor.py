"""``fourdgs-ns doctor``: why CUDA or gsplat does not work here, and what to do."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fourdgs_ns.common.console import say

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


@dataclass
class Doctor:
    """Check driver, torch, CUDA toolkit, compiler and gsplat, and say what to do about what is wrong.

    Exit code 0 without problems (a machine without a GPU is none), else 1.
    """

    build: bool = False
    """Also compile and run gsplat's kernels on the GPU: minutes the first time."""

    def run(self) -> None:
        """Look, report."""
        from fourdgs_ns.rasterization.diagnosis import diagnose, gather

        findings = diagnose(gather(self.build))
        for finding in findings:
            say(f"{MARKS[finding.level]}  {finding.found}")
            if finding.remedy:
                say(f"         do: {finding.remedy}")
        if any(finding.level == "problem" for finding in findings):
            sys.exit(1)
