"""Generates a whole synthetic capture: scene, rig, renders, calibration, ground truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing, read_bytes, write_json
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.synth import ground_truth
from fourdgs_ns.synth import writers as layouts
from fourdgs_ns.synth.backdrop import BACKDROPS, Backdrop, on_disc
from fourdgs_ns.synth.media import RECORD, check_replaceable, require_av
from fourdgs_ns.synth.renderer import Renderer
from fourdgs_ns.synth.rigs import rig
from fourdgs_ns.synth.scene import Clip
from fourdgs_ns.synth.scenes import SCENES
from fourdgs_ns.synth.surface_points import over_clip

LAYOUTS = ("n3dv", "easyvolcap", "transforms", "dnerf")
POINTS_PER_THING = 2000
_POINT_BUDGET = 60_000
_MOST_TRUTH_FRAMES = 5
_KINDS: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool, "tuple[str, ...]": tuple}
MAX_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is written; the same recipe gives the same bytes on the same machine."""

    cameras: int
    """Of the rig; for dnerf, views in each of the two held-out splits."""
    frames: int
    width: int
    height: int
    fps: float
    scene: str
    layout: str
    images: bool
    chroma: str
    """Of videos: 444 or 420."""
    seed: int
    ground_truth: bool
    points: bool
    samples: int
    """Rays per pixel."""
    late: tuple[str, ...] = ()
    """CAMERA=FRAMES for cameras whose clock is late."""
    audio: bool = False
    """Sound in videos."""
    backdrop: str = "room"
    """Behind the things: one of :data:`BACKDROPS`."""
    spill: bool = False
    uneven: bool = False

    @classmethod
    def of(cls, capture: Path) -> Recipe:
        """That of a capture which this generator wrote.

        Raises:
            UserError: its record is damaged.
        """
        file = capture / RECORD
        try:
            record = json.loads(read_bytes(file, MAX_RECORD_BYTES))
            recipe = cls(**record | {"late": tuple(record.get("late", ()))})
            for field in fields(cls):
                if not isinstance(getattr(recipe, field.name), _KINDS[str(field.type)]):
                    raise ValueError(f"{field.name} is {str(getattr(recipe, field.name))[:40]}")
            if recipe.scene not in SCENES:
                raise ValueError(f"there is no scene {recipe.scene[:40]!r}")
            recipe.check()
        except (ValueError, TypeError, AttributeError, RecursionError, UserError) as error:
            raise UserError(f"{file} is damaged ({error}); write the capture again with fourdgs-ns synth") from None
        return recipe

    def check(self) -> None:
        """Raises :class:`UserError` for a recipe that cannot be cooked."""
        size = f"--size {self.width} {self.height}"
        if self.width % 2 or self.height % 2:
            even = f"--size {self.width + self.width % 2} {self.height + self.height % 2}"
            raise UserError(f"{size} has an odd side, which H.264 video cannot hold; give {even}")
        if not (16 <= self.width <= 8192 and 16 <= self.height <= 8192):
            raise UserError(f"{size} is out of range; give sides from 16 to 8192 pixels")
        least = 1 if self.layout == "dnerf" else 2
        if self.cameras < least:
            raise UserError(f"--cameras {self.cameras} is too few; give {least} or more (8 is a good number)")
        if self.frames < 2:
            raise UserError(f"--frames {self.frames} is no clip; give 2 or more")
        if not 0.1 <= self.fps <= 1000:
            raise UserError(f"--fps {self.fps} is out of range; give a rate from 0.1 to 1000")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} is negative; give 0 or more")
        if self.samples < 4 or self.samples & (self.samples - 1):
            raise UserError(f"--samples {self.samples} is no power of two from 4 on; give 4, 8 or 16")
        if self.late and self.layout == "dnerf":
            raise UserError("--layout dnerf has one camera, so --late does not apply; give --layout n3dv")
        if self.audio and not self.needs_video:
            raise UserError("--audio needs videos; give --layout n3dv, or easyvolcap without --images")
        if self.backdrop not in BACKDROPS:
            raise UserError(f"--backdrop {self.backdrop} is unknown; give one of: {', '.join(BACKDROPS)}")
        if self.backdrop != "room" and self.layout == "dnerf":
            raise UserError("--layout dnerf has no backdrop; leave --backdrop away, or give --layout n3dv")
        if (self.spill or self.uneven) and self.backdrop == "room":
            raise UserError(
                "--spill and --uneven belong to a stage without a room; add --backdrop plain, green or gradient"
            )
        if self.images and self.layout == "n3dv":
            raise UserError("--layout n3dv holds videos, so --images does not apply; give --layout easyvolcap")

    @property
    def needs_video(self) -> bool:
        return self.layout == "n3dv" or (self.layout == "easyvolcap" and not self.images)


def build_renderer(recipe: Recipe) -> Renderer:
    """The recipe's scene; D-NeRF scenes and those before a backdrop are without their room."""
    scene = SCENES[recipe.scene](Clip(recipe.frames, recipe.fps), recipe.seed)
    indoors = recipe.layout != "dnerf" and recipe.backdrop == "room"
    scene = scene if recipe.backdrop == "room" else on_disc(scene)
    return Renderer(scene, recipe.samples, indoors, Renderer.octaves_for(recipe.width))


