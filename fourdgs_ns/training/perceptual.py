"""LPIPS, when its weights are at hand: they are downloaded on first use, and everything goes on without them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.request import Request, urlopen

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.common.console import warn

REACH_SECONDS = 10.0
"""How long the server of the weights may take to answer."""


class Perceptual:
    """Learned perceptual distance (Zhang et al. 2018, inputs scaled to [-1, 1]), loaded when first asked for.

    A plain object, not a module: the network's weights must stay out of checkpoints.
    """

    def __init__(self, backbone: Literal["alex", "vgg"] = "alex") -> None:
        self.backbone = backbone
        self.network: torch.nn.Module | None = None
        self.missing = False

    def available(self, device: torch.device) -> bool:
        """Whether the weights are at hand; the first call tries to get them, and says so once when they cannot be had."""
        return self._load(device) is not None

    def distance(self, image: Float[Tensor, "b h w 3"], target: Float[Tensor, "b h w 3"]) -> Float[Tensor, ""] | None:
        """Mean distance, differentiable in ``image``; None when the weights cannot be had, which is said once."""
        network = self._load(image.device)
        if network is None:
            return None
        images = [x.permute(0, 3, 1, 2).clamp(0.0, 1.0) for x in (image, target)]
        value = network(*images)
        network.reset()  # type: ignore[operator]  # the metric would otherwise keep every value it ever computed
        return value

    def _load(self, device: torch.device) -> torch.nn.Module | None:
        if self.network is None and not self.missing:
            try:
                from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

                _require_weights(self.backbone)
                network = (
                    LearnedPerceptualImagePatchSimilarity(net_type=self.backbone, normalize=True).to(device).eval()
                )
                self.network = network.requires_grad_(False)
            except Exception as error:  # the download fails in many ways: no network, proxy, full disk
                warn(
                    f"LPIPS is left out of losses and scores: its weights are not at hand ({self.backbone}, "
                    f"{type(error).__name__})."
                )
                self.missing = True
        return self.network


def _require_weights(backbone: str) -> None:
    """Raises OSError, soon and before anything is printed, where weights neither lie on disk nor can be had."""
    from torchvision.models import AlexNet_Weights, VGG16_Weights

    url = (AlexNet_Weights if backbone == "alex" else VGG16_Weights).IMAGENET1K_V1.url
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file():
        urlopen(Request(url, method="HEAD"), timeout=REACH_SECONDS).close()
