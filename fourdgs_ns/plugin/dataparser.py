"""The dataparser ``multiview-video-data``: any known layout of synchronised video as Nerfstudio cameras with time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.capture.frame_range import parse_frames
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.selection import automatic_downscale, choose_cameras, without_alpha
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.view_volume import attention_point, camera_extent
from fourdgs_ns.geometry.world import WorldFromCapture, make_world_from_capture
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.points.matcher_name import MatcherName
from fourdgs_ns.representation.types import Clip


@dataclass
class MultiViewVideoDataParserConfig(DataParserConfig):
    """Synchronised multi-view video of one scene, in any layout that fourdgs-ns knows."""

    _target: type = field(default_factory=lambda: MultiViewVideoDataParser)
    data: Path = Path()
    """Folder of the capture."""
    layout: str = "auto"
    """Convention of the folder: n3dv, easyvolcap, transforms, dynamic3dgs, hyfluid; auto recognises it."""
    eval_cameras: tuple[str, ...] = ()
    """Cameras held out for scores. Empty: what the layout's protocol holds out, usually the first camera."""
    train_cameras: tuple[str, ...] = ()
    """Cameras to train on. Empty: all that are not held out."""
    frames: str | None = None
    """Part of the clip as start:stop:step, like a Python slice: 0:50 is the first 50 frames, ::2 every other one."""
    downscale_factor: float | None = None
    """Reduce frames by this factor. Default: the smallest whole number that brings the longer side to 1600 pixels or less."""
    masks: Literal["auto", "alpha", "ignore"] = "auto"
    """alpha: masks cut the subject out (RGBA training). ignore: train on whole frames, without images' own alpha. auto: alpha
    when the layout's masks are mattes, ignore when they only label the foreground; images' own alpha counts."""
    orientation: Literal["up", "none"] = "up"
    """up: turn the world so that the cameras' mean up direction is +z, as the viewer expects. Undone on export."""
    center: Literal["attention", "cameras", "none"] = "attention"
    """Origin of the world: the point the cameras look at, their mean position, or unchanged. Undone on export."""
    scale_scene: bool = True
    """Scale the world so that the rig's extent is 1. Undone on export."""
    initial_points: Literal["auto", "ply", "triangulate", "random"] = "auto"
    """Where the first Gaussians come from: a PLY in the capture, triangulation of matches with the known poses (cached in the
    capture), or random in the common view volume. auto tries them in this order."""
    matcher: MatcherName = "sift"
    """Where triangulated points come from. sift: features, few and exact. dense: a plane sweep, many points on all textured
    surfaces, about ten times slower. roma: a pretrained network (pip install 'fourdgs-ns[roma]', weights, better a GPU)."""
    key_frames: int | None = None
    """Key frames at which points are triangulated, spread evenly over the clip. Default: three per second, 10 to 30."""
    max_points: int | None = None
    """Most triangulated points per key frame. Default: all of sift, 30000 of dense and roma."""
    velocities: Literal["flow", "neighbors", "none"] = "flow"
    """How triangulated points get their velocity. flow: optical flow to the frames around a key frame. neighbors: the nearest
    points of the next key frame. none: all start at rest."""
    thin_points: Literal["none", "static", "sparse"] = "none"
    """What later key frames add to triangulated or given points. none: all their points, so that each frame has its own
    (triangulated ones that rest come once in any case). static: only those without a twin of the same colour at the same place,
    for long-lived Gaussians. sparse: the loneliest 25 % of each, as published for the lite variant."""
    num_random_points: int = 50_000
    """Number of points when they are random."""
    trust_poses: bool = False
    """Train although the pictures contradict the calibration of most cameras. Else that stops a training before it starts."""


