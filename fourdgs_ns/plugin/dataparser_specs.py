"""Registers the dataparser with Nerfstudio.

Must import dataparsers only: anything that reaches the trainer, ``plugins.types`` or a datamanager from here re-enters
half-initialised Nerfstudio modules and breaks every ``ns-*`` command. So does an exception; an entry that is None is
skipped with a warning.
"""

from __future__ import annotations

import sys
from typing import Any

multiview_video_data: Any
try:
    from nerfstudio.plugins.registry_dataparser import DataParserSpecification

    from fourdgs_ns.plugin.early_interrupts import honour_interrupts_of_ours

    honour_interrupts_of_ours()  # the soonest that Nerfstudio lets a plugin know of a command

    from fourdgs_ns.plugin.command_line import begin
    from fourdgs_ns.representation.registry import METHODS

    begin(tuple(METHODS))  # before the rest is imported: this is the first of ours that a command reaches

    from fourdgs_ns.plugin.dataparser import MultiViewVideoDataParserConfig
    from fourdgs_ns.plugin.other_methods import MultiViewVideoFiles

    multiview_video_data = DataParserSpecification(
        config=MultiViewVideoDataParserConfig(_target=MultiViewVideoFiles),  # our own methods take the plain one
        description="Synchronised video: N3DV, EasyVolcap, transforms.json with time, D-NeRF, Dynamic3DGaussians, HyFluid.",
    )
except Exception as error:  # whatever is wrong with this installation, other methods must still run
    print(
        f"warning: the dataparser multiview-video-data of fourdgs-ns could not be loaded ({type(error).__name__}: {error}); "
        "reinstall it with: pip install --force-reinstall fourdgs-ns",
        file=sys.stderr,
    )
    multiview_video_data = None
