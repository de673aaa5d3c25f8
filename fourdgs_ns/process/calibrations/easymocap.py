"""``intri.yml`` and ``extri.yml`` of EasyMocap and EasyVolcap (OpenCV FileStorage, world to camera)."""

from __future__ import annotations

from pathlib import Path

from fourdgs_ns.capture.layouts.calibrated import CalibratedCamera
from fourdgs_ns.capture.layouts.easyvolcap import camera_lens, camera_names, camera_pose
from fourdgs_ns.capture.layouts.reading import number, read_opencv_yaml
from fourdgs_ns.common.errors import UserError

name = "easymocap"
looks_for = "intri.yml and extri.yml"


def recognizes(path: Path) -> bool:
    folder = _folder(path)
    return (folder / "intri.yml").is_file() and (path.is_dir() or path.name in ("intri.yml", "extri.yml"))


def read(path: Path) -> list[CalibratedCamera]:
    """All cameras of ``names``; a size that the file does not state is that of the frames."""
    folder = _folder(path)
    intri_file, extri_file = folder / "intri.yml", folder / "extri.yml"
    if not extri_file.is_file():
        raise UserError(f"{folder} has intri.yml but no extri.yml; put both there")
    intri, extri = read_opencv_yaml(intri_file), read_opencv_yaml(extri_file)
    cameras = []
    for camera in camera_names(extri, extri_file):
        lens = camera_lens(intri, camera, intri_file)
        width, height = (number(intri.get(f"{side}_{camera}", 0), f"{side}_{camera}", intri_file) for side in "WH")
        cameras.append(
            CalibratedCamera(
                camera,
                max(0, round(width)),
                max(0, round(height)),
                lens.intrinsics,
                camera_pose(extri, camera, extri_file),
                lens.distortion,
                lens.fisheye,
            )
        )
    return cameras


def _folder(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    optimized = folder / "optimized"
    return optimized if path.is_dir() and (optimized / "intri.yml").is_file() else folder
