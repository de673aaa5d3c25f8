"""Rasterization of one slice, by gsplat on a GPU and by Numba kernels on the CPU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.types import GaussiansAtTime

DIFFERENTIABLE = {"means", "quats", "scales", "covariances", "opacities", "features"}
"""Fields of a slice that gradients reach."""


def rasterize(
    gaussians: GaussiansAtTime,
    cameras: PinholeCameras,
    *,
    background: Float[Tensor, " d"] | Float[Tensor, "c d"] | None = None,
    depth: bool = False,
) -> Rendering:
    """Rasterize one slice for several cameras, differentiably in the slice and in the background.

    The device of ``gaussians.means`` decides the backend: gsplat on a GPU, the package's own kernels on the CPU. Both
    follow the same formulas with the same constants (``rasterization.types``) and agree to float32 rounding. Cameras
    are constants: no gradient reaches poses or intrinsics.

    Args:
        gaussians: The slice, float32, with quaternions (which are normalised again) and scales or with covariances. Rows must
            be finite: the caller filters them.
            A Gaussian whose centre or covariance is not finite is left out on the CPU and undefined on the GPU.
        cameras: On the device of the slice, with ``near`` > 0.
        background: Features behind everything, one row for all cameras or one row each; zeros when None.
        depth: Whether to render expected depth too. It is not blended with the background.

    Returns:
        The images. After backward, ``means2d.grad`` is the screen-space gradient in pixels; ``means2d`` of a row
        whose ``radii`` is 0 is undefined.

    Raises:
        UserError: The slice is on a GPU and gsplat's CUDA kernels cannot be loaded.
    """
    m, d = gaussians.features.shape[0], gaussians.features.shape[-1]
    c = len(cameras)
    if gaussians.for_cameras:
        assert gaussians.features.shape[1:] == (c, 3), (tuple(gaussians.features.shape), c)
    elif gaussians.features.dim() == 3:
        assert gaussians.features.shape[1] in (1, 4, 9, 16) and d == 3, tuple(gaussians.features.shape)
    has_covariances = gaussians.covariances is not None
    assert (gaussians.quats is None) == (gaussians.scales is None) == has_covariances, "shapes are stated once"
    values = gaussians.tensors()
    expected = {"means": (m, 3), "quats": (m, 4), "scales": (m, 3), "covariances": (m, 3, 3), "opacities": (m,)}
    for name in DIFFERENTIABLE & values.keys():
        assert values[name].shape == expected.get(name, values[name].shape), (name, tuple(values[name].shape))
        assert values[name].dtype == torch.float32, (name, values[name].dtype)
    assert gaussians.ids.shape == (m,), gaussians.ids.shape
    assert d > 0 and c > 0 and cameras.width > 0 and cameras.height > 0, (d, c, cameras.width, cameras.height)
    assert cameras.near > 0.0, cameras.near
    assert not (cameras.camera_from_world.requires_grad or cameras.intrinsics.requires_grad), "cameras are constants"
    if background is None:
        background = gaussians.features.new_zeros(d)
    assert background.shape in ((d,), (c, d)), (tuple(background.shape), (c, d))
    assert background.dtype == torch.float32, background.dtype
    backgrounds = background.expand(c, d)

    if m == 0:
        return _empty_rendering(gaussians, cameras, backgrounds, depth)
    # Imported here: loading Numba takes half a second, and gsplat prints a warning where there is no CUDA toolkit.
    if gaussians.means.is_cuda:
        from fourdgs_ns.rasterization.gsplat_backend import rasterize_gsplat

        return rasterize_gsplat(gaussians, cameras, backgrounds, depth)
    from fourdgs_ns.rasterization.cpu import rasterize_cpu

    return rasterize_cpu(gaussians, cameras, backgrounds, depth)


def _empty_rendering(
    gaussians: GaussiansAtTime, cameras: PinholeCameras, backgrounds: Float[Tensor, "c d"], depth: bool
) -> Rendering:
    """Images of nothing: the background. Tied to the slice so that a loss on them can still be backpropagated."""
    c, h, w = len(cameras), cameras.height, cameras.width
    values = gaussians.tensors()
    nothing = sum(values[name].sum() for name in DIFFERENTIABLE & values.keys())
    means2d = gaussians.means[None, :, :2].expand(c, 0, 2)
    if means2d.requires_grad:
        means2d.retain_grad()
    zeros = gaussians.means.new_zeros(c, h, w, 1)
    return Rendering(
        features=backgrounds[:, None, None, :].expand(c, h, w, -1) + nothing,
        alphas=zeros + nothing,
        depths=zeros + nothing if depth else None,
        ids=gaussians.ids,
        radii=torch.zeros(c, 0, dtype=torch.int32, device=gaussians.means.device),
        means2d=means2d,
    )
