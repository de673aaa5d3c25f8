"""``html``: one file that plays the scene in a browser by double click, without a server or a network.

The page holds the player (WebGL 2, in ``html_player``), a JSON header and the columns of the moving Gaussians in the capture's
world: planar, deflated, in base64. Positions are float32 and everything else halves; compressed, positions are 16-bit logarithms
and scales and colours codebooks. The header states each attribute's largest error.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes, read_bytes, replacing
from fourdgs_ns.formats.agreement import comparison_note, psnr_between
from fourdgs_ns.formats.columns import DTYPES, Codec, Column, decode, encode
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format, SliceAt
from fourdgs_ns.formats.header import clip_lines, parse_clip, size_lines
from fourdgs_ns.formats.start_view import FIELD_OF_VIEW, StartView, start_view
from fourdgs_ns.formats.to_moving import moving_gaussians
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.parts.moving import MovingGaussians

KIND = "fourdgs-ns html"
COMPRESSED: dict[str, Codec] = {
    "means": "log16", "log_scales": "book8", "colors": "book8", "harmonics": "book8", "quats": "book8",
}  # fmt: skip
PLAIN: dict[str, Codec] = {"means": "f32"}
MAX_PAGE = 1 << 31
MAX_RATIO = 1100
"""Deflate cannot do better."""


def pack(moving: MovingGaussians, compressed: bool) -> tuple[dict[str, Any], bytes, dict[str, Column]]:
    """Description of the columns, their bytes one after the other, and the columns. Columns of zeros are left out."""
    values = {
        "means": moving.means, "motion": moving.motion.reshape(-1, 9), "quats": moving.quats, "omegas": moving.omegas,
        "log_scales": moving.log_scales, "opacities": moving.opacities[:, None], "centers": moving.centers[:, None],
        "log_durations": moving.log_durations[:, None], "plateaus": moving.plateaus[:, None], "gates": moving.gates[:, None],
        "colors": moving.colors if moving.colors.dim() == 2 else moving.colors[:, 0],
    }  # fmt: skip
    if moving.sh_degree:
        values["harmonics"] = moving.colors[:, 1:].reshape(len(moving), -1)
    if not moving.omegas.any():
        # Then only the direction of a quaternion counts, and unit ones have better codes.
        values["quats"] = torch.nn.functional.normalize(moving.quats, dim=-1)
    described, columns, blobs, offset = {}, {}, [], 0
    for name, value in values.items():
        if not value.any():
            continue
        codec = (COMPRESSED if compressed else PLAIN).get(name, "f16")
        if name == "quats" and moving.omegas.any():
            codec = "f16"
        column = columns[name] = encode(value.numpy(), codec)
        blob = np.ascontiguousarray(column.codes.T).tobytes()
        described[name] = {**column.describe(), "offset": offset, "table": column.table.ravel().tolist()}
        blobs.append(blob)
        offset += len(blob)
    return described, b"".join(blobs), columns


def unpack(described: dict[str, Any], payload: bytes, count: int, harmonics: int) -> MovingGaussians:
    """Inverse of :func:`pack`. Raises ValueError, KeyError or TypeError for what does not fit together."""
    columns = {}
    for name, entry in described.items():
        dtype, components = np.dtype(DTYPES[entry["codec"]]), int(entry["components"])
        size = count * components * dtype.itemsize
        start = int(entry["offset"])
        if components < 1 or start < 0 or start + size > len(payload):
            raise ValueError(f"{name} lies beyond the end")
        codes = np.frombuffer(payload, dtype, count * components, start).reshape(components, count).T
        table = np.array(entry["table"], np.float32)
        if (entry["codec"] == "book8" and len(table) != 256) or (
            entry["codec"] == "log16" and len(table) != 2 * components
        ):
            raise ValueError(f"{name} has a damaged table")
        column = Column(entry["codec"], codes, 0.0, table)
        columns[name] = torch.from_numpy(np.ascontiguousarray(decode(column), np.float32))

    def get(name: str, components: int) -> torch.Tensor:
        value = columns.get(name, torch.zeros(count, components))
        if value.shape[1] != components:
            raise ValueError(f"{name} has {value.shape[1]} components")
        return value

    colors = get("colors", 3)
    if harmonics:
        rest = get("harmonics", 3 * (harmonics - 1)).reshape(count, harmonics - 1, 3)
        colors = torch.cat([colors[:, None], rest], dim=1)
    return MovingGaussians(
        ids=torch.arange(count), means=get("means", 3), motion=get("motion", 9).reshape(-1, 3, 3), quats=get("quats", 4),
        omegas=get("omegas", 4), log_scales=get("log_scales", 3), opacities=get("opacities", 1)[:, 0],
        centers=get("centers", 1)[:, 0], log_durations=get("log_durations", 1)[:, 0], plateaus=get("plateaus", 1)[:, 0],
        gates=get("gates", 1)[:, 0], colors=colors,
    )  # fmt: skip


def make_header(
    scene: TrainedScene, moving: MovingGaussians, described: dict[str, Any], view: StartView
) -> dict[str, Any]:
    """What the player must know."""
    return {
        "format": KIND,
        "method": scene.method,
        "count": len(moving),
        "harmonics": 0 if moving.colors.dim() == 2 else moving.colors.shape[1],
        "frames": scene.clip.num_frames,
        "seconds": scene.clip.duration_seconds,
        "near": view.near,
        "fov": FIELD_OF_VIEW,
        "eye": view.eye.tolist(),
        "target": view.target.tolist(),
        "up": view.up.tolist(),
        "columns": described,
    }


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write the page; returns notes for the user.

    Raises:
        UserError: colours come from a decoder, and ``options.approximate`` is false.
    """
    notes: list[str] = []
    moving = moving_gaussians(scene, "html", options.approximate, notes).in_capture(scene.world_from_capture)
    moving = moving.with_sh_degree(options.sh_degree)
    view = start_view(scene)
    described, payload, columns = pack(moving, options.compressed)
    header = json.dumps(make_header(scene, moving, described, view)).replace("<", "\\u003c")
    folder = resources.files("fourdgs_ns.formats") / "html_player"
    page = (folder / "player.html").read_text("utf8")
    packed = base64.b64encode(zlib.compress(payload, 9)).decode("ascii")
    parts = {
        "TITLE": escape(f"{scene.method}, {len(moving)} Gaussians"), "HEADER": header, "PAYLOAD": packed,
        "SCRIPT": (folder / "player.js").read_text("utf8"), "SHADERS": (folder / "shaders.js").read_text("utf8"),
    }  # fmt: skip
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)
    with replacing(path, options.overwrite) as temporary:
        temporary.write_text(page, "utf8")
    notes += [f"error bound of {name}: {column.error:.2g} ({column.codec})" for name, column in columns.items()]
    stored = unpack(described, payload, len(moving), header_harmonics(moving))
    numbers = sum(value.numel() for name, value in vars(moving).items() if name != "ids")
    what = "compressed" if options.compressed else "packed"
    decibels = psnr_between(moving, stored, view)
    return [*notes, comparison_note(what, numbers * 4, path.stat().st_size, decibels), f"{len(moving)} Gaussians"]


