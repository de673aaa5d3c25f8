"""Registers the dataparser with Nerfstudio.

Must import dataparsers only: anything that reaches the trainer, ``plugins.types`` or a datamanager from here re-enters
half-initialised Nerfstudio modules and breaks every ``ns-*`` command.
"""

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from fourdgs_ns.data.dataparser import MultiViewVideoDataParserConfig

multiview_video_data = DataParserSpecification(
    config=MultiViewVideoDataParserConfig(),
    description="Synchronised video: N3DV, EasyVolcap, transforms.json with time, D-NeRF, Dynamic3DGaussians, HyFluid.",
)
