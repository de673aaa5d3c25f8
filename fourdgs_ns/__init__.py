"""Dynamic Gaussian splatting from synchronised multi-view video, as a Nerfstudio plugin."""

__version__ = "0.1.0"
