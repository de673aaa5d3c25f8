"""EasyVolcap and EasyMocap: intri.yml and extri.yml with images/<camera>/<frame>.jpg or videos/<camera>.mp4.

The YAML is OpenCV's: K_<camera>, D_<camera> (k1 k2 p1 p2 k3), H_ and W_; R_ (Rodrigues) or Rot_ and T_ map world to
camera with OpenCV axes. Refined files in optimized/ are preferred. sync.json {camera: seconds} says that frame k of
that camera was exposed at k / fps minus these seconds (SelfCap). The first camera is held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import (
    check_unscaled,
    checked_distortion,
    checked_intrinsics,
    is_fisheye_model,
    pose_from_world_to_camera,
    scaled_intrinsics,
)
from fourdgs_ns.capture.layouts.layout import Calibration, Layout
from fourdgs_ns.capture.layouts.reading import flag, metadata_fps, number, opencv_matrix, read_json, read_opencv_yaml
from fourdgs_ns.capture.layouts.rig import FixedCamera, require_cameras, rig_capture, rig_fps
from fourdgs_ns.capture.layouts.sequences import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    by_stem,
    composed,
    files_in,
    folders_in,
    image_track,
    images_of,
    listed,
    mask_source,
    natural_key,
    video_track,
)
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

NAME = "easyvolcap"


def recognizes(root: Path) -> bool:
    return any((folder / "intri.yml").is_file() and (folder / "extri.yml").is_file() for folder in _calibrations(root))


def read(root: Path) -> Capture:
    """Read an EasyVolcap folder; cameras that lack calibration or frames are left out with a note."""
    folder = next((f for f in _calibrations(root) if (f / "intri.yml").is_file() and (f / "extri.yml").is_file()), root)
    intri_file, extri_file = folder / "intri.yml", folder / "extri.yml"
    intri, extri = read_opencv_yaml(intri_file), read_opencv_yaml(extri_file)
    posed = camera_names(extri, extri_file)
    calibrated = [c for c in dict.fromkeys(camera_names(intri, intri_file)) if c in posed]
    found, notes = _find_frames(root)
    if folder != root and (root / "intri.yml").is_file():
        notes.append(
            f"the calibration in {folder} is used instead of the one in {root}; rename that folder to prevent it"
        )
    usable = sorted((c for c in calibrated if c in found), key=natural_key)
    for what, names in (
        ("no calibration", [c for c in found if c not in calibrated]),
        ("no frames", [c for c in calibrated if c not in found]),
    ):
        if names:
            notes.append(f"cameras without use, because they have {what}: {listed(names)}")
    if not usable:
        raise UserError(
            f"no camera has both calibration and frames in {root}: {intri_file.name} and {extri_file.name} name "
            f"{listed(calibrated) or 'none'}, the frames are of {listed(list(found))}; give both the same names"
        )
    require_cameras(root, usable)
    cameras = []
    for camera in usable:
        paths = found[camera]
        track = video_track(paths[0]) if paths[0].suffix.lower() in VIDEO_SUFFIXES else image_track(paths, camera)
        found_camera = _camera(intri, intri_file, extri, extri_file, camera, (track.width, track.height))
        cameras.append(FixedCamera(found_camera, track, mask_source(root, camera, track)))
    fps, fps_notes = rig_fps(root, {c.name: c.track for c in cameras})
    cameras = _synchronised(root, folder, cameras, fps)
    return rig_capture(root, NAME, cameras, fps=fps, eval_cameras=(cameras[0].name,), notes=(*notes, *fps_notes))


def _calibrations(root: Path) -> tuple[Path, Path]:
    return root / "optimized", root


def find_calibration(path: Path) -> Path | None:
    """The folder of intri.yml."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and (folder / "optimized" / "intri.yml").is_file():
        folder = folder / "optimized"
    fits = path.is_dir() or path.name in ("intri.yml", "extri.yml")
    return folder if fits and (folder / "intri.yml").is_file() else None


def read_cameras(folder: Path) -> list[Camera]:
    """All cameras that extri.yml names; a size that intri.yml does not state is that of the frames."""
    intri_file, extri_file = folder / "intri.yml", folder / "extri.yml"
    if not extri_file.is_file():
        raise UserError(f"{folder} has intri.yml but no extri.yml; put both there")
    intri, extri = read_opencv_yaml(intri_file), read_opencv_yaml(extri_file)
    return [_camera(intri, intri_file, extri, extri_file, camera) for camera in camera_names(extri, extri_file)]


def camera_names(content: Mapping[str, Any], path: Path) -> list[str]:
    """The list 'names'."""
    names = content.get("names")
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise UserError(f'{path} has no list \'names\' of its cameras; add it, such as names: ["00", "01"]')
    return names