def build_backdrop(recipe: Recipe, renderer: Renderer) -> Backdrop | None:
    """What the recipe puts in the room's place."""
    if recipe.backdrop == "room":
        return None
    return Backdrop(recipe.backdrop, renderer.scene.focus, recipe.spill, recipe.uneven, recipe.seed)


def build_rig(recipe: Recipe, renderer: Renderer) -> list[Camera]:
    """The rig under the names of the layout: 00, 01, ... in EasyVolcap, else cam00, cam01, ..."""
    cameras = rig(renderer.scene, recipe.cameras, recipe.width, recipe.height)
    if recipe.layout == "easyvolcap":
        cameras = [replace(camera, name=camera.name.removeprefix("cam")) for camera in cameras]
    late = lateness(recipe.late, [camera.name for camera in cameras])
    return [replace(camera, time_offset_seconds=late.get(camera.name, 0.0) / recipe.fps) for camera in cameras]


def lateness(words: tuple[str, ...], names: list[str]) -> dict[str, float]:
    """Frames of lateness by camera from words like ``cam03=1.4``."""
    late = {}
    for word in words:
        name, _, frames = word.partition("=")
        try:
            late[name] = float(frames)
        except ValueError:
            raise UserError(
                f"--late {word} says no number of frames; write CAMERA=FRAMES, for instance {names[-1]}=1.4"
            ) from None
        if name not in names:
            raise UserError(f"--late {word} names no camera of the rig; it has: {', '.join(names)}")
    return late


def generate(recipe: Recipe, out: Path, overwrite: bool, advance: Callable[[], None]) -> None:
    """Write the capture to ``out``, which appears only when it is complete.

    ``advance`` is called :func:`layouts.num_views` times, once after each view.

    Raises:
        UserError: the recipe makes no sense, ``out`` is in use, or PyAV is missing.
    """
    recipe.check()
    if recipe.needs_video:
        require_av()
    check_replaceable(out, overwrite)
    with appearing(out) as root:
        renderer = build_renderer(recipe)
        splits = []
        cameras: list[Camera] = []
        if recipe.layout == "dnerf":
            splits = layouts.dnerf_splits(renderer, recipe.cameras, recipe.width, recipe.height)
        else:
            cameras = build_rig(recipe, renderer)
        job = layouts.Job(
            renderer,
            cameras,
            root,
            recipe.images,
            recipe.chroma,
            advance,
            recipe.audio,
            build_backdrop(recipe, renderer),
        )
        if recipe.layout == "n3dv":
            layouts.write_n3dv(job)
        elif recipe.layout == "easyvolcap":
            layouts.write_easyvolcap(job)
        elif recipe.layout == "transforms":
            layouts.write_transforms(job)
        else:
            layouts.write_dnerf(job, splits)
        if recipe.points:
            _write_points(root, renderer, cameras or splits[0].cameras, recipe.seed)
        if recipe.ground_truth:
            _write_ground_truth(root / "ground_truth", renderer, cameras, splits)
        write_json(root / RECORD, asdict(recipe))


def _write_points(root: Path, renderer: Renderer, cameras: list[Camera], seed: int) -> None:
    """points3d.ply: x y z, red green blue, time."""
    from plyfile import PlyData, PlyElement

    cloud = over_clip(renderer, cameras, _POINT_BUDGET, seed)
    fields = [(axis, "f4") for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")] + [("time", "f4")]
    rows = np.empty(len(cloud.times), dtype=fields)
    for k, axis in enumerate("xyz"):
        rows[axis] = cloud.positions[:, k]
    for k, channel in enumerate(("red", "green", "blue")):
        rows[channel] = cloud.colors[:, k]
    rows["time"] = cloud.times
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(root / "points3d.ply"))


def _write_ground_truth(root: Path, renderer: Renderer, cameras: list[Camera], splits: list[layouts.Split]) -> None:
    """cameras.json, points.npz, scene.json, and depth/ and objects/ of a few frames (dnerf: of the test split)."""
    root.mkdir()
    frames, fps = renderer.scene.clip.frames, renderer.scene.clip.fps
    if cameras:
        chosen = sorted({round(f) for f in np.linspace(0, frames - 1, min(frames, _MOST_TRUTH_FRAMES))})
        views: dict[str, list[int]] = {camera.name: [*chosen] for camera in cameras}
        ground_truth.write_cameras(root / "cameras.json", {camera.name: camera for camera in cameras}, fps)
        for camera in cameras:
            for frame in chosen:
                ground_truth.write_view(root, renderer, camera, frame, f"{camera.name}/{frame:06d}")
    else:
        named = {f"{s.name}/{c.name}": (c, f) for s in splits for c, f in zip(s.cameras, s.frames, strict=True)}
        views = {name: [frame] for name, (_, frame) in named.items() if name.startswith("test/")}
        ground_truth.write_cameras(root / "cameras.json", {name: camera for name, (camera, _) in named.items()}, fps)
        for name in views:
            ground_truth.write_view(root, renderer, *named[name], name)
    ground_truth.write_points(root / "points.npz", renderer, POINTS_PER_THING)
    write_json(root / "scene.json", ground_truth.describe(renderer, views))
