"""What a file is, from its first bytes and its header: nothing is loaded that a header does not ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fourdgs_ns.capture.layouts import LAYOUTS
from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import read_bytes, size_text
from fourdgs_ns.formats import fourdgs_file, gaussian_ply, html, npz, ply4d, ply_sequence, spacetime_ply, splatv
from fourdgs_ns.formats.fudan import read_fudan
from fourdgs_ns.formats.imported import ImportOptions
from fourdgs_ns.formats.ply_table import read_vertices
from fourdgs_ns.formats.scene import find_checkpoint, load_checkpoint, make_config, parse_clip
from fourdgs_ns.representation.base import Clip


def describe(path: Path) -> dict[str, str]:
    """Lines for people: what it is, then method, variant, Gaussians, SH degree, frames, duration, fps, size, as far as it says.

    Raises:
        UserError: no file, damaged, or nothing that this package knows.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; check the path")
    if path.is_dir():
        return _folder(path)
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    if not start:
        raise UserError(f"{path} is empty; copy or export it again")
    if path.suffix == ".pth":
        return _fudan(path)
    if path.suffix == ".ckpt" or path.name == "config.yml":
        return _run(path)
    if start[:3] == b"ply":
        return _ply(path)
    if start[:2] == b"PK":
        return _npz(path)
    if start[:4] == splatv.MAGIC.to_bytes(4, "little"):
        return _splatv(path)
    if start[:6] == b"\x894DGS1":
        return _fourdgs(path)
    if start.lstrip()[:9].lower() == b"<!doctype":
        return _html(path)
    raise UserError(
        f"{path} is none of the formats that fourdgs-ns knows (runs, npz, ply, splatv, 4dgs, html); it begins with {start[:8]!r}"
    )


def _folder(path: Path) -> dict[str, str]:
    frames = ply_sequence.frames_of(path)
    if frames:
        return _sequence(path, frames)
    if any(path.glob("step-*.ckpt")) or any(path.glob("nerfstudio_models/step-*.ckpt")):
        return _run(path)
    fitting = [known.name for known in LAYOUTS.values() if known.recognizes(path)]
    if fitting:
        return {"what": f"a capture (layout {fitting[0]})", "note": f"fourdgs-ns check {path} says more"}
    plys = sorted(path.glob("*.ply"))
    if len(plys) > 1 and "a 3DGS PLY" in _ply(plys[0])["what"]:
        # Other programs name frames in their own ways.
        return _sequence(path, dict(enumerate(plys)))
    inside = listed(sorted(p.name for p in path.iterdir() if not p.name.startswith(".")))
    raise UserError(
        f"{path} is a folder without a run, a PLY sequence or a capture; it holds {inside or 'nothing'}: name one of these"
    )


def _fudan(path: Path) -> dict[str, str]:
    model = read_fudan(path, ImportOptions(), None)
    representation = model.representation.setup()
    return {
        "what": "a checkpoint of the published 4D Gaussian splatting (fudan)", "method": model.method,
        "variant": representation.variant, "Gaussians": str(len(model.parameters["means"])),
        "SH degree": str(representation.sh_degree), "frames": "not stored", "duration": "not stored", **_size(path),
        **_notes(model.notes),
    }  # fmt: skip


def _notes(notes: Sequence[str]) -> dict[str, str]:
    return {"note": "; ".join(notes)} if notes else {}


def _clip(clip: Clip) -> dict[str, str]:
    lines = {"frames": str(clip.num_frames)}
    if clip.duration_seconds > 0:
        lines["duration"] = f"{clip.duration_seconds:g} s"
        lines["fps"] = f"{(clip.num_frames - 1) / clip.duration_seconds:g}"
    return lines


def _known_clip(known: dict[str, str], path: Path) -> dict[str, str]:
    """Clip of a header that may say nothing."""
    if "frames" not in known:
        return {"frames": "not stored", "duration": "not stored"}
    return _clip(spacetime_ply.claimed_clip(known, None, None, path, []))


