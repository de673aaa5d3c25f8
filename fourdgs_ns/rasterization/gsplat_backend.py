"""The GPU backend: gsplat, with all that depends on its version or can go wrong while loading it."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.pinhole_cameras import PinholeCameras
from fourdgs_ns.kernels.blending import EPS_2D, FAR
from fourdgs_ns.rasterization.types import Rendering
from fourdgs_ns.representation.types import GaussiansAtTime


def _unusable(found: str) -> UserError:
    return UserError(
        f"gsplat cannot rasterize on the GPU because {found}: install the CUDA toolkit of version {torch.version.cuda} "
        "(the one torch was built for) so that `nvcc` is on the PATH, delete the folder `gsplat_cuda` under "
        "~/.cache/torch_extensions if an earlier build was interrupted, and run the command again, with "
        "TORCH_CUDA_ARCH_LIST set to your GPU's compute capability (for example 8.9) and MAX_JOBS=2 if the build fails."
    )


@cache
def load_gsplat(device: torch.device) -> ModuleType:
    """Import gsplat and use its kernels once on ``device``: the first time on a machine that compiles them (minutes).

    Raises:
        UserError: There is no CUDA toolkit, or the kernels could not be built, loaded or run.
    """
    try:
        import gsplat

        probe = torch.ones(1, 4, device=device)
        covariance, _ = gsplat.quat_scale_to_covar_preci(probe, probe[:, :3].contiguous(), compute_preci=False)
        covariance.sum().item()  # waits, so that an error of the kernel is raised here
    except AttributeError as error:  # gsplat's module of kernels is None
        raise _unusable("no CUDA toolkit was found to build its kernels with") from error
    except (OSError, ImportError, RuntimeError, IndexError) as error:
        # torch's extension builder raises IndexError where it finds no GPU to build for. The compiler's output can be
        # pages long; its first line says what failed.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _unusable(f"its CUDA kernels could not be built or loaded ({lines[0]})") from error
    return gsplat


def rasterize_gsplat(
    gaussians: GaussiansAtTime, cameras: PinholeCameras, backgrounds: Float[Tensor, "c d"], depth: bool
) -> Rendering:
    """Rasterize on the GPU; see :func:`fourdgs_ns.rasterization.rasterize`, which checks the arguments.

    The parts of ``gsplat.rasterization`` are called one by one: around them it copies opacities, inverts camera matrices for
    colours and collects what nobody here reads, which takes as long as a third of the rasterization. The lists of Gaussians per
    tile are our own and shorter (see ``kernels.tile_lists``).
    """
    device, count = gaussians.means.device, len(cameras)
    gsplat = load_gsplat(device)
    from fourdgs_ns.kernels.tile_lists import tile_lists  # Triton is at hand where there is a GPU

    width, height = cameras.width, cameras.height
    radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        gaussians.means,
        None if gaussians.covariances is None else _triangles(gaussians.covariances),
        gaussians.quats,
        gaussians.scales,
        cameras.camera_from_world.to(device, torch.float32).contiguous(),
        cameras.intrinsics.to(device, torch.float32).contiguous(),
        width,
        height,
        eps2d=EPS_2D,
        near_plane=cameras.near,
        far_plane=FAR,
        packed=False,
    )
    colors = gaussians.features
    if gaussians.for_cameras:
        colors = colors.transpose(0, 1)
    elif colors.dim() == 3:
        directions = gaussians.means - cameras.centers()[:, None]
        degree = round(colors.shape[1] ** 0.5) - 1
        colors = gsplat.spherical_harmonics(degree, directions, colors.expand(count, *colors.shape))
        colors = (colors + 0.5).clamp_min(0.0)
    else:
        colors = colors.expand(count, *colors.shape)
    if depth:
        # Depth lies over 0, not over the background.
        colors = torch.cat([colors, depths[..., None]], dim=-1)
        backgrounds = torch.cat([backgrounds, backgrounds.new_zeros(count, 1)], dim=-1)
    if radii.dim() == 3:  # from gsplat 1.5 on
        radii = square_radii(radii, means2d, conics, width, height)
    side, begins, order = tile_lists(means2d, conics, depths, gaussians.opacities, radii, width, height)
    blended, alphas = gsplat.rasterize_to_pixels(
        means2d,
        conics,
        colors,
        gaussians.opacities.expand(count, -1),
        width,
        height,
        side,
        begins,
        order,
        backgrounds=backgrounds,
    )
    if means2d.requires_grad:
        means2d.retain_grad()
    channels = gaussians.features.shape[-1]
    return Rendering(
        features=blended[..., :channels] if depth else blended,
        alphas=alphas,
        depths=blended[..., channels:] / alphas.clamp_min(1e-10) if depth else None,
        ids=gaussians.ids,
        radii=radii,
        means2d=means2d,
    )


@torch.no_grad()
def square_radii(
    radii: Int[Tensor, "c m 2"],
    means2d: Float[Tensor, "c m 2"],
    conics: Float[Tensor, "c m 3"],
    width: int,
    height: int,
) -> Int[Tensor, "c m"]:
    """Radii as gsplat 1.4 defines them, three standard deviations of the longest axis, from those of gsplat 1.5, 3.33 along each
    axis of the image: whichever is installed cuts Gaussians off at the same tiles."""
    a, b, c = conics.unbind(-1)
    determinant = 1 / (a * c - b * b)
    mean = 0.5 * (a + c) * determinant
    radius = torch.ceil(3 * torch.sqrt(mean + torch.sqrt(torch.clamp(mean * mean - determinant, min=0.01))))
    low, high = means2d - radius[..., None], means2d + radius[..., None]
    inside = ((high > 0) & (low < means2d.new_tensor([width, height]))).all(-1)
    return torch.where(inside & (radii > 0).all(-1), radius, 0).int()


def _triangles(matrices: Float[Tensor, "m 3 3"]) -> Float[Tensor, "m 6"]:
    """Upper triangles. Indexing would sort its way back to the matrices in the backward pass."""
    return torch.cat([matrices[:, 0], matrices[:, 1, 1:], matrices[:, 2, 2:]], dim=1)
