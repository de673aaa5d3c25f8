"""Checkpoints of the published 4D Gaussian splatting (fudan-zvg/4d-gaussian-splatting): ``chkpnt30000.pth`` and the like.

The file is ``(values, iteration)`` with 19 values for four dimensions and 12 for three. It says neither the time window, nor the
degrees of its harmonics, nor which of two orders its quaternions have; all of it is told from the shapes, asked for, or guessed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.foreign_pickle import is_dense, load_foreign
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import note_lines, size_lines
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.representation.fourd import MAX_TEMPORAL_SCALE, FourDConfig
from fourdgs_ns.representation.parts.rotations4d import other_convention, quats_of_static
from fourdgs_ns.representation.parts.velocity_form import QuaternionForm, quaternion_form, velocity_form
from fourdgs_ns.representation.types import Clip, finite_rows

# Position of each value in the tuple and the shape of one row.
COMMON = {
    "xyz": (1, (3,)),
    "features_dc": (2, (1, 3)),
    "scaling": (4, (3,)),
    "rotation": (5, (4,)),
    "opacity": (6, (1,)),
}
TEMPORAL = {"t": (13, (1,)), "scaling_t": (14, (1,))}
WINDOWS = (10.0, 1.0)
"""Usual time windows: N3V in seconds, D-NeRF."""
MOST_DEGREES = 16
"""Beyond any degree of harmonics: a file that claims more is damaged."""
AMBIGUOUS = 1.5
"""Under which ratio of the motions under both conventions the choice is the user's."""


def read_fudan(path: Path, options: ImportOptions, clip: Clip | None) -> TrainedScene:
    """Read a checkpoint as a model of ``4dgs-4dsh``.

    Args:
        clip: of the capture that the model was trained on, if it is at hand; it says how many frames the window holds and, for
            times in seconds, that the last of them lies before its end.

    Raises:
        UserError: the file is no such checkpoint, lacks something, or needs an option.
    """
    values, dimensions = _values(path, options)
    names = COMMON | (TEMPORAL if dimensions == 4 else {})
    raw = {name: _tensor(path, values, index, name, shape) for name, (index, shape) in names.items()}
    harmonics, degree, temporal_degree = _harmonics(path, values, raw["features_dc"], dimensions)
    turned = dimensions == 4 and bool(_whole(path, values, 16, "rot_4d", 1))
    if turned:
        raw["rotation_r"] = _tensor(path, values, 15, "rotation_r", (4,))
    counts = {name: len(value) for name, value in {**raw, "features_rest": harmonics}.items()}
    odd = next((name for name, count in counts.items() if count != counts["xyz"]), None)
    if odd is not None:
        raise UserError(f"{path} holds {counts['xyz']} positions but {counts[odd]} rows of {odd}; the file is damaged")
    notes: list[str] = []
    raw["harmonics"] = harmonics
    keep = finite_rows(raw) & (raw["rotation"].norm(dim=-1) > 0)
    if turned:
        keep &= raw["rotation_r"].norm(dim=-1) > 0
    if not bool(keep.any()):
        raise UserError(f"{path} holds no Gaussian whose values are all finite; use a checkpoint of another iteration")
    if not bool(keep.all()):
        notes.append(f"{int((~keep).sum())} of {len(keep)} Gaussians are not finite and were left out")
    raw = {name: value[keep] for name, value in raw.items()}

    if dimensions == 3:
        clip, period = clip or Clip(1, 0.0), 1.0
    else:
        window = _window(path, raw["t"], options.duration, notes)
        clip, span = _span(clip, window, 300 if options.frames is None else options.frames)
        period = window / span
    config = FourDConfig(sh_degree=degree, temporal_degree=temporal_degree, period=period)  # type: ignore[arg-type]
    representation = config.setup()
    if dimensions == 3:
        rows = representation.static_rows(raw["xyz"], raw["rotation"], raw["scaling"])
    else:
        shape = _shape(path, raw, turned, options, notes)
        rows = _rows(raw, shape, options.start, span)
    rows["opacities"] = raw["opacity"]
    k = (degree + 1) ** 2
    rows["features_dc"] = raw["harmonics"][:, 0]
    if degree:
        rows["features_rest"] = raw["harmonics"][:, 1:k]
    if temporal_degree:
        rows["features_time"] = raw["harmonics"][:, k:].reshape(-1, temporal_degree, k, 3)
    if dimensions == 4 and isinstance(values[17], Tensor) and values[17].numel() > 0:
        notes.append("its environment map was left out: what lies behind the Gaussians is rendered black")
    rows = {name: value.contiguous().float() for name, value in rows.items()}
    return TrainedScene(config, rows, clip, notes=notes)


