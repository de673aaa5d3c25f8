"""From calibrated cameras to a :class:`Capture`: fixed rigs cut to common frames, and views listed one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fourdgs_ns.capture.capture import Capture, FrameSource, ImageFrames, RecordedCamera
from fourdgs_ns.capture.images import probe_image
from fourdgs_ns.capture.layouts.reading import find_point_files, image_fps, metadata_fps
from fourdgs_ns.capture.layouts.sequences import Track, align, check_same_size, common_fps, listed, natural_key
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

SAME_POSE = 1e-6
"""Entries of a rotation, and shares of a rig's size, by which poses of a camera that stands still may differ."""
MOVED = 1e-2
"""Share of the rig's size by which the poses of a camera may lie apart and still count as one."""
TURNED = 0.2
"""Degrees by which they may be turned."""
ROUNDING = 1e-9
"""Share of their distance from the origin by which places differ that are the same."""
ALPHA_NOTE = "images have an alpha channel, which is used as the matte"


@dataclass(frozen=True)
class FixedCamera:
    """A camera that stands still, with everything it recorded; the rig is not cut to common frames yet."""

    camera: Camera
    """At the size of the frames."""
    track: Track
    masks: FrameSource | None = None
    """One entry per frame of ``track``."""

    @property
    def name(self) -> str:
        return self.camera.name


@dataclass(frozen=True)
class View:
    """One image with its pose, at the instant ``index`` of the clip."""

    path: Path
    world_from_camera: Float[np.ndarray, "4 4"]
    index: int


@dataclass(frozen=True)
class Movement:
    """How far the poses of one camera differ from the middle one."""

    degrees: float
    share: float
    """In sizes of the rig."""

    @property
    def moves(self) -> bool:
        """Whether that is more than the scatter of a calibration."""
        return self.degrees > TURNED or self.share > MOVED

    def __str__(self) -> str:
        return f"turns by up to {self.degrees:.1f} degrees and moves by {100 * self.share:.1f} % of the rig's size"


