"""The twin against finite differences: it is what the fast paths are compared with."""

import torch

from .dense_twin import dense_rasterize
from .random_scenes import NAMES, make_cameras, make_parameters


def test_gradients_match_finite_differences():
    cameras = make_cameras(2, 12, 10)
    parameters = make_parameters(6, channels=4, seed=3, pixels=2.0, width=12)
    inputs = [parameters[name].double().requires_grad_() for name in NAMES]
    inputs.append(torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_())
    images = dense_rasterize(*inputs, cameras)
    assert (images.radii > 0).sum() == 10
    assert 0.1 < images.alphas.mean() < 0.95
    shapes = [tuple(image.shape) for image in images[:3]]
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(3, *shape, dtype=torch.float64, generator=generator) for shape in shapes]

    def projections(*args):
        """Three random linear functions of everything that is rendered."""
        rendered = dense_rasterize(*args, cameras)[:3]
        return sum((direction * image).flatten(1).sum(1) for direction, image in zip(directions, rendered, strict=True))

    assert torch.autograd.gradcheck(projections, inputs)
