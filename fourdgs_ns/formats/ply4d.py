"""``ply4d``: moving Gaussians as one PLY with named columns in seconds and capture units, for converters of others.

3DGS's columns (x y z at the temporal centre, f_dc, f_rest, opacity, scale, rot) and, per Gaussian:

| column | unit | meaning |
|---|---|---|
| time_center | s from the first frame | when it is most opaque |
| time_sigma | s | weight = g + (1 - g) exp(-(max(abs(dt) - r, 0) / time_sigma)^2 / 2) |
| time_plateau | s | r |
| time_gate | 1 | g |
| velocity_x y z | units / s | linear part of the path: x(t) = x + dt v + dt^2 a + dt^3 b |
| motion2_x y z, motion3_x y z | units / s^2, units / s^3 | a, b |
| rot_rate_0..3 | 1 / s | quaternion(t) = normalize(rot + dt rot_rate) |

A clip without duration counts as one second.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import replacing
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.from_moving import scene_from_moving
from fourdgs_ns.formats.gaussian_ply import sh_degree_of
from fourdgs_ns.formats.header import claimed_clip, known_clip_lines, size_lines, tagged_comments
from fourdgs_ns.formats.ply_table import property_names, read_vertices, stack_columns, write_float_ply
from fourdgs_ns.formats.to_moving import moving_gaussians
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.representation.parts.moving import MovingGaussians
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0, num_harmonics, sh_from_rgb

TIME = ["time_center", "time_sigma", "time_plateau", "time_gate"]
MOTION = [f"{name}_{axis}" for name in ("velocity", "motion2", "motion3") for axis in "xyz"]
RATES = [f"rot_rate_{i}" for i in range(4)]


def column_names(sh_degree: int) -> list[str]:
    """Properties in the order of the file."""
    rest = 3 * (num_harmonics(sh_degree) - 1)
    return [
        *"xyz", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(rest)), "opacity",
        *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4)), *TIME, *MOTION, *RATES,
    ]  # fmt: skip


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write the scene in the capture's world; returns notes for the user.

    Raises:
        UserError: colours come from a decoder, and ``options.approximate`` is false.
    """
    notes: list[str] = []
    moving = moving_gaussians(scene, "ply4d", options.approximate, notes).in_capture(scene.world_from_capture)
    moving = moving.with_sh_degree(options.sh_degree)
    moving = moving.stretched(scene.clip.duration_seconds or 1.0)
    plain = moving.colors.dim() == 2
    colors = sh_from_rgb(moving.colors)[:, None] if plain else moving.colors
    n = len(moving)
    sigma = moving.log_durations.exp() / math.sqrt(2.0)
    blocks = [
        moving.means, colors[:, 0], colors[:, 1:].transpose(1, 2).reshape(n, 3 * (colors.shape[1] - 1)),
        moving.opacities[:, None], moving.log_scales, moving.quats,
        torch.stack([moving.centers, sigma, moving.plateaus, moving.gates], dim=1), moving.motion.reshape(n, 9), moving.omegas,
    ]  # fmt: skip
    comments = [
        f"fourdgs-ns frames {scene.clip.num_frames}",
        f"fourdgs-ns seconds {scene.clip.duration_seconds!r}",
        f"fourdgs-ns first_frame {scene.clip.first_frame}",
        f"fourdgs-ns color {'rgb, not clamped: 0.5 + 0.28209479 f_dc' if plain else 'spherical harmonics'}",
        "unit time_center time_sigma time_plateau: seconds; time_gate: share of the opacity that never fades",
        "unit velocity: per second; motion2: per second squared; motion3: per second cubed; rot_rate: per second",
        "unit scale: natural logarithm; opacity: logit; rot: w x y z at time_center",
    ]
    with replacing(path, options.overwrite) as temporary:
        write_float_ply(temporary, column_names(moving.sh_degree), [b.numpy() for b in blocks], comments)
    return [*notes, f"{n} Gaussians"]


def is_ply4d(names: set[str]) -> bool:
    """Whether a file with these properties is one."""
    return set(TIME) <= names


def read(path: Path) -> TrainedScene:
    """The scene as the method that holds it exactly.

    Raises:
        UserError: another PLY, damaged, or Gaussians that no method holds.
    """
    vertex, comments = read_vertices(path)
    names = set(vertex.dtype.names or ())
    if not is_ply4d(names):
        raise UserError(
            f"{path} has no time_center and time_sigma, so it is no 4D PLY of fourdgs-ns; see fourdgs-ns info {path}"
        )
    degree = sh_degree_of(names)
    missing = [name for name in column_names(degree) if name not in names]
    if missing:
        raise UserError(f"{path} has no property '{missing[0]}'; export it again")

    def columns(wanted: list[str]) -> torch.Tensor:
        return torch.from_numpy(stack_columns(vertex, wanted))

    notes: list[str] = []
    known = tagged_comments(comments)
    clip = claimed_clip(known, None, None, path, notes)
    n, rest = len(vertex), 3 * (num_harmonics(degree) - 1)
    time, dc = columns(TIME), columns([f"f_dc_{i}" for i in range(3)])
    higher = columns([f"f_rest_{i}" for i in range(rest)]).reshape(n, 3, rest // 3).transpose(1, 2)
    colors = torch.cat([dc[:, None], higher], dim=1)
    moving = MovingGaussians(
        ids=torch.arange(n),
        means=columns(list("xyz")),
        motion=columns(MOTION).reshape(n, 3, 3),
        quats=columns([f"rot_{i}" for i in range(4)]),
        omegas=columns(RATES),
        log_scales=columns([f"scale_{i}" for i in range(3)]),
        opacities=columns(["opacity"])[:, 0],
        centers=time[:, 0],
        log_durations=(time[:, 1] * math.sqrt(2.0)).log(),
        plateaus=time[:, 2],
        gates=time[:, 3],
        colors=dc * SH_C0 + 0.5 if known.get("color", "").startswith("rgb") else colors,
    )
    scene = scene_from_moving(moving.stretched(1.0 / (clip.duration_seconds or 1.0)), clip, path)
    scene.notes[:0] = notes
    return scene


def recognizes(path: Path) -> bool:
    """A PLY with this format's properties."""
    return is_ply4d(property_names(path))


def describe(path: Path) -> dict[str, str]:
    vertex, comments = read_vertices(path)
    degree = sh_degree_of(set(vertex.dtype.names or ()))
    lines = {"what": "a 4D PLY of fourdgs-ns", "Gaussians": str(len(vertex)), "SH degree": str(degree)}
    return {**lines, **known_clip_lines(tagged_comments(comments), path), **size_lines(path)}


FORMAT = Format(
    "ply4d", "one PLY with named time columns, for converters", recognizes, describe, ".ply", write, frozenset({"sh_degree"}),
    read=lambda path, options, clip: read(path),
)  # fmt: skip
