"""Ctrl-C while Nerfstudio is still being imported, which takes longer than many a command."""

from __future__ import annotations

import sys

from fourdgs_ns.common.interrupts import honour_interrupts_of_process
from fourdgs_ns.representation.registry import METHODS


def honour_interrupts_of_ours() -> None:
    """See :func:`fourdgs_ns.common.interrupts.honour_interrupts_of_process`; other methods' trainings keep their own ways."""
    if {"multiview-video-data", *METHODS}.intersection(sys.argv):
        honour_interrupts_of_process()
