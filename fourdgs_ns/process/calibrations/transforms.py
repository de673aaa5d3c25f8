"""``transforms.json`` of Nerfstudio, and ``refined_cameras.json`` of a training: the first entry of every camera."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts.entries import camera_names, read_entries
from fourdgs_ns.capture.layouts.reading import number
from fourdgs_ns.capture.layouts.transforms import _camera as camera_from_entry
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

name = "transforms"
looks_for = "transforms.json"


def recognizes(path: Path) -> bool:
    return (path.suffix == ".json" and path.name != "models.json") or (path / "transforms.json").is_file()


def read(path: Path) -> list[Camera]:
    """One camera per camera_label, or per file name when there is none; sizes must be stated."""
    listing = path / "transforms.json" if path.is_dir() else path
    _, entries = read_entries(listing)
    names = camera_names(entries) or [entry.path.stem for entry in entries]
    cameras: dict[str, Camera] = {}
    for camera, entry in zip(names, entries, strict=True):
        if camera in cameras:
            continue
        if "w" not in entry.fields or "h" not in entry.fields:
            raise UserError(f"camera '{camera}' in {listing} has no w and h; add the size of its images in pixels")
        width, height = (round(number(entry.fields[k], f"{k} of camera '{camera}'", listing)) for k in "wh")
        cameras[camera] = camera_from_entry(entry, camera, width, height)
    return list(cameras.values())
