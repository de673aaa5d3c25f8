"""``4dgs``: the container of the package ``fourdgs`` (4dgs.dev), which is optional.

Its Gaussians move in straight lines, keep their rotation and fade as exp(-(dt / sigma)^2 / 2): FreeTime's, exactly, before its
own error-bounded rounding. Curved or turning Gaussians are cut into pieces of the clip, each with a validity window, a chord as
its path and the rotation of its middle; pieces are as many as the stated errors ask for. Time is in seconds; SH coefficients are
bytes over [-4, 4]; colours are those that are displayed.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes, replacing
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import size_lines
from fourdgs_ns.formats.to_moving import moving_gaussians, plain_windows, refuse_unless
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.representation.parts.moving import ALWAYS, Loss, MovingGaussians
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0, sh_from_rgb
from fourdgs_ns.representation.types import ALPHA_THRESHOLD

PATH_ERROR = 0.1
"""Largest distance of a piece from the curve, in the smallest standard deviation of the Gaussian."""
ANGLE_ERROR = 0.05
"""Largest angle in radians by which a piece's rotation is off."""
MAX_LEVEL = 7
"""A clip is cut into at most 2^7 pieces: windows must be few, because they also cut the file's chunks."""
SH_RANGE = 4.0


def load_fourdgs() -> ModuleType:
    """The optional package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import fourdgs
    except ImportError as error:
        raise UserError(f"--format 4dgs needs the package fourdgs ({error}); type: pip install fourdgs") from None
    return fourdgs


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write the scene in the capture's world; returns notes for the user.

    Raises:
        UserError: the package is missing, or the model's windows or decoder do not fit and ``options.approximate`` is false.
    """
    fourdgs = load_fourdgs()
    notes: list[str] = []
    losses: list[Loss] = []
    moving = moving_gaussians(scene, "4dgs", options.approximate, notes)
    moving = plain_windows(moving, losses)
    refuse_unless(options.approximate, losses, "4dgs", notes)
    moving = moving.in_capture(scene.world_from_capture).with_sh_degree(options.sh_degree)
    pieces, starts, stops, worst = straight_pieces(moving)
    if len(pieces) > len(moving) or worst > 0:
        notes.append(
            f"{len(moving)} curved paths became {len(pieces)} straight pieces; largest deviation {worst:.2g} capture units"
        )
    seconds = scene.clip.duration_seconds or 1.0
    pieces = pieces.stretched(seconds)
    # The last frame must lie inside the last window, whose end is excluded.
    ends = np.where(stops.numpy() >= 1.0, np.inf, stops.numpy() * seconds)
    begins = np.where(starts.numpy() <= 0.0, 0.0, starts.numpy() * seconds)
    harmonics = sh_from_rgb(pieces.colors)[:, None] if pieces.colors.dim() == 2 else pieces.colors
    base = pieces.colors if pieces.colors.dim() == 2 else harmonics[:, 0] * SH_C0 + 0.5
    outside = int(((base < -0.01) | (base > 1.01)).any(1).sum())
    if outside:
        notes.append(f"{outside} Gaussians have base colours outside [0, 1], which the format clamps")
    colors = torch.cat([base, torch.sigmoid(pieces.opacities)[:, None]], dim=1).clamp(0, 1)
    sh = None
    if pieces.sh_degree:
        outside = int((harmonics[:, 1:].abs() > SH_RANGE).any(2).any(1).sum())
        if outside:
            notes.append(f"{outside} Gaussians have SH coefficients outside [-4, 4], which the format clamps")
        scaled = ((harmonics + SH_RANGE) * (255 / (2 * SH_RANGE))).round().clamp(0, 255)
        # Per channel all higher coefficients: the format's bands start at degree 1.
        sh = scaled[:, 1:].transpose(1, 2).reshape(len(pieces), -1).to(torch.uint8).numpy()
    sigma = (pieces.log_durations.exp() / math.sqrt(2.0)).numpy()
    sigma = np.where(sigma > 0.1 * ALWAYS * seconds, np.inf, sigma)
    gaussians = fourdgs.GaussianSet(
        positions=pieces.means.numpy(),
        scales=pieces.log_scales.exp().numpy(),
        rotations=nn.functional.normalize(pieces.quats, dim=-1)[:, [1, 2, 3, 0]].numpy(),
        colors=colors.numpy(),
        motions=pieces.motion[:, 0].numpy(),
        mu_t=pieces.centers.numpy(),
        sigma_t=sigma,
        win_lo=begins,
        win_hi=ends,
        sh=sh,
        sh_degree=pieces.sh_degree,
    )
    metadata = {"fps": f"{scene.fps():g}", "frames": str(scene.clip.num_frames), "method": scene.method}
    profile = "coarse" if options.compressed else "fine"
    settings = fourdgs.WriteOptions(profile=profile, cutoff=ALPHA_THRESHOLD, library="fourdgs-ns", metadata=metadata)
    with replacing(path, options.overwrite) as temporary:
        try:
            fourdgs.write(str(temporary), gaussians, seconds, options=settings)
        except (fourdgs.FourdgsError, ValueError) as error:
            raise UserError(f"the package fourdgs refused the scene ({error}); choose another --format") from error
    return [*notes, f"{len(pieces)} Gaussians, the format's profile '{profile}'"]