def _find_frames(root: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Files by camera: images in a folder per camera, one image per camera, else videos."""
    images = {composed(f.name): paths for f in folders_in(root / "images") if (paths := images_of(f))}
    if not images:
        images = {camera: [p] for camera, p in by_stem(files_in(root / "images", IMAGE_SUFFIXES)).items()}
    videos = {camera: [p] for camera, p in by_stem(files_in(root / "videos", VIDEO_SUFFIXES)).items()}
    for folder in folders_in(root / "videos"):
        inside = files_in(folder, VIDEO_SUFFIXES)
        if len(inside) > 1:
            raise UserError(f"{folder} holds {len(inside)} videos ({listed([p.name for p in inside])}); keep one there")
        if inside:
            videos[composed(folder.name)] = inside
    if not images and not videos:
        raise UserError(
            f"{root} has intri.yml and extri.yml but neither images/<camera>/<frame>.jpg nor videos/<camera>.mp4; "
            f"put the frames there"
        )
    notes = [f"{root / 'images'} is used and {root / 'videos'} is not read"] if images and videos else []
    return images or videos, notes


def _entry(content: Mapping[str, Any], keys: tuple[str, ...], size: int, path: Path) -> Float[np.ndarray, "r c"] | None:
    """The first of ``keys`` that exists, as a matrix of ``size`` numbers (0: any)."""
    for key in keys:
        if key in content:
            array = opencv_matrix(content[key], key, path)
            if size and array.size != size:
                raise UserError(
                    f"{key} in {path} has {array.size} numbers instead of {size}; export the calibration again"
                )
            return array
    return None


def _camera(
    intri: Mapping[str, Any],
    intri_file: Path,
    extri: Mapping[str, Any],
    extri_file: Path,
    camera: str,
    frame_size: tuple[int, int] | None = None,
) -> Camera:
    """One camera at the size of its frames; without that at the size that intri.yml states, 0 where it states none."""
    intrinsics = _entry(intri, (f"K_{camera}",), 9, intri_file)
    if intrinsics is None:
        raise UserError(f"{intri_file} lists camera '{camera}' but has no K_{camera}; add it or remove the name")
    intrinsics = checked_intrinsics(intrinsics.reshape(3, 3), camera, intri_file)
    distortion, fisheye = _distortion(intri, intri_file, camera)
    width, height = (number(intri.get(f"{side}_{camera}", 0), f"{side}_{camera}", intri_file) for side in "WH")
    stated = min(width, height) > 0
    if frame_size is not None and not stated:
        check_unscaled(intrinsics, frame_size, camera, intri_file, f"W_{camera} and H_{camera}")
    elif frame_size is not None:
        intrinsics = scaled_intrinsics(intrinsics, (width, height), frame_size, camera, intri_file)
    size = frame_size or ((round(width), round(height)) if stated else (0, 0))
    return Camera(camera, *size, intrinsics, _pose(extri, camera, extri_file), distortion, fisheye)


def _distortion(intri: Mapping[str, Any], path: Path, camera: str) -> tuple[tuple[float, ...], bool]:
    """Coefficients, and whether they are of a fisheye lens: rdist_, or D_ beside a flag or the name of a model."""
    entries = (_entry(intri, keys, 0, path) for keys in ((f"rdist_{camera}",), (f"D_{camera}", f"dist_{camera}")))
    radial, usual = ([] if values is None else values.ravel().tolist() for values in entries)
    if any(radial) and any(usual):
        raise UserError(f"{path} has rdist_{camera} and D_{camera} for one lens; remove the wrong one")
    fisheye = any(radial)
    for key in (f"{word}_{camera}" for word in ("fisheye", "is_fisheye", "camera_model", "model")):
        if key in intri:
            named = is_fisheye_model(str(intri[key]), camera, path) if "model" in key else flag(intri[key], key, path)
            if any(radial) and not named:
                raise UserError(f"{path} has rdist_{camera}, which is a fisheye's, but {key} {intri[key]}; remove one")
            fisheye = named
    return checked_distortion(radial if any(radial) else usual, camera, path, fisheye), fisheye


def _pose(extri: Mapping[str, Any], camera: str, path: Path) -> Float[np.ndarray, "4 4"]:
    """world_from_camera, OpenCV axes."""
    rotation = _entry(extri, (f"Rot_{camera}",), 9, path)
    translation = _entry(extri, (f"T_{camera}",), 3, path)
    if rotation is None:
        rodrigues = _entry(extri, (f"R_{camera}",), 0, path)
        if rodrigues is not None and rodrigues.size == 9:
            rotation = rodrigues
        elif rodrigues is not None and rodrigues.size == 3:
            rotation = np.asarray(cv2.Rodrigues(rodrigues.reshape(3, 1))[0])
    if rotation is None or translation is None:
        lacking = f"T_{camera}" if rotation is not None else f"Rot_{camera} (3x3) and no R_{camera} (3 numbers)"
        raise UserError(f"{path} lists camera '{camera}' but has no {lacking}; add it or remove the name")
    matrix = np.hstack([rotation.reshape(3, 3), translation.reshape(3, 1)])
    return pose_from_world_to_camera(matrix, camera, path)


def _synchronised(root: Path, folder: Path, cameras: list[FixedCamera], fps: float) -> list[FixedCamera]:
    """Shift frame numbers by the whole frames in sync.json and keep the rest as the camera's time offset."""
    path = next((p for p in (folder / "sync.json", root / "sync.json") if p.is_file()), None)
    if path is None:
        return cameras
    if all(c.track.fps is None for c in cameras) and metadata_fps(root) is None:
        raise UserError(
            f"{path} gives offsets in seconds but nothing states the frame rate of the images; "
            f'write it into {root / "metadata.json"}, such as {{"fps": 60}}'
        )
    stamped = next((c for c in cameras if c.track.stamped), None)
    if stamped is not None:
        raise UserError(
            f"{path} gives offsets, but frames of camera '{stamped.name}' are named by time stamps "
            f"({stamped.track.source.describe(0)}); remove that file, or number the frames"
        )
    content = read_json(path)
    shifted = []
    for camera in cameras:
        late = -number(content.get(camera.name, 0.0), f"the offset of camera '{camera.name}'", path)
        whole = round(late * fps)
        track = replace(camera.track, numbers=camera.track.numbers + whole)
        own = replace(camera.camera, time_offset_seconds=late - whole / fps)
        shifted.append(replace(camera, camera=own, track=track))
    return shifted


LAYOUT = Layout(
    NAME,
    "intri.yml and extri.yml (also in optimized/) with images/ or videos/",
    recognizes,
    read,
    Calibration("intri.yml and extri.yml", find_calibration, read_cameras),
)
