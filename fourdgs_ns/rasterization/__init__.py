"""Pictures of slices: one function, drawn by gsplat on a GPU and by Numba kernels on the CPU."""

from fourdgs_ns.rasterization.rasterize import rasterize
from fourdgs_ns.rasterization.types import Rendering

__all__ = ["Rendering", "rasterize"]