def straight_pieces(moving: MovingGaussians) -> tuple[MovingGaussians, Tensor, Tensor, float]:
    """Gaussians that move in straight lines and do not turn, the windows [start, stop) in t in which each counts, and the largest
    distance of a piece from its curve. Windows begin before and end after the clip where their Gaussian does."""
    m2, m3 = moving.motion[:, 1], moving.motion[:, 2]
    reach = moving.reach()
    low = (moving.centers - reach).clamp(0, 1)
    high = torch.maximum((moving.centers + reach).clamp(0, 1), low)
    # |x''| <= 2 |m2| + 6 |m3| |dt|; a chord over h deviates by at most h^2 / 8 of it.
    farthest = torch.maximum((low - moving.centers).abs(), (high - moving.centers).abs())
    bend = 2 * m2.norm(dim=1) + 6 * m3.norm(dim=1) * farthest
    allowed = PATH_ERROR * moving.log_scales.min(dim=1).values.exp()
    pieces = (bend / (8 * allowed)).sqrt()
    # The quaternion's direction turns by at most |omega| / |q| per t, the rotation by twice that; the middle is off by half a
    # piece.
    turns = moving.omegas.norm(dim=1) / _shortest_quaternion(moving, low, high).clamp_min(1e-3)
    pieces = torch.maximum(pieces, turns / ANGLE_ERROR)
    level = pieces.clamp(1, 2**MAX_LEVEL).log2().ceil().long()
    rows, starts, stops = [], [], []
    for depth in range(int(level.max()) + 1 if len(level) else 0):
        mine = torch.nonzero(level == depth).squeeze(1)
        width = 2.0**-depth
        for k in range(2**depth):
            a, b = k * width, (k + 1) * width
            alive = mine[(low[mine] <= b) & (high[mine] >= a)]
            rows.append(alive)
            starts.append(torch.full((len(alive),), a))
            stops.append(torch.full((len(alive),), b))
    ids, start, stop = torch.cat(rows), torch.cat(starts), torch.cat(stops)
    part = moving.select(ids)
    straight = not bool(moving.motion[:, 1:].any()) and not bool(moving.omegas.any())
    if straight:
        return part, torch.zeros_like(start), torch.ones_like(stop), 0.0
    first, last, middle = (_at(part, t) for t in (start, stop, 0.5 * (start + stop)))
    velocity = (last[0] - first[0]) / (stop - start)[:, None]
    curved = part.motion[:, 1:].flatten(1).any(1)[:, None]
    velocity = torch.where(curved, velocity, part.motion[:, 0])
    means = torch.where(curved, first[0] + velocity * (part.centers - start)[:, None], part.means)
    deviation = (stop - start) ** 2 / 8 * bend[ids]
    motion = torch.zeros_like(part.motion)
    motion[:, 0] = velocity
    changed = {"means": means, "motion": motion, "quats": middle[1], "omegas": torch.zeros_like(part.omegas)}
    return MovingGaussians(**{**vars(part), **changed}), start, stop, float(deviation.max())


def _at(part: MovingGaussians, t: Tensor) -> tuple[Tensor, Tensor]:
    """Means and unit quaternions of each Gaussian at its own ``t``."""
    dt = (t - part.centers)[:, None]
    m1, m2, m3 = part.motion.unbind(1)
    return part.means + dt * (m1 + dt * (m2 + dt * m3)), nn.functional.normalize(part.quats + dt * part.omegas, dim=-1)


def _shortest_quaternion(moving: MovingGaussians, low: Tensor, high: Tensor) -> Tensor:
    """Smallest norm of quat + dt omega while the Gaussian is visible."""
    squared = (moving.omegas**2).sum(1).clamp_min(1e-12)
    nearest = moving.centers - (moving.quats * moving.omegas).sum(1) / squared
    dt = (torch.minimum(torch.maximum(nearest, low), high) - moving.centers)[:, None]
    return (moving.quats + dt * moving.omegas).norm(dim=1)


def read(path: Path) -> Any:
    """The package's own Scene (``header``, ``gaussians``, ``state_at``), read with its bounded reader.

    Raises:
        UserError: the package is missing, or the file is damaged.
    """
    fourdgs = load_fourdgs()
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file; check the path")
    try:
        return fourdgs.read(str(path), recover_truncated=False)
    except (fourdgs.FourdgsError, ValueError, OSError) as error:
        raise UserError(f"{path} is no readable .4dgs file ({error}); copy or export it again") from error


def recognizes(path: Path) -> bool:
    """It begins with the container's magic bytes."""
    return first_bytes(path)[:6] == b"\x894DGS1"


def describe(path: Path) -> dict[str, str]:
    try:
        scene = read(path)
    except UserError as error:
        if "pip install" not in str(error):
            raise
        return {"what": "a .4dgs file", "note": "to see more: pip install fourdgs", **size_lines(path)}
    lines = {
        "what": "a .4dgs file", "Gaussians": str(scene.gaussians.count), "SH degree": str(scene.header.sh_degree),
        "duration": f"{scene.duration_sec:g} s",
    }  # fmt: skip
    attributes: dict[str, Any] = dict(scene.header.attributes or {})
    lines |= {key: str(attributes[key]) for key in ("method", "frames", "fps") if key in attributes}
    return {**lines, **size_lines(path)}


FORMAT = Format(
    "4dgs",
    "of 4dgs.dev (pip install fourdgs)",
    recognizes,
    describe,
    ".4dgs",
    write,
    frozenset({"sh_degree", "compressed"}),
)
