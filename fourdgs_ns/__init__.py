"""Dynamic Gaussian splatting from synchronised multi-view video, as a Nerfstudio plugin.

Beside the commands a few functions, which are imported when they are first asked for:

    import fourdgs_ns as fg

    scene = fg.load("outputs/stage/freetime/...")     # a run or a file
    gaussians = scene.at(0.5)                         # those alive in the middle of the clip
    image = fg.render(scene, fg.orbit(scene, 20), 0.5)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fourdgs_ns.capture.layouts import read_capture
    from fourdgs_ns.common.errors import UserError
    from fourdgs_ns.formats.trained_scene import TrainedScene
    from fourdgs_ns.geometry.camera import Camera
    from fourdgs_ns.rendering.still import load, orbit, render, save

__version__ = "0.1.0"

_HOMES = {
    "Camera": "fourdgs_ns.geometry.camera",
    "TrainedScene": "fourdgs_ns.formats.trained_scene",
    "UserError": "fourdgs_ns.common.errors",
    "load": "fourdgs_ns.rendering.still",
    "orbit": "fourdgs_ns.rendering.still",
    "read_capture": "fourdgs_ns.capture.layouts",
    "render": "fourdgs_ns.rendering.still",
    "save": "fourdgs_ns.rendering.still",
}

__all__ = ["Camera", "TrainedScene", "UserError", "load", "orbit", "read_capture", "render", "save"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fourdgs_ns' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
