"""Images of slices: one function, which runs gsplat on a GPU and Numba kernels on the CPU."""

from fourdgs_ns.rasterization.rasterize import rasterize
from fourdgs_ns.rasterization.types import Rendering

__all__ = ["Rendering", "rasterize"]
