"""Seconds per frame of a PLY sequence: slicing and writing, beside Nerfstudio's writer on the same Gaussians."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import torch

from fourdgs_ns.bench.render import make_scene
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.gaussian_ply import Slicer, column_names
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.types import Clip


@dataclass(frozen=True)
class ExportTimes:
    """Seconds per frame."""

    alive: int
    """Gaussians in a frame."""
    megabytes: float
    """Of one file."""
    ours: float
    """From canonical parameters to the file's last byte, by the wall clock."""
    ours_cpu: float
    """The same in CPU seconds of all threads."""
    stock: float | None
    """Nerfstudio's writer alone, given finished columns, in CPU seconds; None where its exporter cannot be imported."""


def measure(rows: int, share: float, sh_degree: int, frames: int, folder: Path | None = None) -> ExportTimes:
    """Write ``frames`` frames of random freetime Gaussians of which ``share`` are alive at any t, each removed before the next.

    Nerfstudio's writer, which takes long, writes a tenth of one frame's rows; its time is proportional to them.
    """
    config = FreeTimeConfig(sh_degree=sh_degree)  # type: ignore[arg-type]
    _, params, _ = make_scene(config, rows, share, (64, 48), torch.device("cpu"))
    if "features_rest" in params:
        params["features_rest"] = 0.1 * torch.randn_like(params["features_rest"])
    scene = TrainedScene(config, params, Clip(300, 10.0))
    slicer = Slicer(scene, ExportOptions(), "ply-sequence", [])
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file = Path(place) / "frame.ply"
        alive, size = slicer.write(file, 0.0), file.stat().st_size  # warms up
        wall, cpu = perf_counter(), process_time()
        for t in np.linspace(0.0, 1.0, frames):
            file.unlink()
            slicer.write(file, float(t))
        wall, cpu = perf_counter() - wall, process_time() - cpu
        return ExportTimes(alive, size / 1e6, wall / frames, cpu / frames, _stock(slicer, sh_degree, file))


def _stock(slicer: Slicer, sh_degree: int, file: Path) -> float | None:
    try:
        from nerfstudio.scripts.exporter import ExportGaussianSplat
    except (ImportError, OSError):  # open3d wants system libraries
        return None
    table = torch.cat(slicer.blocks(0.0), dim=1).numpy()
    part = table[: max(len(table) // 10, 1)]
    columns = OrderedDict((name, np.ascontiguousarray(part[:, i])) for i, name in enumerate(column_names(sh_degree)))
    start = process_time()
    ExportGaussianSplat.write_ply(str(file), len(part), columns)
    return (process_time() - start) * len(table) / len(part)