def _values(path: Path, options: ImportOptions) -> tuple[tuple[Any, ...], int]:
    """The tuple of values, and how many dimensions its Gaussians have."""
    content = load_foreign(path)
    if isinstance(content, (tuple, list)) and len(content) == 2 and isinstance(content[0], (tuple, list)):
        values = tuple(content[0])
        if len(values) == 12 and options.dimensions == 4:
            raise UserError(
                f"{path} holds Gaussians of three dimensions without time (12 values: 3DGS, or gaussian_dim 3); add "
                "--dimensions 3 to read it as a scene that stands still"
            )
        if len(values) == 19 and options.dimensions == 3:
            raise UserError(f"{path} holds Gaussians of four dimensions (19 values); leave --dimensions 3 away")
        if len(values) in (12, 19):
            return values, 4 if len(values) == 19 else 3
        found = f"a tuple of {len(values)} values"
    else:
        found = f"a {type(content).__name__}"
    raise UserError(
        f"{path} holds {found} instead of the 19 values of a 4D Gaussian splatting checkpoint; give a file named chkpnt*.pth"
    )


def _tensor(path: Path, values: tuple[Any, ...], index: int, name: str, shape: tuple[int, ...]) -> Tensor:
    value = values[index]
    if not isinstance(value, Tensor):
        raise UserError(f"{path}: value {index} should be the tensor {name} but is a {type(value).__name__}")
    if value.shape[1:] != shape or value.dim() != len(shape) + 1 or not is_dense(value):
        wanted = " x ".join(("N", *map(str, shape)))
        raise UserError(f"{path}: {name} has shape {tuple(value.shape)} ({value.dtype}), expected {wanted} numbers")
    return value.detach().float()


def _whole(path: Path, values: tuple[Any, ...], index: int, name: str, most: int) -> int:
    """A whole number from 0 to ``most``, or a truth value."""
    value = values[index]
    if not isinstance(value, (int, np.integer, np.bool_)) or not 0 <= int(value) <= most:
        raise UserError(f"{path}: {name} (value {index}) is {str(value)[:40]}, not a whole number from 0 to {most}")
    return int(value)


def _harmonics(
    path: Path, values: tuple[Any, ...], first: Float[Tensor, "n 1 3"], dimensions: int
) -> tuple[Float[Tensor, "n k 3"], int, int]:
    """All coefficients that are in use, with the degrees of view and time."""
    rest = values[3]
    if (
        not isinstance(rest, Tensor)
        or not is_dense(rest)
        or rest.dim() != 3
        or (len(rest), rest.shape[2]) != (len(first), 3)
    ):
        found = tuple(rest.shape) if isinstance(rest, Tensor) else type(rest).__name__
        raise UserError(f"{path}: features_rest is {found}, expected N x 47 x 3 numbers (15 with force_sh_3d)")
    harmonics = torch.cat([first, rest.detach().float()], dim=1)
    count, blocks = harmonics.shape[1], 1
    for degree in (3, 2, 1, 0):
        k = (degree + 1) ** 2
        # 33 and 6: the table that is used without temporal harmonics; only the first block of it is.
        if count == k or (dimensions == 4 and (count, degree) in ((33, 3), (6, 1))):
            break
        if dimensions == 4 and count in (2 * k, 3 * k):
            blocks = count // k
            break
    else:
        raise UserError(
            f"{path}: {count} harmonics per Gaussian fit no degree; expected 48, or 16 with force_sh_3d, or 32 or 33"
        )
    harmonics = harmonics[:, : blocks * k].clone()
    used = min(_whole(path, values, 0, "active_sh_degree", MOST_DEGREES), degree)
    used_in_time = (
        min(_whole(path, values, 18, "active_sh_degree_t", MOST_DEGREES), blocks - 1) if dimensions == 4 else 0
    )
    active = torch.zeros(blocks, k, dtype=torch.bool)
    active[: used_in_time + 1, : (used + 1) ** 2] = True
    harmonics[:, ~active.flatten()] = 0.0
    while blocks > 1 and not bool(harmonics[:, (blocks - 1) * k :].any()):
        blocks -= 1
    return harmonics[:, : blocks * k], degree, blocks - 1


