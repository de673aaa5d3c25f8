"""Point clouds over time as PLY files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from plyfile import PlyData, PlyElement

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import replacing
from fourdgs_ns.formats.ply_table import read_vertices
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0

GRAY = 128
TIME_TOLERANCE = 1e-4
DOUBLE_FROM = 1e-5
"""Share of a cloud's size by which single precision may move its points."""


VELOCITY = ("velocity_x", "velocity_y", "velocity_z")


@dataclass(frozen=True, eq=False)
class PlyPoints:
    """What a point cloud file says; None for what it does not."""

    positions: Float[np.ndarray, "n 3"]
    """float32, the file's world."""
    colors: UInt8[np.ndarray, "n 3"]
    """RGB."""
    times: Float[np.ndarray, " n"] | None = None
    """t in [0, 1], float32."""
    velocities: Float[np.ndarray, "n 3"] | None = None
    """World units per unit of t, float32."""
    static: Bool[np.ndarray, " n"] | None = None
    """Recognised as not moving."""


def read_points_ply(path: Path, notes: list[str] | None = None) -> PlyPoints:
    """The points of a PLY file.

    Colours are ``red green blue`` or ``r g b`` (integers, or floats in [0, 1]), or ``f_dc_0..2`` of a Gaussian cloud;
    grey when there are none. Times are ``time`` or ``t``, velocities ``velocity_x`` and so on (world units per unit of
    t), ``static`` is not 0 for static points. Points with a value that is not finite are left out; a sentence about
    that, and about missing colours, is appended to ``notes``.

    Raises UserError for what is no PLY file, is damaged, or has no points or times outside [0, 1].
    """
    vertex, _ = read_vertices(path, "put the point cloud there, or start with --initial-points triangulate")
    names = vertex.dtype.names or ()
    missing = [name for name in "xyz" if name not in names]
    if missing:
        raise UserError(f"{path} has vertices without {', '.join(missing)}; export it as a point cloud with x, y, z")
    if len(vertex) == 0:
        raise UserError(f"{path} holds no points; export it again, or start with --initial-points triangulate")
    notes = [] if notes is None else notes
    positions = np.stack([vertex[name] for name in "xyz"], axis=1).astype(np.float64)
    colors, finite_colors = _colors(vertex, path, notes)
    time_name = next((name for name in ("time", "t") if name in names), None)
    times = None if time_name is None else np.asarray(vertex[time_name], np.float64)
    moving = all(name in names for name in VELOCITY)
    velocities = np.stack([vertex[name] for name in VELOCITY], axis=1).astype(np.float64) if moving else None
    # Checked as float32, which training takes: 1e39 is finite before the conversion only.
    with np.errstate(over="ignore"):
        finite = np.isfinite(positions.astype(np.float32)).all(axis=1) & finite_colors
        if velocities is not None:
            finite &= np.isfinite(velocities.astype(np.float32)).all(axis=1)
    if times is not None:
        finite &= np.isfinite(times)
    if not finite.any():
        raise UserError(f"{path} holds {len(vertex)} points, none of them with finite numbers; export it again")
    if not finite.all():
        notes.append(f"{path}: {np.count_nonzero(~finite)} of {len(finite)} points are not finite and were left out")
    if times is not None:
        times = times[finite]
        if times.min() < -TIME_TOLERANCE or times.max() > 1 + TIME_TOLERANCE:
            raise UserError(
                f"{path} has times from {times.min():g} to {times.max():g}; write them as t in [0, 1] over the clip "
                "(frame number / (number of frames - 1))"
            )
        times = np.clip(times, 0.0, 1.0).astype(np.float32)
    return PlyPoints(
        positions[finite],
        colors[finite],
        times,
        None if velocities is None else velocities[finite].astype(np.float32),
        np.asarray(vertex["static"] != 0)[finite] if "static" in names else None,
    )


def write_points_ply(
    path: Path,
    positions: Float[np.ndarray, "n 3"],
    colors: UInt8[np.ndarray, "n 3"],
    times: Float[np.ndarray, " n"] | None = None,
    velocities: Float[np.ndarray, "n 3"] | None = None,
    static: Bool[np.ndarray, " n"] | None = None,
) -> None:
    """Write a binary little-endian PLY with x y z, uchar red green blue and, when given, float time, float velocity_x
    velocity_y velocity_z and uchar static. x y z are float, or double where float would move points far from the origin.

    Raises UserError when it cannot be written.
    """
    size = float(np.ptp(positions, axis=0).max()) if len(positions) else 0.0
    far = size > 0 and np.spacing(np.float32(np.abs(positions).max())) > DOUBLE_FROM * size
    fields = [*((axis, "<f8" if far else "<f4") for axis in "xyz"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    if times is not None:
        fields.append(("time", "<f4"))
    if velocities is not None:
        fields += [(name, "<f4") for name in VELOCITY]
    if static is not None:
        fields.append(("static", "u1"))
    vertex = np.empty(len(positions), fields)
    for i, name in enumerate("xyz"):
        vertex[name] = positions[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        vertex[name] = colors[:, i]
    if times is not None:
        vertex["time"] = times
    if velocities is not None:
        for i, name in enumerate(VELOCITY):
            vertex[name] = velocities[:, i]
    if static is not None:
        vertex["static"] = static
    with replacing(path) as part:
        PlyData([PlyElement.describe(vertex, "vertex")], byte_order="<").write(str(part))


def _colors(vertex: np.ndarray, path: Path, notes: list[str]) -> tuple[UInt8[np.ndarray, "n 3"], np.ndarray]:
    """Colours and which of them were finite."""
    names = vertex.dtype.names or ()
    for group in (("red", "green", "blue"), ("r", "g", "b"), ("f_dc_0", "f_dc_1", "f_dc_2")):
        if all(name in names for name in group):
            break
    else:
        notes.append(f"{path} has no colours (red green blue, r g b or f_dc_0..2); its points start grey")
        return np.full((len(vertex), 3), GRAY, np.uint8), np.ones(len(vertex), bool)
    kind = vertex.dtype[group[0]]
    values = np.stack([vertex[name] for name in group], axis=1).astype(np.float64)
    finite = np.asarray(np.isfinite(values).all(axis=1))
    values[~finite] = 0.0
    if group[0] == "f_dc_0":
        values = 255.0 * (0.5 + SH_C0 * values)
    elif kind == np.uint16:
        values = values / 257.0
    elif kind.kind == "f" and values.max(initial=0.0) <= 1.0:
        values = 255.0 * values
    return np.clip(np.rint(values), 0, 255).astype(np.uint8), finite
