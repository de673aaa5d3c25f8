"""One affine colour per physical camera: rigs of real cameras rarely agree on exposure and white balance."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class CameraColors(nn.Module):
    """rgb -> (I + A_c) rgb + b_c for training camera c; held-out cameras see the scene's own colours.

    The mean over cameras is held at the identity, otherwise scene and cameras could drift together into a colour cast.
    """

    def __init__(self, num_cameras: int) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.zeros(num_cameras, 3, 3))
        self.offsets = nn.Parameter(torch.zeros(num_cameras, 3))

    def forward(self, rgb: Float[Tensor, "b h w 3"], cameras: Int[Tensor, " b"]) -> Float[Tensor, "b h w 3"]:
        """Args: scene colours and the training camera of each image."""
        cameras = cameras.to(rgb.device, non_blocking=True)
        if rgb.is_cuda and rgb.dtype == torch.float32:
            from fourdgs_ns.kernels.colors import camera_colors

            return camera_colors(rgb, self.matrices, self.offsets, cameras)
        change = (rgb[..., None, :] * self.matrices[cameras][:, None, None]).sum(dim=-1)
        return rgb + change + self.offsets[cameras][:, None, None]

    @torch.no_grad()
    def center(self) -> None:
        """Bring the mean correction over all cameras back to the identity."""
        self.matrices.sub_(self.matrices.mean(dim=0))
        self.offsets.sub_(self.offsets.mean(dim=0))
