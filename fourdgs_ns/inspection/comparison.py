"""A held-out or training view beside its render: which view, and how the two pictures are put together."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from torch.nn import functional

from fourdgs_ns.plugin.dataset import MultiViewVideoDataset

Layout = Literal["wipe", "side by side", "difference", "truth", "render"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
DIFFERENCE_GAIN = 3.0
"""The absolute difference is shown this many times brighter."""
DIRECTION_SHARE = 0.5
"""A camera turned away by 90 degrees counts like one this share of the rig's size away."""


def nearest_view(pose: Float[Tensor, "3 4"], t: float, dataset: MultiViewVideoDataset) -> int:
    """The view that comes closest to a camera at ``t``: first the physical camera, then its frame.

    Args:
        pose: world from camera, OpenGL axes, in the scene.
    """
    poses = dataset.cameras.camera_to_worlds.numpy()
    assert dataset.cameras.times is not None
    times = dataset.cameras.times[:, 0].numpy()
    # Cameras may move: each counts where it is at the frame nearest to t.
    candidates = []
    for camera in np.unique(dataset.camera_ids):
        views = np.flatnonzero(dataset.camera_ids == camera)
        candidates.append(int(views[np.abs(times[views] - t).argmin()]))
    wanted = pose.cpu().numpy()
    places = poses[candidates]
    size = max(float(np.linalg.norm(places[:, :, 3] - places[:, :, 3].mean(axis=0), axis=1).max()), 1e-6)
    distance = np.linalg.norm(places[:, :, 3] - wanted[:, 3], axis=1) / size
    turned = 1.0 - (places[:, :, 2] * wanted[:, 2]).sum(axis=1)
    return candidates[int((distance + DIRECTION_SHARE * turned).argmin())]


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


def resized(image: Float[Tensor, "h w 3"], height: int, width: int) -> Float[Tensor, "a b 3"]:
    """``image`` at another size, averaged over pixels when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    planes = image.permute(2, 0, 1)[None]
    return functional.interpolate(planes, size=(height, width), mode="area")[0].permute(1, 2, 0)


def compose(
    render: Float[Tensor, "h w 3"], truth: Float[Tensor, "h w 3"], layout: Layout, position: float
) -> Float[Tensor, "h w2 3"]:
    """One picture of two.

    Args:
        layout: wipe: truth left of ``position``, render right of it, a white line between. side by side: truth, then render,
            twice as wide. difference: |truth - render|, brighter. truth, render: one of them.
        position: share of the width at which the wipe stands.
    """
    if layout == "render":
        return render
    if layout == "truth":
        return truth
    if layout == "difference":
        return (DIFFERENCE_GAIN * (truth - render).abs()).clamp(max=1.0)
    if layout == "side by side":
        return torch.cat([truth, render], dim=1)
    column = min(max(round(position * render.shape[1]), 0), render.shape[1])
    picture = torch.cat([truth[:, :column], render[:, column:]], dim=1)
    if 0 < column < render.shape[1]:
        picture[:, column] = 1.0
    return picture
