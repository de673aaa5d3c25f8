"""``npz``: the archive. Canonical parameters of any method, loadable with NumPy alone.

One array per canonical parameter, ``header`` (UTF-8 JSON as bytes: representation and options, clip, world_from_capture, units,
error bound per attribute) and ``decoder.*`` where there is a decoder. Parameters are in the training's world; the header's
world_from_capture says how it lies in the capture: x_scene = scale (rotation x + translation). Compressed files hold codes, and
``NAME.table`` where the codec needs one.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from fourdgs_ns.capture.layouts.reading import MALFORMED_HEADER
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes, replacing
from fourdgs_ns.formats.agreement import comparison_note, psnr_between
from fourdgs_ns.formats.columns import DTYPES, Codec, Column, decode, encode
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format, SliceAt
from fourdgs_ns.formats.header import clip_lines, parse_clip, size_lines
from fourdgs_ns.formats.start_view import start_view
from fourdgs_ns.formats.to_moving import moving_gaussians
from fourdgs_ns.formats.trained_scene import TrainedScene, check_parameters, drop_non_finite
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.registry import config_of

KIND = "fourdgs-ns scene"
VERSION = 1
CODECS: dict[str, Codec] = {
    "means": "log16", "scales": "book8", "features_dc": "book8", "features_rest": "book8", "features_time": "book8",
}  # fmt: skip
"""Codec of compressed parameters; all others are halves: times and opacities suffer most from codebooks."""
UNITS = {
    "means": "scene units, at the temporal centre",
    "scales": "natural logarithm of standard deviations in scene units",
    "quats": "w x y z, Gaussian to scene",
    "opacities": "logit of the peak opacity",
    "temporal_centers": "t, 0 at the first frame and 1 at the last",
    "log_durations": "natural logarithm of the temporal scale, in lengths of the clip",
    "velocities": "scene units per length of the clip",
    "motion": "linear, quadratic, cubic coefficients of t - centre; scene units per length of the clip, squared, cubed",
    "omegas": "change of the quaternion per length of the clip",
    "features_dc": "RGB, base features, or spherical harmonics of degree 0",
    "features_rest": "spherical harmonics of the higher degrees [n, k - 1, 3]",
}
MAX_RATIO = 400
"""Largest ratio of unpacked to packed bytes that is believed."""
MAX_HEADER = 1 << 22


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write all canonical parameters; returns notes for the user."""
    columns = {}
    for name, value in scene.parameters.items():
        flat = value.reshape(len(value), -1).numpy()
        columns[name] = encode(flat, CODECS.get(name, "f16") if options.compressed else "f32")
    header = {
        "format": KIND,
        "version": VERSION,
        "method": scene.method,
        "options": asdict(scene.config),  # type: ignore[call-overload]
        "num_frames": scene.clip.num_frames,
        "duration_seconds": scene.clip.duration_seconds,
        "first_frame": scene.clip.first_frame,
        "gaussians": scene.num_gaussians,
        "world_from_capture": None if scene.world_from_capture is None else scene.world_from_capture.as_plain(),
        "near": scene.near,
        "camera_centers": [] if scene.camera_centers is None else scene.camera_centers.tolist(),
        "units": {name: UNITS[name] for name in columns if name in UNITS},
        "columns": {name: column.describe() for name, column in columns.items()},
    }
    arrays: dict[str, np.ndarray] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    for name, column in columns.items():
        shape = column.codes.shape if options.compressed else tuple(scene.parameters[name].shape)
        arrays[name] = column.codes.reshape(shape)
        if column.table.size:
            arrays[f"{name}.table"] = column.table
    for name, weight in (scene.decoder or {}).items():
        arrays[f"decoder.{name}"] = weight.numpy()
    with replacing(path, options.overwrite) as temporary, open(temporary, "wb") as file:
        (np.savez_compressed if options.compressed else np.savez)(file, **arrays)  # type: ignore[arg-type]
    notes = [f"{scene.num_gaussians} Gaussians, {scene.method}"]
    if options.compressed:
        notes += _cost(path, scene, columns)
    return notes


