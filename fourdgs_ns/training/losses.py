"""Photometric losses and scores on batches of images, channels last."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from fourdgs_ns.kernels.ssim import C1, C2, SIGMA, WINDOW


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
    """Mean structural similarity. ``data_range`` is 1 for images in [0, 1]; some papers compute theirs with 2, which gives
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
    opacities: Float[Tensor, "n 1"], ids: Int[Tensor, " m"], weights: Float[Tensor, " m"], factor: float
) -> Float[Tensor, ""]:
    """Peak opacity times temporal weight (FreeTimeGS, eq. 6), summed over the m Gaussians alive at t, times ``factor``.

    The weight is a constant: only peak opacities are pulled down, by factor * weight * o (1 - o) in the logit; no life is
    shortened.

    Args:
        opacities: logits of the peak opacities of all Gaussians.
        ids: rows of the Gaussians alive at t, each once.
        weights: their temporal weights at t.
        factor: the term's weight over the number of Gaussians it is a mean of.
    """
    if opacities.is_cuda and opacities.dtype == torch.float32:
        from fourdgs_ns.kernels.opacity import sum_of_opacities

        return sum_of_opacities(opacities, ids, weights, factor)
    logits = opacities.index_select(0, ids)[:, 0]
    return factor * (torch.sigmoid(logits) * weights.detach()).sum()


def random_crops(
    image: Float[Tensor, "b h w 3"], target: Float[Tensor, "b h w 3"], side: int, seed: int
) -> tuple[Float[Tensor, "b crop_h crop_w 3"], Float[Tensor, "b crop_h crop_w 3"]]:
    """The same window of at most ``side`` pixels from both, placed by ``seed``."""
    height, width = image.shape[1:3]
    generator = torch.Generator().manual_seed(seed)
    top, left = (int(torch.randint(max(n - side, 0) + 1, (1,), generator=generator)) for n in (height, width))
    return image[:, top : top + side, left : left + side], target[:, top : top + side, left : left + side]
