"""The same capture in another layout: calibration is written anew, frames are linked or copied as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from fourdgs_ns.capture.calibration import read_calibration
from fourdgs_ns.capture.capture import Capture, ImageFrames, VideoFrames
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import write_json
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.geometry.view_volume import attention_point
from fourdgs_ns.process.write import transforms

Target = Literal["easyvolcap", "n3dv", "transforms"]


def convert_capture(
    capture: Capture, out: Path, target: Target, advance: Callable[[], None] = lambda: None
) -> list[str]:
    """Write ``capture`` to the new folder ``out``; sentences about what the layout cannot say.

    Raises:
        UserError: cameras that move, or a lens or clip that the layout cannot hold.
    """
    _refuse(capture, target)
    write = {"easyvolcap": _easyvolcap, "n3dv": _n3dv, "transforms": _transforms}[target]
    return write(capture, out, advance)


def recalibrated(capture: Capture, calibration: Path) -> Capture:
    """The capture with the lenses, poses and, where stated, time offsets of a calibration file; without its points.

    Raises:
        UserError: no calibration, one of other cameras, or a capture whose cameras move.
    """
    for camera in capture.cameras:
        if camera.moves:
            raise UserError(
                f"camera '{camera.name}' of {capture.root} moves, but {calibration} gives one pose each; leave --calibration out"
            )
    sizes = {camera.name: (camera.width, camera.height) for camera in capture.cameras}
    found = [Camera.from_json(c) for c in read_calibration(calibration, sizes)["cameras"]]
    cameras = [
        replace(recorded, camera=_with_offset(new, recorded.time_offset_seconds))
        for recorded, new in zip(capture.cameras, found, strict=True)
    ]
    return replace(capture, cameras=tuple(cameras), point_files=())


def _with_offset(camera: Camera, otherwise: float) -> Camera:
    return camera if camera.time_offset_seconds is not None else replace(camera, time_offset_seconds=otherwise)


def _refuse(capture: Capture, target: Target) -> None:
    for camera in capture.cameras:
        if camera.moves:
            raise UserError(
                f"camera '{camera.name}' of {capture.root} moves, which {target} cannot say; convert fixed rigs"
            )
        if target == "n3dv":
            _refuse_for_n3dv(capture, camera.camera)
    if target == "n3dv" and len({c.frame_ids.tobytes() for c in capture.cameras}) > 1:
        raise UserError(
            f"the cameras of {capture.root} have different frames, which n3dv cannot say; convert to transforms"
        )


def _refuse_for_n3dv(capture: Capture, camera: Camera) -> None:
    k = camera.intrinsics
    if camera.fisheye or np.any(np.asarray(camera.distortion) != 0):
        raise UserError(
            f"camera '{camera.name}' of {capture.root} has lens distortion, which n3dv cannot say; convert to transforms"
        )
    off = np.abs(k[:2, 2] - np.array([camera.width, camera.height]) / 2).max() / max(camera.width, camera.height)
    if off > 2e-3 or abs(k[0, 0] / k[1, 1] - 1) > 2e-3:
        raise UserError(
            f"camera '{camera.name}' of {capture.root} has its principal point {100 * off:.1f} % off the centre or two focal "
            "lengths, which n3dv cannot say; convert to transforms"
        )


def _fps(capture: Capture) -> float:
    if capture.num_frames < 2:
        return 1.0
    return float((capture.num_frames - 1) / capture.duration_seconds)


def _link(source: Path, target: Path) -> None:
    """A hard link where the disk allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _place(frames: ImageFrames | VideoFrames, folder: Path, video: Path, numbers: np.ndarray) -> str:
    """Images as ``folder``/<number>.*, a whole video as ``video``; returns the path of the first image or the video.

    Raises:
        UserError: only a part of a video is used.
    """
    if isinstance(frames, ImageFrames):
        files = [folder / f"{int(n):06d}{path.suffix.lower()}" for n, path in zip(numbers, frames.paths, strict=True)]
        for path, file in zip(frames.paths, files, strict=True):
            _link(path, file)
        return str(files[0])
    if frames.indices != tuple(range(len(frames.indices))):
        raise UserError(
            f"{frames.path} is used from frame {frames.indices[0]} on, and a cut would mean to encode it again; turn it into "
            "images with: fourdgs-ns process"
        )
    file = video.with_suffix(frames.path.suffix.lower())
    _link(frames.path, file)
    return str(file)


def _extras(capture: Capture, out: Path) -> None:
    """Points and masks."""
    for path in capture.point_files[:1]:
        _link(path, out / "points3D.ply")
    for camera in capture.cameras:
        if camera.masks is not None:
            _place(camera.masks, out / "masks" / camera.name, out / "masks" / f"{camera.name}.mp4", camera.frame_ids)


def _metadata(capture: Capture, out: Path) -> None:
    names = [c.name for c in capture.cameras]
    write_json(out / "metadata.json", {"fps": _fps(capture), "num_frames": capture.num_frames, "cameras": names})


