"""``splatv``: the container of splaTV and gsplat.js, SpacetimeGaussian lite as a texture.

Little-endian: u32 magic 0x674B, u32 length of the JSON, the JSON (an array of chunks), then the chunks' payloads. A chunk of type
"splat" is an RGBA32UI texture 4096 texels wide whose last row is padded with zeros; 64 bytes per Gaussian:

| word | content (half2: first value in the low half) |
|---|---|
| 0 1 2 | x y z, float32 |
| 3 4 | half2 quaternion w x, y z (not normalised) |
| 5 6 | half2 standard deviations x y, z 0 |
| 7 | bytes r g b (255 times RGB) and opacity (255 times) |
| 8..12 | half2 motion 0..8 (linear, quadratic, cubic), 0 |
| 13 14 | half2 quaternion rates w x, y z |
| 15 | half2 temporal centre, s |

Players run t from 0 to 1: here the first to the last frame. The format knows neither duration nor count: they are added as keys
of the chunk that players ignore (count, frames, fps, duration, first_frame, loop).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes, read_bytes, replacing
from fourdgs_ns.formats.agreement import agreement, psnr_between
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import claimed_clip, known_clip_lines, note_lines, size_lines
from fourdgs_ns.formats.start_view import StartView, start_view
from fourdgs_ns.formats.to_moving import moving_gaussians, plain_colors, plain_windows, refuse_unless
from fourdgs_ns.formats.trained_scene import TrainedScene, drop_non_finite
from fourdgs_ns.representation.parts.moving import ALWAYS, Loss, MovingGaussians
from fourdgs_ns.representation.spacetime import SpacetimeConfig

MAGIC = 0x674B
TEXTURE_WIDTH = 4096
WORDS = 16
PER_ROW = TEXTURE_WIDTH // 4
MAX_GAUSSIANS = 16384 * PER_ROW
"""What the largest texture of usual graphics cards holds."""
MAX_JSON = 1 << 24
MAX_FILE = (1 << 24) + 8 + MAX_GAUSSIANS * 64
HALF_MAX = 65504.0


def _halves(*columns: np.ndarray) -> np.ndarray:
    """Columns rounded to the nearest half, two to a word: [n, len / 2] uint32."""
    values = np.stack(columns, axis=1)
    return np.ascontiguousarray(np.clip(values, -HALF_MAX, HALF_MAX).astype("<f2")).view("<u4")


def texture(moving: MovingGaussians) -> np.ndarray:
    """[n, 16] words in the order of the file: most important Gaussians first."""
    opacities = torch.sigmoid(moving.opacities)
    order = torch.argsort(moving.log_scales.sum(1).exp() * opacities, descending=True, stable=True)
    moving, opacities = moving.select(order), opacities[order]
    columns = {
        "rot": moving.quats, "omega": moving.omegas, "scale": moving.log_scales.exp(), "motion": moving.motion.reshape(-1, 9),
    }  # fmt: skip
    rot, omega, scale, motion = (value.numpy().T for value in columns.values())
    color = torch.cat([moving.colors, opacities[:, None]], dim=1).clamp(0, 1).mul(255).round().to(torch.uint8)
    zero = np.zeros(len(moving), np.float32)
    words = np.empty((len(moving), WORDS), "<u4")
    words[:, 0:3] = np.ascontiguousarray(moving.means.numpy(), "<f4").view("<u4")
    words[:, 3:5] = _halves(*rot)
    words[:, 5:7] = _halves(*scale, zero)
    words[:, 7:8] = np.ascontiguousarray(color.numpy()).view("<u4")
    words[:, 8:13] = _halves(*motion, zero)
    words[:, 13:15] = _halves(*omega)
    words[:, 15:16] = _halves(moving.centers.numpy(), moving.log_durations.exp().numpy())
    return words


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write the scene in the capture's world; returns notes for the user.

    Raises:
        UserError: the model is no polynomial path with a Gaussian window and plain colours in [0, 1], and
            ``options.approximate`` is false.
    """
    notes: list[str] = []
    losses: list[Loss] = []
    moving = moving_gaussians(scene, "splatv", options.approximate, notes).with_sh_degree(options.sh_degree)
    moving = plain_colors(plain_windows(moving, losses), losses)
    refuse_unless(options.approximate, losses, "splatv", notes)
    outside = int(((moving.colors < -0.01) | (moving.colors > 1.01)).any(1).sum())
    if outside:
        notes.append(f"{outside} of {len(moving)} Gaussians have colours outside [0, 1], which splatv clamps")
    moving = moving.in_capture(scene.world_from_capture)
    if len(moving) > MAX_GAUSSIANS:
        raise UserError(f"splatv holds {MAX_GAUSSIANS} Gaussians and the model has {len(moving)}; choose --format npz")
    words, view = texture(moving), start_view(scene)
    height = -(-len(moving) // PER_ROW)
    chunk = {
        "type": "splat",
        "size": height * TEXTURE_WIDTH * 16,
        "texwidth": TEXTURE_WIDTH,
        "texheight": height,
        "cameras": [camera(view)],
        "count": len(moving),
        "frames": scene.clip.num_frames,
        "fps": scene.fps(),
        "duration": scene.clip.duration_seconds,
        "first_frame": scene.clip.first_frame,
        "loop": True,
    }
    header = json.dumps([chunk]).encode()
    with replacing(path, options.overwrite) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<II", MAGIC, len(header)) + header)
        file.write(words.data)
        file.write(bytes(height * TEXTURE_WIDTH * 16 - words.nbytes))
    stored = moving_gaussians(read(path), "splatv", True, [])
    return [*notes, f"{len(moving)} Gaussians, {agreement(psnr_between(moving, stored, view))}"]


def camera(view: StartView, width: int = 1280, height: int = 720) -> dict[str, Any]:
    """A camera as 3DGS's cameras.json has it: centre, camera-to-world rotation, focal lengths in pixels."""
    focal = float(view.cameras(width, height).intrinsics[0, 0, 0])
    return {
        "id": 0, "img_name": "start", "width": width, "height": height, "position": view.eye.tolist(),
        "rotation": view.rotation().T.tolist(), "fy": focal, "fx": focal,
    }  # fmt: skip


def read_header(path: Path, data: bytes) -> tuple[dict[str, Any], int]:
    """The first chunk of type splat and where its payload starts.

    Raises:
        UserError: it is no splatv file, or its header is damaged.
    """
    if len(data) < 8 or struct.unpack("<I", data[:4])[0] != MAGIC:
        raise UserError(f"{path} is no .splatv file: it does not begin with its magic number; check the path")
    length = struct.unpack("<I", data[4:8])[0]
    if length > min(len(data) - 8, MAX_JSON):
        raise UserError(f"{path} announces {length} bytes of header but has only {len(data)}; copy or export it again")
    try:
        chunks = json.loads(data[8 : 8 + length].decode("utf8"))
        offset = 8 + length
        for chunk in chunks:
            size = chunk["size"]
            if type(size) is not int or size < 0:
                raise ValueError(f"size {size!r}")
            if chunk["type"] == "splat":
                return chunk, offset
            offset += size
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{path} has a damaged header ({str(error)[:80]}); copy or export it again") from None
    raise UserError(f"{path} has no chunk of type splat; export it again")


def known_clip(chunk: dict[str, Any]) -> dict[str, str]:
    """What a chunk says about its clip, by the names that :func:`claimed_clip` takes."""
    names = {"frames": "frames", "first_frame": "first_frame", "duration": "seconds"}
    return {name: str(chunk[key]) for key, name in names.items() if key in chunk}


def read(path: Path, frames: int | None = None, fps: float | None = None) -> TrainedScene:
    """The scene as the method spacetime-gaussian, variant lite.

    Real files are often shorter than their header says, by the padding of the last texture row: that is accepted.

    Args:
        frames: Length of the clip, for files that do not know it.
        fps: Frames per second, likewise.

    Raises:
        UserError: no splatv file, damaged, or most Gaussians are not finite.
    """
    data = read_bytes(path, MAX_FILE)
    chunk, offset = read_header(path, data)
    available = max(0, min(chunk["size"], len(data) - offset))
    rows = available // 64
    if chunk["size"] - available > TEXTURE_WIDTH * 16:
        raise UserError(
            f"{path} is truncated: {chunk['size']} bytes announced, {available} there; copy or export it again"
        )
    words = (
        np.frombuffer(data, "<u4", rows * WORDS, offset).reshape(rows, WORDS) if rows else np.zeros((0, WORDS), "<u4")
    )
    count = chunk.get("count")
    if type(count) is int and 0 < count <= rows:
        words = words[:count]
    else:
        filled = np.flatnonzero(words.any(axis=1))
        words = words[: filled[-1] + 1 if len(filled) else 0]

    def halves(first: int, last: int) -> torch.Tensor:
        block = np.ascontiguousarray(words[:, first:last]).view("<f2").astype(np.float32)
        return torch.from_numpy(block)

    notes: list[str] = []
    clip = claimed_clip(known_clip(chunk), frames, fps, path, notes)
    color = torch.from_numpy(np.ascontiguousarray(words[:, 7:8]).view(np.uint8).astype(np.float32)) / 255.0
    durations = halves(15, 16)[:, 1:]
    parameters = {
        "means": torch.from_numpy(np.ascontiguousarray(words[:, 0:3]).view("<f4").copy()),
        "scales": halves(5, 7)[:, :3].clamp_min(1e-7).log(),
        "quats": halves(3, 5),
        "opacities": torch.logit(color[:, 3:].clamp(0.25 / 255, 1 - 0.25 / 255)),
        "features_dc": color[:, :3],
        "motion": halves(8, 13)[:, :9],
        "omegas": halves(13, 15),
        "temporal_centers": halves(15, 16)[:, :1],
        # Written files hold s = infinity where it overflowed: a Gaussian that never fades.
        "log_durations": durations.abs().clamp(1e-7, ALWAYS).log(),
    }
    parameters = drop_non_finite(parameters, path, notes)
    centers = camera_centers(chunk)
    config = SpacetimeConfig(variant="lite")
    return TrainedScene(config, parameters, clip, camera_centers=centers, notes=notes)


def camera_centers(chunk: dict[str, Any]) -> Float[torch.Tensor, "c 3"] | None:
    """Where the cameras of a chunk stand; None when it names none, or not as it should: only a player's start depends on it."""
    try:
        centers = torch.tensor([camera["position"] for camera in chunk["cameras"]], dtype=torch.float32)
    except (KeyError, TypeError, ValueError, RuntimeError, OverflowError):
        return None
    return centers if centers.dim() == 2 and centers.shape[1] == 3 and bool(centers.isfinite().all()) else None


def recognizes(path: Path) -> bool:
    """It begins with the container's magic number."""
    return first_bytes(path)[:4] == MAGIC.to_bytes(4, "little")


def describe(path: Path) -> dict[str, str]:
    data = read_bytes(path, MAX_FILE)
    chunk, _ = read_header(path, data)
    scene = read(path)
    known = known_clip(chunk)
    return {
        "what": "a splaTV container (splatv)", "method": "spacetime-gaussian", "variant": "lite",
        "Gaussians": str(scene.num_gaussians), "SH degree": "0", **known_clip_lines(known, path), **size_lines(path),
        **note_lines([note for note in scene.notes if "not say" not in note]),
    }  # fmt: skip


FORMAT = Format(
    "splatv", "for splaTV and gsplat.js", recognizes, describe, ".splatv", write, frozenset({"sh_degree"}),
    read=lambda path, options, clip: read(path, options.frames, options.fps),
)  # fmt: skip