def _window(path: Path, times: Float[Tensor, "n 1"], duration: float | None, notes: list[str]) -> float:
    """Length of the time window: what was said, else the usual one that temporal centres (10 % beyond it on either side) fill."""
    if duration is not None:
        if not duration > 0 or not math.isfinite(duration):
            raise UserError(f"--duration is {duration:g}; give the length of the time window, for instance 10")
        return duration
    low, high = (float(torch.quantile(times.double()[:: max(len(times) // 1_000_000, 1)], q)) for q in (0.01, 0.99))
    for window in WINDOWS:
        if 0.5 * window < high <= 1.15 * window and -0.15 * window <= low < 0.5 * window:
            notes.append(f"times fill 0 to {window:g}: taken as the window; say --duration if it was another")
            return window
    raise UserError(
        f"{path} does not say its time window and its times run from {low:.3g} to {high:.3g}; add --duration with the length of "
        "time_duration in the YAML file of its training, and --start with its begin"
    )


def _span(clip: Clip | None, window: float, frames: int) -> tuple[Clip, float]:
    """The clip, and the time from its first to its last frame in the file's units.

    Times in seconds end one frame before the window does; other times run over the whole window.
    """
    if clip is None:
        if frames < 2:
            raise UserError(f"--frames is {frames}; give the number of frames of the clip, at least 2")
        seconds = window * (frames - 1) / frames if window > 1 else window
        return Clip(frames, seconds), seconds
    in_seconds = abs(clip.duration_seconds - window) <= 1.5 * clip.frame_interval * window
    return clip, clip.duration_seconds if in_seconds and clip.duration_seconds > 0 else window


def _shape(
    path: Path, raw: dict[str, Tensor], turned: bool, options: ImportOptions, notes: list[str]
) -> QuaternionForm:
    """Shapes in the file's units of time."""
    if not turned:
        both = quats_of_static(functional.normalize(raw["rotation"], dim=-1))
        # Without a rotation in time the file's fourth number is the logarithm of a variance.
        return QuaternionForm(both, both, torch.exp(torch.cat([raw["scaling"], raw["scaling_t"] / 2], dim=-1)))
    deviations = torch.exp(torch.cat([raw["scaling"], raw["scaling_t"]], dim=-1))
    left, right = (functional.normalize(raw[name], dim=-1) for name in ("rotation", "rotation_r"))
    new = QuaternionForm(left, right, deviations)
    old = QuaternionForm(*other_convention(left, right), deviations)
    if options.convention != "auto":
        return new if options.convention == "new" else old
    motions = [_motion(shape, raw["opacity"]) for shape in (new, old)]
    if max(motions) < AMBIGUOUS * min(motions) and max(motions) > 1e-6:
        raise UserError(
            f"{path} does not say in which order its quaternions hold space and time, and as much moves under either; add "
            "--convention new (trained with code since September 2024) or --convention old, and look at the result"
        )
    chosen = "new" if motions[0] <= motions[1] else "old"
    notes.append(
        f"quaternions are read in the {chosen} order, under which less moves; say --convention if it is the other"
    )
    return new if chosen == "new" else old


def _motion(shape: QuaternionForm, opacity: Float[Tensor, "n 1"]) -> float:
    """Median speed, weighted by opacity: in the wrong order time is mixed with space, and everything moves."""
    speeds, order = velocity_form(shape).velocities.norm(dim=-1).sort()
    weights = torch.sigmoid(opacity[order, 0]).double().cumsum(0)
    return float(speeds[torch.searchsorted(weights, weights[-1:] / 2).clamp_max(len(speeds) - 1)])


def _rows(raw: dict[str, Tensor], shape: QuaternionForm, start: float, span: float) -> dict[str, Tensor]:
    """Geometry with time from 0 at the first frame to 1 at the last one."""
    bounded = bool((shape.deviations[:, 3].log() <= MAX_TEMPORAL_SCALE).all())
    if span != 1.0 or not bounded:
        # Another unit of time shears four-dimensional axes: exact through the velocity form.
        form = velocity_form(QuaternionForm(*(value.double() for value in vars(shape).values())))
        form.velocities *= span
        # Beyond a hundred clips nothing changes over the clip but the rounding.
        longest = math.exp(MAX_TEMPORAL_SCALE - 0.4) / (1 + form.velocities.square().sum(-1, keepdim=True)).sqrt()
        form.durations = (form.durations / span).minimum(longest)
        shape = quaternion_form(form)
    return {
        "means": raw["xyz"],
        "temporal_centers": (raw["t"] - start) / span,
        "left_quats": shape.left,
        "right_quats": shape.right,
        "scales": shape.deviations[:, :3].clamp_min(1e-10).log(),
        "temporal_scales": shape.deviations[:, 3:].log(),
    }


def describe(path: Path) -> dict[str, str]:
    scene = read_fudan(path, ImportOptions(), None)
    representation = scene.representation
    return {
        "what": "a checkpoint of the published 4D Gaussian splatting (fudan)", "method": scene.method,
        "variant": representation.variant, "Gaussians": str(scene.num_gaussians),
        "SH degree": str(representation.sh_degree), "frames": "not stored", "duration": "not stored", **size_lines(path),
        **note_lines(scene.notes),
    }  # fmt: skip


FORMAT = Format(
    "fudan", "checkpoints (.pth) of the published 4D Gaussian splatting and its descendants",
    lambda path: path.suffix == ".pth", describe, read=read_fudan,
)  # fmt: skip