def _transforms(capture: Capture, out: Path, advance: Callable[[], None]) -> list[str]:
    files = {}
    for c in capture.cameras:
        first = _place(c.frames, out / "frames" / c.name, out / "videos" / f"{c.name}.mp4", c.frame_ids)
        files[c.name] = os.path.relpath(first, out)
        advance()
    _extras(capture, out)
    _metadata(capture, out)
    points = "points3D.ply" if capture.point_files else None
    write_json(out / "transforms.json", transforms([c.camera for c in capture.cameras], files, _fps(capture), points))
    return []


def _easyvolcap(capture: Capture, out: Path, advance: Callable[[], None]) -> list[str]:
    names = [c.name for c in capture.cameras]
    intri, extri = _OpenCvYaml(names), _OpenCvYaml(names)
    for recorded in capture.cameras:
        c = recorded.camera
        _place(recorded.frames, out / "images" / c.name, out / "videos" / f"{c.name}.mp4", recorded.frame_ids)
        camera_from_world = np.linalg.inv(c.world_from_camera)
        intri.matrix(f"K_{c.name}", c.intrinsics)
        intri.number(f"H_{c.name}", c.height)
        intri.number(f"W_{c.name}", c.width)
        distortion = np.zeros(5)
        distortion[: min(5, len(c.distortion))] = c.distortion[:5]
        if c.fisheye:
            intri.matrix(f"rdist_{c.name}", np.asarray(c.distortion, np.float64).reshape(-1, 1))
        elif len(c.distortion) > 5 and any(c.distortion[5:]):
            intri.matrix(f"D_{c.name}", np.asarray(c.distortion, np.float64).reshape(-1, 1))
        else:
            intri.matrix(f"D_{c.name}", distortion.reshape(5, 1))
        extri.matrix(f"R_{c.name}", np.asarray(cv2.Rodrigues(camera_from_world[:3, :3])[0]))
        extri.matrix(f"Rot_{c.name}", camera_from_world[:3, :3])
        extri.matrix(f"T_{c.name}", camera_from_world[:3, 3:])
        advance()
    (out / "intri.yml").write_text(intri.text())
    (out / "extri.yml").write_text(extri.text())
    late = {c.name: -c.time_offset_seconds for c in capture.cameras}
    if any(late.values()):
        write_json(out / "sync.json", late)
    _extras(capture, out)
    _metadata(capture, out)
    return []


def _n3dv(capture: Capture, out: Path, advance: Callable[[], None]) -> list[str]:
    rows = []
    notes = []
    digits = max(2, len(str(len(capture.cameras) - 1)))  # so that the order of the rows is clear
    names = [f"cam{i:0{digits}d}" for i in range(len(capture.cameras))]
    for name, c in zip(names, capture.cameras, strict=True):
        _place(c.frames, out / name / "images", out / f"{name}.mp4", c.frame_ids)
        pose = c.camera.world_from_camera
        right, down, forward, centre = pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3]
        matrix = np.stack([down, right, -forward, centre, [c.height, c.width, c.camera.intrinsics[0, 0]]], axis=1)
        near, far = _depths(capture, c.camera)
        rows.append([*matrix.ravel(), near, far])
        advance()
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "poses_bounds.npy", np.array(rows))
    if [c.name for c in capture.cameras] != names:
        said = ", ".join(f"{c.name} is {name}" for name, c in zip(names, capture.cameras, strict=True))
        notes.append(f"cameras of n3dv are called cam00, cam01, ...: {said}")
    if any(c.time_offset_seconds for c in capture.cameras):
        notes.append("time offsets of cameras are lost, n3dv has none")
    _extras(capture, out)
    _metadata(capture, out)
    return notes


def _depths(capture: Capture, camera: Camera) -> tuple[float, float]:
    """Depth bounds that enclose the middle of the rig's view generously: LLFF wants some, most readers ignore them."""
    poses = np.stack([c.camera.world_from_camera for c in capture.cameras])
    distance = float(np.linalg.norm(attention_point(poses) - camera.center))
    return 0.1 * distance, 5.0 * distance


class _OpenCvYaml:
    """Text as OpenCV's FileStorage writes it; its own writer loses quotes around names such as 00."""

    def __init__(self, names: list[str]) -> None:
        self._lines = ["%YAML:1.0", "---", "names:", *(f'   - "{name}"' for name in names)]

    def matrix(self, key: str, values: np.ndarray) -> None:
        rows, cols = values.shape
        data = ", ".join(repr(float(x)) for x in values.ravel())
        self._lines += [
            f"{key}: !!opencv-matrix",
            f"   rows: {rows}",
            f"   cols: {cols}",
            "   dt: d",
            f"   data: [ {data} ]",
        ]

    def number(self, key: str, value: float) -> None:
        self._lines.append(f"{key}: {float(value)}")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
