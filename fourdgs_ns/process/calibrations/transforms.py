"""``transforms.json`` of Nerfstudio, and ``refined_cameras.json`` of a training: the first entry of every camera."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts.calibrated import CalibratedCamera
from fourdgs_ns.capture.layouts.entries import camera_names, lens_of, read_entries
from fourdgs_ns.capture.layouts.reading import number
from fourdgs_ns.common.errors import UserError

name = "transforms"
looks_for = "transforms.json"


def recognizes(path: Path) -> bool:
    return (path.suffix == ".json" and path.name != "models.json") or (path / "transforms.json").is_file()


def read(path: Path) -> list[CalibratedCamera]:
    """One camera per camera_label, or per file name when there is none; sizes must be stated."""
    listing = path / "transforms.json" if path.is_dir() else path
    _, entries = read_entries(listing)
    names = camera_names(entries) or [entry.path.stem for entry in entries]
    cameras: dict[str, CalibratedCamera] = {}
    for camera, entry in zip(names, entries, strict=True):
        if camera in cameras:
            continue
        if "w" not in entry.fields or "h" not in entry.fields:
            raise UserError(f"camera '{camera}' in {listing} has no w and h; add the size of its images in pixels")
        width, height = (round(number(entry.fields[k], f"{k} of camera '{camera}'", listing)) for k in "wh")
        lens = lens_of([entry], camera, width, height)
        stated = entry.fields.get("time_offset_seconds")
        late = None if stated is None else number(stated, f"time_offset_seconds of '{camera}'", listing)
        cameras[camera] = CalibratedCamera(
            camera, width, height, lens.intrinsics, entry.world_from_camera, lens.distortion, lens.fisheye, late
        )
    return list(cameras.values())
