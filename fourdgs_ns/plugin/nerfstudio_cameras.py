"""Nerfstudio's cameras as the rasterizers want them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras


def pinhole_cameras(camera: Cameras, near: float, device: torch.device | str) -> PinholeCameras:
    """Nerfstudio cameras (OpenGL, one size) -> camera_from_world matrices with OpenCV axes on ``device``.

    Raises:
        UserError: a camera is no pinhole camera.
    """
    return _unpacked(_packed(camera, device), *_size(camera), near)


def _size(camera: Cameras) -> tuple[int, int]:
    return int(camera.width.flatten()[0]), int(camera.height.flatten()[0])


def _packed(camera: Cameras, device: torch.device | str) -> Float[Tensor, "b 28"]:
    """Rows of camera_from_world, intrinsics and centre: one tensor, so that it travels and is joined at once."""
    kind = int(camera.camera_type.flatten()[0])
    if kind != CameraType.PERSPECTIVE.value:
        raise UserError(
            f"this method renders perspective cameras only, not {CameraType(kind).name.lower()}; choose Perspective in the "
            "viewer's render tab or set camera_type to perspective in the camera path"
        )
    pose = camera.camera_to_worlds.float().cpu()
    rotation = (pose[:, :3, :3] * torch.tensor([1.0, -1.0, -1.0])).transpose(1, 2)
    camera_from_world = torch.eye(4).repeat(pose.shape[0], 1, 1)
    camera_from_world[:, :3, :3] = rotation
    camera_from_world[:, :3, 3:] = -rotation @ pose[:, :3, 3:]
    intrinsics = camera.get_intrinsics_matrices().float().cpu()
    return torch.cat([camera_from_world.flatten(1), intrinsics.flatten(1), pose[:, :3, 3]], dim=1).to(
        device, non_blocking=True
    )


def _unpacked(packed: Float[Tensor, "b 28"], width: int, height: int, near: float) -> PinholeCameras:
    matrices, intrinsics = packed[:, :16].reshape(-1, 4, 4), packed[:, 16:25].reshape(-1, 3, 3)
    return PinholeCameras(matrices, intrinsics, width, height, near, known_centers=packed[:, 25:])


class TrainingViews:
    """Training comes back to the same views again and again: they are converted and sent to the device once."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], Float[Tensor, "1 28"]] = {}

    def learn(self, cameras: Cameras, device: torch.device | str) -> None:
        """Convert all of ``cameras`` [v], which have the camera and the frame in their metadata."""
        self.known |= zip(_ids(cameras), _packed(cameras, device).split(1))

    def get(self, camera: Cameras, near: float, device: torch.device | str) -> PinholeCameras:
        """See :func:`pinhole_cameras`; views that were not learned are converted every time."""
        views = [self.known.get(ids) for ids in _ids(camera)]
        if not views or None in views:
            return pinhole_cameras(camera, near, device)
        return _unpacked(torch.cat(views), *_size(camera), near)  # type: ignore[arg-type]


def _ids(cameras: Cameras) -> list[tuple[int, int]]:
    """Numbers of camera and frame of each; nothing where they are not known."""
    if cameras.metadata is None or "frame_id" not in cameras.metadata:
        return []
    return list(zip(*(cameras.metadata[name].flatten().tolist() for name in ("cam_id", "frame_id"))))


def fitted(camera: Cameras, height: int, width: int) -> Cameras:
    """``camera`` [1] at the largest size with its own proportions inside ``height`` x ``width`` pixels."""
    own_height, own_width = int(camera.height[0]), int(camera.width[0])
    scale = min(height / own_height, width / own_width)
    small = camera[0:1]
    rows, columns = max(round(own_height * scale), 1), max(round(own_width * scale), 1)
    small.fx, small.cx = camera.fx * (columns / own_width), camera.cx * (columns / own_width)
    small.fy, small.cy = camera.fy * (rows / own_height), camera.cy * (rows / own_height)
    small.height, small.width = torch.full_like(camera.height, rows), torch.full_like(camera.width, columns)
    return small