def movement(world_from_camera: Float[np.ndarray, "n 4 4"], size: float) -> Movement:
    """Of a camera with these poses in a rig of ``size``."""
    middle = world_from_camera[len(world_from_camera) // 2]
    spread = float(np.linalg.norm(world_from_camera[:, :3, 3] - middle[:3, 3], axis=1).max())
    turn = Rotation.from_matrix(world_from_camera[:, :3, :3] @ middle[:3, :3].T).magnitude()
    return Movement(float(np.degrees(turn).max()), spread / size if size > 0 else 0.0)


def refuse_folders_of_frames(
    poses: Mapping[str, Sequence[Float[np.ndarray, "4 4"]]], size: float, where: Path, example: str
) -> None:
    """Refuse a rig of ``size`` whose images lie in a folder per frame, which would exchange cameras and frames.

    Args:
        poses: world_from_camera of the images, by the names of their files: where only files of one name have one pose, they are
            a camera's.
    """
    several = any(len(own) > 1 for own in poses.values())
    if several and not any(movement(np.stack(own), size).moves for own in poses.values()):
        raise UserError(
            f"images in {where} lie in a folder per frame ({example}, ...), and are of cameras {listed(list(poses))}; put each "
            "camera's images into a folder of its own"
        )


def rig_fps(root: Path, tracks: Mapping[str, Track]) -> tuple[float, tuple[str, ...]]:
    """Frame rate of a capture: from metadata.json, else from its videos' headers, else assumed with a note."""
    if any(track.fps is not None for track in tracks.values()):
        stored, notes = common_fps(tracks)
        stated = metadata_fps(root)
        if stated is None:
            return stored, notes
        if abs(stored / stated - 1) > 0.01:
            notes = (f"the videos are stored at {stored:g} fps; metadata.json says {stated:g}, which is used",)
        return stated, notes
    if all(len(track) == 1 for track in tracks.values()):
        return 1.0, ()  # a single instant has no rate
    return image_fps(root)


def rig_capture(
    root: Path,
    layout: str,
    cameras: Sequence[FixedCamera],
    *,
    fps: float,
    eval_cameras: tuple[str, ...],
    notes: Sequence[str] = (),
) -> Capture:
    """A capture of fixed cameras over the frames that all of them have; time starts at the first of these."""
    require_cameras(root, [camera.name for camera in cameras])
    alignment = align({camera.name: camera.track for camera in cameras})
    frame_ids = np.arange(len(alignment.numbers))
    done = []
    for fixed in cameras:
        picks = alignment.picks[fixed.name]
        masks = None if fixed.masks is None else fixed.masks.take(picks)
        camera = fixed.camera
        if fixed.name in alignment.late and camera.time_offset_seconds is None:
            camera = replace(camera, time_offset_seconds=alignment.late[fixed.name] / fps)
        done.append(RecordedCamera(camera, fixed.track.source.take(picks), frame_ids, masks))
    unmasked = [camera.name for camera in cameras if camera.masks is None]
    matte_notes = []
    if 0 < len(unmasked) < len(cameras):
        matte_notes.append(f"no masks for camera {listed(unmasked)}: the whole image is used there")
    if any(camera.track.has_alpha for camera in cameras):
        matte_notes.append(ALPHA_NOTE)
    return Capture(
        root=root,
        layout=layout,
        cameras=tuple(done),
        times_seconds=(alignment.numbers - alignment.numbers[0]) / fps,
        eval_cameras=eval_cameras,
        frame_numbers=alignment.numbers,
        point_files=find_point_files(root),
        notes=(*notes, *alignment.notes, *matte_notes),
    )


def camera_from_views(
    name: str, views: Sequence[View], camera_at: Callable[[str, int, int], Camera], listing: Path, size: float
) -> RecordedCamera:
    """One camera, fixed or moving, from images that ``listing`` names one by one.

    ``camera_at(name, width, height)`` gives the camera, in any pose, at the size of its images. ``size`` is that of the rig, of
    which rounding may move a camera that stands still by a millionth.

    Raises:
        UserError: an image is missing, or two show the same instant.
    """
    views = sorted(views, key=lambda view: (view.index, natural_key(view.path.name)))
    for before, after in pairwise(views):
        if before.index == after.index:
            raise UserError(
                f"camera '{name}' has two images of one instant in {listing}, {before.path.name} and "
                f"{after.path.name}; give each physical camera its own 'camera_label' there"
            )
    require_files([view.path for view in views], listing)
    poses = np.stack([view.world_from_camera for view in views])
    turned = float(np.abs(poses[:, :3, :3] - poses[0, :3, :3]).max())
    moved = float(np.abs(poses[:, :3, 3] - poses[0, :3, 3]).max())
    if turned <= SAME_POSE and moved <= SAME_POSE * size:
        poses = poses[:1]
    header = probe_image(views[0].path)
    check_same_size(views[0].path, views[-1].path, name)
    source = ImageFrames(tuple(view.path for view in views))
    camera = camera_at(name, header.width, header.height)
    return RecordedCamera(camera, source, np.array([view.index for view in views])).posed(poses)


def size_of(world_from_camera: Iterable[Float[np.ndarray, "4 4"]]) -> float:
    """Largest distance of a camera from their mean; where that is none, from their world's origin."""
    centres = np.stack([pose[:3, 3] for pose in world_from_camera])
    radius = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
    far = float(np.linalg.norm(centres, axis=1).max())
    return radius if radius > ROUNDING * far else far


def on_common_clock(cameras: Sequence[RecordedCamera], num_instants: int) -> tuple[str, ...]:
    """Note which cameras lack some of the instants; views listed one by one may have holes."""
    short = [f"{c.name} has {len(c.frames)}" for c in cameras if len(c.frames) != num_instants]
    return (f"the clip has {num_instants} instants; {listed(short)}",) if short else ()


def require_cameras(root: Path, names: Sequence[str]) -> None:
    """Refuse fewer than two fixed cameras."""
    if len(names) < 2:
        raise UserError(
            f"{root} has {len(names)} usable camera{'' if len(names) == 1 else 's'} ({', '.join(names) or 'none'}); "
            f"a dynamic scene needs at least 2 fixed cameras or one that moves, add the files of the others"
        )


def require_files(paths: Sequence[Path], listing: Path) -> None:
    """Refuse a file that ``listing`` names but that does not exist."""
    present: dict[Path, set[str]] = {}
    for path in paths:
        if path.parent not in present:
            present[path.parent] = {p.name for p in path.parent.iterdir()} if path.parent.is_dir() else set()
        if path.name not in present[path.parent]:
            raise UserError(f"{listing} names {path}, which does not exist; put that file back or remove its entry")
