"""Slices that state covariances: gsplat on the GPU and the package's kernels on the CPU render the same scenes."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.rasterization import rasterize

from ..rasterization.random_scenes import make_cameras
from ..rasterization.test_covariances import NAMES, covariance_parameters, covariance_slice
from .test_gsplat_parity import error, radii_agree, to_device

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("channels", [1, 3, (16, 3)])
def test_backends_agree(channels):
    cameras, parameters = make_cameras(2, 60, 45), covariance_parameters(200, channels, seed=5, width=60)
    v_features = torch.randn(2, 45, 60, 3 if channels != 1 else 1, generator=torch.Generator().manual_seed(1))
    renderings, gradients = [], []
    for device in ("cpu", "cuda"):
        inputs = {name: parameters[name].detach().clone().to(device).requires_grad_() for name in NAMES}
        rendering = rasterize(covariance_slice(inputs), to_device(cameras, device))
        (rendering.features * v_features.to(device)).sum().backward()
        renderings.append(rendering)
        gradients.append({name: value.grad for name, value in inputs.items()})
    ours, theirs = renderings
    radii_agree(theirs.radii.cpu(), ours.radii)
    differences = error(theirs.features, ours.features)
    assert (differences > 1e-4).float().mean() < 1e-3 and differences.max() < 2e-2
    for name in NAMES:
        differences = error(gradients[1][name], gradients[0][name])
        assert (differences > 1e-3).float().mean() < 5e-3, name
        assert differences.max() < 5e-2, name