def _cost(path: Path, scene: TrainedScene, columns: dict[str, Column]) -> list[str]:
    """What compression cost, as notes."""
    rows = {name: torch.from_numpy(decode(c)).reshape(scene.parameters[name].shape) for name, c in columns.items()}
    plain = sum(value.numel() * 4 for value in scene.parameters.values())
    notes = [f"error bound of {name}: {column.error:.2g} ({column.codec})" for name, column in columns.items()]
    try:
        a = moving_gaussians(scene, "npz", True, []).in_capture(scene.world_from_capture)
        other = TrainedScene(scene.config, rows, scene.clip, scene.world_from_capture)
        b = moving_gaussians(other, "npz", True, []).in_capture(scene.world_from_capture)
        decibels = psnr_between(a, b, start_view(scene))
    except UserError:
        return notes
    return [*notes, comparison_note("compressed", plain, path.stat().st_size, decibels)]


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header. Raises UserError for anything that is no scene of this format."""
    with _opened(path) as archive:
        return _header(archive, path)


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file; check the path")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UserError(f"{path} is no readable .npz file ({error}); copy or export it again") from None


def _header(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(_array(archive, "header", path, MAX_HEADER).tobytes().decode("utf8"))
        if header["format"] != KIND or int(header["version"]) != VERSION:
            raise ValueError("another format or version")
        return header
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{path} is no scene of fourdgs-ns ({str(error)[:80]}); give a file that fourdgs-ns export --format npz wrote"
        ) from None


def _array(archive: zipfile.ZipFile, name: str, path: Path, limit: int | None = None) -> np.ndarray:
    """One member, after its announced size was compared with the file's length and its own header.

    Raises KeyError or ValueError.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > (MAX_RATIO * max(path.stat().st_size, 1000) if limit is None else limit):
        raise ValueError(f"{name} announces {info.file_size} bytes, which the file is too small for")
    try:
        with archive.open(info) as member:
            version = npy.read_magic(member)
            reader = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = reader(member)
            start = member.tell()
            expected = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or fortran or expected != info.file_size - start:
                raise ValueError(f"{name} announces {shape} {dtype}, which does not fit its {info.file_size} bytes")
            data = member.read(expected)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, *MALFORMED_HEADER) as error:
        raise ValueError(f"{name} is damaged: {error}") from None
    if len(data) != expected:
        raise ValueError(f"{name} is truncated")
    return np.frombuffer(data, dtype).reshape(shape)


def read(path: Path) -> TrainedScene:
    """The scene as it was written.

    Raises:
        UserError: another kind of file, damaged, hostile, or most Gaussians are not finite.
    """
    notes: list[str] = []
    with _opened(path) as archive:
        header = _header(archive, path)
        try:
            config = config_of(header["method"], header["options"])
            clip = parse_clip(header)
            world = (
                None
                if header["world_from_capture"] is None
                else WorldFromCapture.from_plain(header["world_from_capture"])
            )
            centers = torch.tensor(header["camera_centers"], dtype=torch.float32).reshape(-1, 3)
            shapes = {name: spec.shape for name, spec in config.setup().parameters.items()}
            parameters = {
                name: _parameter(archive, name, shapes[name], described, path)
                for name, described in header["columns"].items()
            }
            check_parameters(config, parameters)
            decoder = config.setup().make_decoder()
            weights: dict[str, Tensor] = {}
            if decoder is not None:
                for name, value in decoder.state_dict().items():
                    weights[name] = torch.from_numpy(_array(archive, f"decoder.{name}", path).astype(np.float32))
                    if weights[name].shape != value.shape:
                        raise ValueError(f"decoder.{name} has another shape")
            near = float(header["near"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
            raise UserError(f"{path} is damaged ({str(error)[:150]}); copy or export it again") from None
    parameters = drop_non_finite(parameters, path, notes)
    return TrainedScene(
        config, parameters, clip, world, weights or None, near, centers if len(centers) else None, notes
    )


def _parameter(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], described: dict[str, Any], path: Path
) -> Tensor:
    codec = described["codec"]
    codes = _array(archive, name, path)
    if codec not in DTYPES or codes.dtype != np.dtype(DTYPES[codec]) or codes.ndim < 1:
        raise ValueError(f"{name} is stored as {codes.dtype}, not as {str(codec)[:20]}")
    flat = codes.reshape(len(codes), math.prod(shape))
    table = np.zeros(0, np.float32)
    if codec in ("book8", "log16"):
        table = _array(archive, f"{name}.table", path).astype(np.float32)
        if table.shape != ((256,) if codec == "book8" else (2, flat.shape[1])):
            raise ValueError(f"{name}.table has the shape {table.shape}")
    return torch.from_numpy(decode(Column(codec, flat, 0.0, table)).reshape(len(codes), *shape).copy())


def recognizes(path: Path) -> bool:
    """A ZIP archive with this format's header, or one that is too damaged to tell and called so."""
    if first_bytes(path)[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "header.npy" in archive.namelist() or path.suffix == ".npz"
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return path.suffix == ".npz"


def describe(path: Path) -> dict[str, str]:
    header = read_header(path)
    try:
        config = config_of(header["method"], header["options"])
        clip, count = parse_clip(header), int(header["gaussians"])
        representation = config.setup()
        compressed = any(column.get("codec") != "f32" for column in header["columns"].values())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is damaged ({str(error)[:100]}); export it again") from None
    return {
        "what": "an archive of fourdgs-ns (npz)" + (", compressed" if compressed else ""),
        "method": config.method,
        "variant": representation.variant,
        "Gaussians": str(count),
        "SH degree": str(representation.sh_degree),
        **clip_lines(clip),
        **size_lines(path),
    }


def slices(path: Path, world: WorldFromCapture | None) -> SliceAt:
    """Its Gaussians; an archive is in the training's world already."""
    scene = read(path)
    return scene.at


FORMAT = Format(
    "npz", "archive of everything", recognizes, describe, ".npz", write, frozenset({"compressed"}),
    read=lambda path, options, clip: read(path), slices=slices,
)  # fmt: skip
