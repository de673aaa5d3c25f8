"""``ply``: 3D Gaussians of one instant in the layout of 3DGS, which nearly everything opens.

Binary little-endian floats: x y z, nx ny nz (zeros), f_dc_0..2, f_rest_0..(3 k - 4) with all coefficients of red first, opacity
(logit), scale_0..2 (logarithms), rot_0..3 (w x y z).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import replacing
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import size_lines, tagged_comments
from fourdgs_ns.formats.other_splats import COMPRESSED_PLY, not_read
from fourdgs_ns.formats.ply_table import property_names, read_vertices, stack_columns, write_float_ply
from fourdgs_ns.formats.to_moving import refuse_unless
from fourdgs_ns.formats.trained_scene import TrainedScene, drop_non_finite
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.parts.ellipsoids import slice_axes
from fourdgs_ns.representation.parts.moving import ALWAYS, DECODER_LOSS
from fourdgs_ns.representation.parts.spherical_harmonics import harmonics_to_capture, num_harmonics
from fourdgs_ns.representation.types import Clip

MAX_LOGIT = 13.8
"""Logit of the largest opacity written, 1 - 1e-6."""
REQUIRED = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"]


def column_names(sh_degree: int) -> list[str]:
    """Properties in the order of the file."""
    rest = 3 * (num_harmonics(sh_degree) - 1)
    return [
        *("x", "y", "z", "nx", "ny", "nz"), *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(rest)),
        "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)),
    ]  # fmt: skip


class Slicer:
    """Ordinary 3D Gaussians of any method at any t, in the capture's world."""

    def __init__(self, scene: TrainedScene, options: ExportOptions, format_name: str, notes: list[str]) -> None:
        """Raises UserError when colours come from a decoder and ``options.approximate`` is false."""
        losses = [] if scene.decoder is None else [DECODER_LOSS]
        refuse_unless(options.approximate, losses, format_name, notes)
        self.scene, self.representation = scene, scene.representation
        self.degree = min(self.representation.sh_degree, 3 if options.sh_degree is None else options.sh_degree)

    def blocks(self, t: float) -> list[Tensor]:
        """Columns of the file for what is visible at ``t``, side by side."""
        scene = self.scene
        with torch.no_grad():
            ids = self.representation.active(scene.parameters, t)
            gaussians = self.representation.at(scene.parameters, t, ids)
            harmonics = self.representation.spherical_harmonics(gaussians)[:, : num_harmonics(self.degree)]
        means, (quats, scales) = gaussians.means, slice_axes(gaussians)
        log_scales = scales.log()
        if scene.world_from_capture is not None:
            means, quats, log_scales = scene.world_from_capture.gaussians_to_capture(means, quats, log_scales)
            harmonics = harmonics_to_capture(harmonics, scene.world_from_capture)
        rest = harmonics[:, 1:].transpose(1, 2).reshape(len(ids), 3 * (harmonics.shape[1] - 1))
        opacities = torch.logit(gaussians.opacities).clamp(-MAX_LOGIT, MAX_LOGIT)[:, None]
        return [means, torch.zeros_like(means), harmonics[:, 0], rest, opacities, log_scales, quats]

    def write(self, path: Path, t: float) -> int:
        """Write the Gaussians that are visible at ``t``; returns how many. There may be none."""
        blocks = [block.numpy() for block in self.blocks(t)]
        write_float_ply(path, column_names(self.degree), blocks, [f"fourdgs-ns t {t:.9g}"])
        return len(blocks[0])


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write the instant ``options.time`` in the capture's world; returns notes for the user."""
    notes: list[str] = []
    slicer = Slicer(scene, options, "ply", notes)
    with replacing(path, options.overwrite) as temporary:
        count = slicer.write(temporary, options.time)
        if count == 0:
            raise UserError(f"no Gaussian is visible at t = {options.time:g}; give another time")
    seconds = options.time * scene.clip.duration_seconds
    return [*notes, f"{count} Gaussians are visible at t = {options.time:g}, which is {seconds:.3f} s"]


