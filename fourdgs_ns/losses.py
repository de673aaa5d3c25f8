"""Photometric losses and scores on batches of images, channels last."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


@lru_cache(maxsize=8)
def _window(channels: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "c 1 11"]:
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return (weights / weights.sum()).to(device, dtype).expand(channels, 1, WINDOW).contiguous()


def _blur(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    channels = maps.shape[1]
    window = _window(channels, maps.device, maps.dtype)
    rows = functional.conv2d(maps, window[:, :, None, :], padding=(0, WINDOW // 2), groups=channels)
    return functional.conv2d(rows, window[:, :, :, None], padding=(WINDOW // 2, 0), groups=channels)


def ssim_map(
    image: Float[Tensor, "b h w c"], target: Float[Tensor, "b h w c"], data_range: float = 1.0
) -> Float[Tensor, "b h w c"]:
    """Structural similarity of each pixel (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, zero padding."""
    x, y = image.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2)
    b = x.shape[0]
    c1, c2 = C1 * data_range**2, C2 * data_range**2
    # One blur of five stacked maps: five times fewer launches than blurring each.
    mx, my, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).split(b)
    sx, sy, sxy = xx - mx * mx, yy - my * my, xy - mx * my
    values = ((2 * mx * my + c1) * (2 * sxy + c2)) / ((mx * mx + my * my + c1) * (sx + sy + c2))
    return values.permute(0, 2, 3, 1)


def ssim(
    image: Float[Tensor, "b h w c"], target: Float[Tensor, "b h w c"], data_range: float = 1.0
) -> Float[Tensor, ""]:
    """Mean structural similarity. ``data_range`` is 1 for pictures in [0, 1]; some papers compute theirs with 2, which gives
    higher numbers."""
    return ssim_map(image, target, data_range).mean()


def photometric_loss(
    image: Float[Tensor, "b h w 3"], target: Float[Tensor, "b h w 3"], ssim_weight: float
) -> Float[Tensor, ""]:
    """(1 - w) mean |image - target| + w (1 - SSIM), as 3DGS. On a GPU by fused kernels, which are differentiable in ``image``
    only."""
    if image.is_cuda and image.dtype == target.dtype == torch.float32 and not target.requires_grad:
        from fourdgs_ns.kernels import photometric

        return photometric.photometric_loss(image, target, ssim_weight)
    loss = (1 - ssim_weight) * (image - target).abs().mean()
    return loss + ssim_weight * (1 - ssim(image, target)) if ssim_weight else loss


def psnr(image: Float[Tensor, "*b h w c"], target: Float[Tensor, "*b h w c"]) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB for data in [0, 1]; infinite for equal images."""
    return -10 * torch.log10(torch.mean((image - target) ** 2))


def opacity_regularizer(
    logits: Float[Tensor, " m"], weights: Float[Tensor, " m"], count: int | None = None
) -> Float[Tensor, ""]:
    """Mean of peak opacity times temporal weight (FreeTimeGS, eq. 6).

    The weight is a constant: only peak opacities are pulled down (weight * o (1 - o) / count in the logit), no life is shortened.

    Args:
        logits: peak opacities of the Gaussians alive at t.
        weights: their temporal weights at t.
        count: what the sum is divided by; None: the m Gaussians given.
    """
    return (torch.sigmoid(logits) * weights.detach()).sum() / max(count or logits.shape[0], 1)


def random_crops(
    image: Float[Tensor, "b h w 3"], target: Float[Tensor, "b h w 3"], side: int, seed: int
) -> tuple[Float[Tensor, "b s s 3"], Float[Tensor, "b s s 3"]]:
    """The same window of at most ``side`` pixels from both, placed by ``seed``."""
    height, width = image.shape[1:3]
    generator = torch.Generator().manual_seed(seed)
    top, left = (int(torch.randint(max(n - side, 0) + 1, (1,), generator=generator)) for n in (height, width))
    return image[:, top : top + side, left : left + side], target[:, top : top + side, left : left + side]