@dataclass
class MultiViewVideoDataParser(DataParser):
    """Reads calibration and file names; decodes nothing."""

    config: MultiViewVideoDataParserConfig
    includes_time: bool = True
    downscale_factor: float | None = None

    def __init__(self, config: MultiViewVideoDataParserConfig) -> None:
        super().__init__(config=config)
        self.config = config
        self.includes_time = True
        self.downscale_factor = config.downscale_factor
        self._capture: Capture | None = None

    def capture(self) -> Capture:
        """The capture after ``frames``, with held-out and training cameras only."""
        if self._capture is None:
            capture = read_capture(self.config.data, None if self.config.layout == "auto" else self.config.layout)
            capture = capture.only_frames(*parse_frames(self.config.frames))
            if self.config.masks == "ignore":
                capture = without_alpha(capture)
            capture = capture.exposed_within()
            held_out, train = choose_cameras(capture, self.config.eval_cameras, self.config.train_cameras)
            capture = replace(capture, eval_cameras=tuple(held_out)).only_cameras([*held_out, *train])
            self._capture = capture
        return self._capture

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        capture = self.capture()
        downscale = self.downscale_factor or automatic_downscale(capture)
        if downscale < 1:
            raise UserError(f"--downscale-factor is {downscale}; give 1 or more")
        train = [c for c in capture.cameras if c.name not in capture.eval_cameras]
        chosen = train if split == "train" else [capture.camera(name) for name in capture.eval_cameras]
        poses = np.concatenate([c.poses for c in train])
        extent = camera_extent(poses)
        focus = attention_point(poses)
        world = make_world_from_capture(
            poses,
            orient=self.config.orientation,
            center=self.config.center,
            attention=focus,
            extent=extent if self.config.scale_scene else 1.0,
        )
        sizes = {c.name: c.camera.undistorted(downscale) for c in chosen}
        cameras, filenames = assemble_cameras(capture, chosen, sizes, world)
        masks = self.config.masks == "alpha" or (self.config.masks == "auto" and capture.masks_are_mattes)
        return DataparserOutputs(
            image_filenames=filenames,
            cameras=cameras,
            scene_box=SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]) * 2),
            alpha_color=torch.tensor(capture.background or (0.0, 0.0, 0.0)),
            metadata=CaptureFacts(
                clip=Clip(capture.num_frames, capture.duration_seconds, int(capture.numbers()[0])),
                capture=capture,
                downscale=downscale,
                masks_as_alpha=masks,
                camera_names=tuple(c.name for c in chosen),
                train_camera_names=tuple(c.name for c in train),
                world_from_capture=world,
                extent=extent * world.scale,
                train_camera_centers=torch.from_numpy(world.points_from_capture(poses[:, :3, 3])),
                focus_distance=float(np.median(np.linalg.norm(poses[:, :3, 3] - focus, axis=1))) * world.scale,
            ).as_metadata(),
            dataparser_transform=torch.from_numpy(world.as_matrix()),
            dataparser_scale=world.scale,
        )


def assemble_cameras(
    capture: Capture, chosen: list[RecordedCamera], sizes: dict[str, Camera], world: WorldFromCapture
) -> tuple[Cameras, list[Path]]:
    """All views of the chosen cameras, camera by camera and frame by frame.

    Returns Nerfstudio cameras (OpenGL axes, times [v, 1] in [0, 1], metadata cam_id and frame_id [v, 1]; cam_id counts the
    chosen cameras) and one unique name per view, which need not exist as a file.
    """
    poses, intrinsics, shapes, times, camera_ids, frame_ids = [], [], [], [], [], []
    names: list[Path] = []
    duration = capture.duration_seconds or 1.0
    digits = max(6, len(str(int(capture.numbers().max()))))
    for camera_id, camera in enumerate(chosen):
        size = sizes[camera.name]
        opencv = np.stack([camera.at(i).world_from_camera for i in range(len(camera.frames))])
        opengl = world.poses_from_capture(opencv)[:, :3] * np.array([1.0, -1.0, -1.0, 1.0])
        poses.append(opengl)
        k = size.intrinsics
        count = len(camera.frames)
        intrinsics.append(np.tile([k[0, 0], k[1, 1], k[0, 2], k[1, 2]], (count, 1)))
        shapes.append(np.tile([size.height, size.width], (count, 1)))
        seconds = capture.times_seconds[camera.frame_ids] + camera.time_offset_seconds
        times.append(np.clip(seconds / duration, 0.0, 1.0))
        camera_ids.append(np.full(count, camera_id))
        frame_ids.append(camera.frame_ids)
        numbers = capture.numbers()[camera.frame_ids]
        names += [capture.root / "views" / camera.name / f"{int(n):0{digits}d}.png" for n in numbers]
    flat = {key: torch.from_numpy(np.concatenate(v)) for key, v in
            {"k": intrinsics, "shape": shapes, "t": times, "cam": camera_ids, "frame": frame_ids}.items()}  # fmt: skip
    cameras = Cameras(
        camera_to_worlds=torch.from_numpy(np.concatenate(poses)).float(),
        fx=flat["k"][:, 0:1].float(),
        fy=flat["k"][:, 1:2].float(),
        cx=flat["k"][:, 2:3].float(),
        cy=flat["k"][:, 3:4].float(),
        height=flat["shape"][:, 0:1].long(),
        width=flat["shape"][:, 1:2].long(),
        camera_type=CameraType.PERSPECTIVE,
        times=flat["t"][:, None].float(),
        metadata={"cam_id": flat["cam"][:, None].long(), "frame_id": flat["frame"][:, None].long()},
    )
    return cameras, names