def read(path: Path) -> TrainedScene:
    """A static model: Gaussians that neither move nor fade, as the method freetime with a clip of one frame.

    Raises:
        UserError: no 3DGS PLY, damaged, or most Gaussians are not finite.
    """
    vertex, _ = read_vertices(path)
    names = set(vertex.dtype.names or ())
    if {"packed_position", "packed_rotation"} <= names:
        raise not_read(path, COMPRESSED_PLY)
    if "trbf_center" in names:
        raise UserError(f"{path} is a SpacetimeGaussian PLY, not a 3DGS PLY; use --from spacetime-ply")
    if "time_center" in names:
        raise UserError(f"{path} is a 4D PLY of fourdgs-ns, not a 3DGS PLY; use --from ply4d")
    missing = [name for name in [*REQUIRED, *(f"rot_{i}" for i in range(4))] if name not in names]
    if missing:
        raise UserError(f"{path} has no property '{missing[0]}', so it is no 3DGS PLY; export it as Gaussians")
    rest = sum(name.startswith("f_rest_") for name in names)
    degrees = [d for d in range(4) if 3 * (num_harmonics(d) - 1) == rest]
    if not degrees or any(f"f_rest_{i}" not in names for i in range(rest)):
        raise UserError(f"{path} has {rest} f_rest properties; a 3DGS PLY has 0, 9, 24 or 45: export it again")
    degree, n = degrees[0], len(vertex)

    def columns(*wanted: str) -> Tensor:
        return torch.from_numpy(stack_columns(vertex, list(wanted)))

    parameters = {
        "means": columns("x", "y", "z"),
        "velocities": torch.zeros(n, 3),
        "scales": columns("scale_0", "scale_1", "scale_2"),
        "quats": columns("rot_0", "rot_1", "rot_2", "rot_3"),
        "opacities": columns("opacity"),
        "features_dc": columns("f_dc_0", "f_dc_1", "f_dc_2"),
        "temporal_centers": torch.full((n, 1), 0.5),
        "log_durations": torch.full((n, 1), math.log(ALWAYS)),
    }
    if degree:
        rest_columns = columns(*(f"f_rest_{i}" for i in range(rest)))
        parameters["features_rest"] = rest_columns.reshape(n, 3, rest // 3).transpose(1, 2).contiguous()
    # An opacity of exactly 1 has an infinite logit.
    parameters["opacities"] = parameters["opacities"].clamp(-MAX_LOGIT, MAX_LOGIT)
    notes: list[str] = []
    parameters = drop_non_finite(parameters, path, notes)
    return TrainedScene(FreeTimeConfig(sh_degree=degree), parameters, Clip(1, 0.0), notes=notes)  # type: ignore[arg-type]


def is_gaussian_ply(names: set[str]) -> bool:
    """Whether a file with these properties is one."""
    return names >= set(REQUIRED) and not names & {"trbf_center", "time_center"}


def sh_degree_of(names: set[str]) -> int:
    """Degree of spherical harmonics of a file with these properties."""
    rest = sum(name.startswith("f_rest_") for name in names)
    return int(np.clip(math.isqrt(rest // 3 + 1) - 1, 0, 3))


def recognizes(path: Path) -> bool:
    """A PLY with this format's properties and no time."""
    return is_gaussian_ply(property_names(path))


def describe(path: Path) -> dict[str, str]:
    vertex, comments = read_vertices(path)
    degree = sh_degree_of(set(vertex.dtype.names or ()))
    lines = {"what": "a 3DGS PLY (one instant)", "Gaussians": str(len(vertex)), "SH degree": str(degree)}
    known = tagged_comments(comments)
    return {**lines, **({"time": f"t = {known['t']}"} if "t" in known else {}), **size_lines(path)}


FORMAT = Format(
    "ply", "Gaussians of one instant (3DGS), for any viewer", recognizes, describe, ".ply", write,
    frozenset({"time", "sh_degree"}), read=lambda path, options, clip: read(path),
)  # fmt: skip