def _size(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {"size": size_text(sum(p.stat().st_size for p in files))}


def _run(path: Path) -> dict[str, str]:
    checkpoint = find_checkpoint(path)
    scene = load_checkpoint(path)
    representation = scene.representation
    return {
        "what": "a run of fourdgs-ns",
        "method": scene.method,
        "variant": representation.variant,
        "checkpoint": str(checkpoint),
        "Gaussians": str(scene.num_gaussians),
        "SH degree": str(representation.sh_degree),
        **_clip(scene.clip),
        **_size(checkpoint),
        **_notes(scene.notes),
    }


def _npz(path: Path) -> dict[str, str]:
    header = npz.read_header(path)
    try:
        method, config = make_config(header["representation"], header["options"])
        clip, count = parse_clip(header), int(header["gaussians"])
        representation = config.setup()
        compressed = any(column.get("codec") != "f32" for column in header["columns"].values())
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({str(error)[:100]}); export it again") from None
    return {
        "what": "an archive of fourdgs-ns (npz)" + (", compressed" if compressed else ""),
        "method": method,
        "variant": representation.variant,
        "Gaussians": str(count),
        "SH degree": str(representation.sh_degree),
        **_clip(clip),
        **_size(path),
    }


def _ply(path: Path) -> dict[str, str]:
    vertex, comments = read_vertices(path)
    names, known = set(vertex.dtype.names or ()), spacetime_ply.tagged_comments(comments)
    lines: dict[str, str] = {}
    variant = spacetime_ply.variant_of(names)
    count = {"Gaussians": str(len(vertex))}
    if variant:
        lines = {"what": "a SpacetimeGaussian PLY", "method": "spacetime-gaussian", "variant": variant, **count}
        if variant == "full":
            sidecar = path.with_suffix(".pt")
            lines["decoder"] = f"{sidecar.name} {'is beside it' if sidecar.is_file() else 'is missing beside it'}"
        lines |= {"SH degree": "0", **_known_clip(known, path)}
    elif ply4d.is_ply4d(names):
        lines = {"what": "a 4D PLY of fourdgs-ns", **count, "SH degree": str(gaussian_ply.sh_degree_of(names))}
        lines |= _known_clip(known, path)
    elif gaussian_ply.is_gaussian_ply(names):
        lines = {"what": "a 3DGS PLY (one instant)", **count, "SH degree": str(gaussian_ply.sh_degree_of(names))}
        if "t" in known:
            lines["time"] = f"t = {known['t']}"
    elif "packed_position" in names:
        lines = {"what": "a compressed 3DGS PLY of SuperSplat, which fourdgs-ns does not read", **count}
    else:
        lines = {"what": "a PLY without Gaussians", "points": str(len(vertex)), "properties": " ".join(sorted(names))}
    return {**lines, **_size(path)}


def _sequence(path: Path, frames: dict[int, Path]) -> dict[str, str]:
    first = _ply(next(iter(frames.values())))
    return {
        "what": "a sequence of 3DGS PLYs", "frames": f"{len(frames)} ({min(frames)} to {max(frames)})",
        "Gaussians": f"{first.get('Gaussians', '?')} in the first", "SH degree": first.get("SH degree", "?"), **_size(path),
    }  # fmt: skip


def _splatv(path: Path) -> dict[str, str]:
    data = read_bytes(path, splatv.MAX_FILE)
    chunk, _ = splatv.read_header(path, data)
    scene = splatv.read(path)
    known = splatv.known_clip(chunk)
    return {
        "what": "a splaTV container (splatv)", "method": "spacetime-gaussian", "variant": "lite",
        "Gaussians": str(scene.num_gaussians), "SH degree": "0", **_known_clip(known, path), **_size(path),
        **_notes([note for note in scene.notes if "not say" not in note]),
    }  # fmt: skip


def _fourdgs(path: Path) -> dict[str, str]:
    try:
        scene = fourdgs_file.read(path)
    except UserError as error:
        if "pip install" not in str(error):
            raise
        return {"what": "a .4dgs file", "note": "to see more: pip install fourdgs", **_size(path)}
    lines = {
        "what": "a .4dgs file", "Gaussians": str(scene.gaussians.count), "SH degree": str(scene.header.sh_degree),
        "duration": f"{scene.duration_sec:g} s",
    }  # fmt: skip
    attributes: dict[str, Any] = dict(scene.header.attributes or {})
    lines |= {key: str(attributes[key]) for key in ("method", "frames", "fps") if key in attributes}
    return {**lines, **_size(path)}


def _html(path: Path) -> dict[str, str]:
    header, _ = html.read_header(path)
    harmonics = int(header["harmonics"])
    try:
        clip = parse_clip({"num_frames": header["frames"], "duration_seconds": header["seconds"]})
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({str(error)[:100]}); export it again") from None
    return {
        "what": "a page that plays a scene (html)", "method": str(header.get("method", "?")), "Gaussians": str(header["count"]),
        "SH degree": str(max(math.isqrt(harmonics) - 1, 0)),
        **_clip(clip), **_size(path),
    }  # fmt: skip