def header_harmonics(moving: MovingGaussians) -> int:
    """Number of spherical harmonics, 0 for plain RGB."""
    return 0 if moving.colors.dim() == 2 else moving.colors.shape[1]


def read_header(path: Path) -> tuple[dict[str, Any], str]:
    """Header and payload (base64) of a page that this module wrote.

    Raises:
        UserError: another page, or damaged.
    """
    text = read_bytes(path, MAX_PAGE).decode("utf8", "replace")
    found = re.search(r'<script id="header" type="application/json">(.*?)</script>', text, re.DOTALL)
    payload = re.search(r'<script id="payload" type="text/plain">([A-Za-z0-9+/=]*)</script>', text)
    try:
        header = json.loads(found[1]) if found else {}
        if header.get("format") != KIND:
            raise ValueError("no header")
        if payload is None or not 0 < int(header["count"]) < 2**31 or not 0 <= int(header["harmonics"]) <= 16:
            raise ValueError("payload or counts are missing")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{path} is no page of fourdgs-ns export --format html ({str(error)[:80]}); check the path"
        ) from None
    return header, payload[1]


def read(path: Path) -> tuple[dict[str, Any], MovingGaussians]:
    """Header and Gaussians of a page that this module wrote, in the capture's world.

    Raises:
        UserError: another page, or damaged.
    """
    header, encoded = read_header(path)
    try:
        packed = base64.b64decode(encoded, validate=True)
        count = int(header["count"])
        per_row = sum(int(c["components"]) * np.dtype(DTYPES[c["codec"]]).itemsize for c in header["columns"].values())
        if count * per_row > MAX_RATIO * len(packed):
            raise ValueError(f"{count} Gaussians are announced, more than the page can hold")
        payload = zlib.decompressobj().decompress(packed, count * per_row)
        return header, unpack(header["columns"], payload, count, int(header["harmonics"]))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, zlib.error, OverflowError) as error:
        raise UserError(f"{path} is damaged ({str(error)[:100]}); export it again") from None


def recognizes(path: Path) -> bool:
    """An HTML document."""
    return first_bytes(path).lstrip()[:9].lower() == b"<!doctype"


def describe(path: Path) -> dict[str, str]:
    header, _ = read_header(path)
    harmonics = int(header["harmonics"])
    try:
        clip = parse_clip({"num_frames": header["frames"], "duration_seconds": header["seconds"]})
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({str(error)[:100]}); export it again") from None
    return {
        "what": "a page that plays a scene (html)", "method": str(header.get("method", "?")), "Gaussians": str(header["count"]),
        "SH degree": str(max(math.isqrt(harmonics) - 1, 0)),
        **clip_lines(clip), **size_lines(path),
    }  # fmt: skip


def slices(path: Path, world: WorldFromCapture | None) -> SliceAt:
    """Its Gaussians; a page holds them in the capture's world."""
    return read(path)[1].in_capture(None if world is None else world.inverse()).at


FORMAT = Format(
    "html", "one file that plays in a browser", recognizes, describe, ".html", write, frozenset({"sh_degree", "compressed"}),
    slices=slices,
)  # fmt: skip
