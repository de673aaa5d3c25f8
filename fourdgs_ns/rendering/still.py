"""Images of a trained scene by a few lines of Python: no run, no capture, no Nerfstudio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.formats.registry import format_of, read_scene, write_scene
from fourdgs_ns.formats.start_view import start_view
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization.render import Views, render_views
from fourdgs_ns.representation.parts.active_set import ActiveSet


def load(path: str | Path) -> TrainedScene:
    """A trained scene: a run (its folder, config.yml or a checkpoint) or a file of any format that can be read.

    >>> import fourdgs_ns as fg
    >>> scene = fg.load(EXAMPLE)
    >>> scene.method, scene.clip.num_frames
    ('freetime', 12)
    >>> scene.at(0.5).means.shape[1]
    3

    Raises:
        UserError: no such file, of another kind, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; give a run or a file that fourdgs-ns info knows")
    known = format_of(path)
    return read_scene(path, "run" if known is None else known.name, ImportOptions(), None)


def save(scene: TrainedScene, path: str | Path, format: str, **options) -> list[str]:
    """Write ``scene`` in one of the formats of ``fourdgs-ns export``; returns notes on what was lost or assumed.

    >>> import fourdgs_ns as fg
    >>> notes = fg.save(fg.load(EXAMPLE), FOLDER / "frame.ply", "ply", time=0.5)
    >>> fg.load(FOLDER / "frame.ply").clip.num_frames
    1

    Args:
        options: Fields of ``fourdgs_ns.formats.export_options.ExportOptions``.

    Raises:
        UserError: the format cannot hold the scene, or the file cannot be written.
    """
    return write_scene(Path(path), scene, format, ExportOptions(**options))


def orbit(scene: TrainedScene, degrees: float = 0.0, width: int = 640, height: int = 480) -> Camera:
    """A camera in the capture's world that looks at the middle of the scene; at 0 degrees from where the rig stood.

    >>> import fourdgs_ns as fg
    >>> camera = fg.orbit(fg.load(EXAMPLE), degrees=20, width=64, height=48)
    >>> camera.width, camera.world_from_camera.shape
    (64, (4, 4))
    """
    return start_view(scene).orbited(degrees).camera(width, height)


@torch.no_grad()
def render(
    scene: TrainedScene,
    camera: Camera,
    t: float,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    device: torch.device | str | None = None,
) -> Float[Tensor, "h w 3"]:
    """What ``camera`` sees at ``t``: RGB in [0, 1] on ``device`` (default: a GPU where there is one).

    >>> import fourdgs_ns as fg
    >>> scene = fg.load(EXAMPLE)
    >>> image = fg.render(scene, fg.orbit(scene, width=64, height=48), 0.5, background=(1, 1, 1))
    >>> tuple(image.shape), bool((image < 1).any())
    ((48, 64, 3), True)

    Args:
        camera: In the capture's world, OpenCV axes; distortion is taken out first. Those of a capture:
            ``fourdgs_ns.read_capture(FOLDER).camera("cam00").at(0)``.
        t: From 0, the first frame, to 1, the last one.
        background: RGB in [0, 1].

    Raises:
        UserError: ``t`` lies outside the clip.
    """
    if not 0.0 <= t <= 1.0:
        raise UserError(f"t is {t:g}; give a time from 0 (first frame) to 1 (last frame)")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    representation = scene.representation
    decoder = representation.make_decoder()
    if decoder is not None:
        decoder.load_state_dict(scene.decoder or {})
        decoder = decoder.eval().to(device)
    views = Views(
        representation, {name: value.to(device) for name, value in scene.parameters.items()}, t,
        _in_training_world(scene, camera.undistorted(), device), torch.tensor(background, dtype=torch.float32, device=device),
        decoder,
    )  # fmt: skip
    return render_views(views, ActiveSet()).rgb[0].clamp(0.0, 1.0)


def _in_training_world(scene: TrainedScene, camera: Camera, device: torch.device | str) -> PinholeCameras:
    world = scene.world_from_capture
    if world is not None:
        camera = replace(camera, world_from_camera=world.poses_from_capture(camera.world_from_camera[None])[0])
    cameras = PinholeCameras.of([camera], scene.near)
    return replace(
        cameras, camera_from_world=cameras.camera_from_world.to(device), intrinsics=cameras.intrinsics.to(device)
    )
