"""``spacetime-ply``: SpacetimeGaussian's own PLY, lite (32 floats) and full (38 floats and a decoder beside it).

Float properties in this order: x y z (at the temporal centre), trbf_center, trbf_scale (logarithm of s), nx ny nz (zeros),
motion_0..8 (linear, quadratic, cubic; xyz each), f_dc_0..2 (lite: RGB as it is, no spherical harmonics) or f_dc_0..5 (full: base
colour and direction feature), opacity (logit), scale_0..2 (logarithms), rot_0..3, omega_0..3 (w x y z) and, in full, f_t_0..2.
The full variant's decoder lies beside the PLY with the suffix .pt: a state_dict of mlp1.weight [6, 12, 1, 1] and mlp2.weight
[3, 6, 1, 1].

There time is frame number / number of frames, so that the last of n frames is at (n - 1) / n; here it is at 1. Both readers and
writers convert. The published file names neither frames nor rate; this writer adds them as comments.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import replacing
from fourdgs_ns.common.tensor_files import save_tensors
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.foreign_pickle import is_dense
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import TAG, claimed_clip, known_clip_lines, size_lines, tagged_comments
from fourdgs_ns.formats.ply_table import property_names, read_vertices, stack_columns, write_float_ply
from fourdgs_ns.formats.to_moving import moving_gaussians, plain_colors, plain_windows, refuse_unless
from fourdgs_ns.formats.trained_scene import TrainedScene, drop_non_finite
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.parts.moving import MovingGaussians
from fourdgs_ns.representation.spacetime import SpacetimeConfig, lite_config
from fourdgs_ns.representation.types import Clip

MAX_DECODER_BYTES = 1 << 20


def column_names(full: bool) -> list[str]:
    """Properties in the order of the file."""
    return [
        *("x", "y", "z", "trbf_center", "trbf_scale", "nx", "ny", "nz"), *(f"motion_{i}" for i in range(9)),
        *(f"f_dc_{i}" for i in range(6 if full else 3)), "opacity", *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)), *(f"omega_{i}" for i in range(4)), *(f"f_t_{i}" for i in range(3 if full else 0)),
    ]  # fmt: skip


def clip_length(clip: Clip) -> float:
    """Last frame in the file's time: (n - 1) / n, and 1 for a clip of one frame."""
    return (clip.num_frames - 1) / clip.num_frames if clip.num_frames > 1 else 1.0


def write(path: Path, scene: TrainedScene, options: ExportOptions) -> list[str]:
    """Write lite in the capture's world, or full in the training's world (the decoder knows no other), with its decoder.

    Returns:
        Notes for the user.

    Raises:
        UserError: the model is no polynomial path with a Gaussian window and plain colours, and ``options.approximate`` is false.
    """
    notes: list[str] = []
    full = isinstance(scene.config, SpacetimeConfig) and scene.config.variant == "full" and not options.approximate
    comments = [f"{TAG} frames {scene.clip.num_frames}", f"{TAG} seconds {scene.clip.duration_seconds!r}"]
    comments.append(f"{TAG} first_frame {scene.clip.first_frame}")
    if full:
        moving, features, features_time = _full_rows(scene)
        assert isinstance(scene.config, SpacetimeConfig)
        comments.append(f"{TAG} decoder {scene.config.decoder_activation}")
        if scene.world_from_capture is not None:
            world = scene.world_from_capture.as_plain()
            values = [*np.ravel(world["rotation"]), *world["translation"], world["scale"]]
            comments.append(f"{TAG} world_from_capture {' '.join(repr(float(v)) for v in values)}")
            notes.append(
                "the full variant is written in the training's world, because its decoder takes rays of it; the file's "
                "world_from_capture comment holds rotation, translation and scale: x_world = scale (rotation x + translation)"
            )
    else:
        moving = moving_gaussians(scene, "spacetime-ply", options.approximate, notes).with_sh_degree(options.sh_degree)
        losses: list = []
        moving = plain_colors(plain_windows(moving, losses), losses)
        refuse_unless(options.approximate, losses, "spacetime-ply", notes)
        moving = moving.in_capture(scene.world_from_capture)
        features, features_time = moving.colors, moving.colors[:, :0]
    factor = clip_length(scene.clip)
    moving = moving.stretched(factor)
    blocks = [
        moving.means, moving.centers[:, None], moving.log_durations[:, None], torch.zeros_like(moving.means),
        moving.motion.reshape(-1, 9), features, moving.opacities[:, None], moving.log_scales, moving.quats, moving.omegas,
        features_time / factor,
    ]  # fmt: skip
    sidecar = path.with_suffix(".pt")
    if full:
        assert scene.decoder is not None
        weights = {
            "mlp1.weight": scene.decoder["hidden.weight"].reshape(6, 12, 1, 1).clone(),
            "mlp2.weight": scene.decoder["output.weight"].reshape(3, 6, 1, 1).clone(),
        }
        notes.append(f"the decoder is {sidecar.name}; keep it beside the PLY")
    with ExitStack() as files:
        # Both or none: a decoder beside another model's PLY would be taken for its own.
        temporary = files.enter_context(replacing(path, options.overwrite))
        if full:
            save_tensors(weights, files.enter_context(replacing(sidecar, options.overwrite)))
        write_float_ply(temporary, column_names(full), [block.numpy() for block in blocks], comments)
    return [*notes, f"{len(moving)} Gaussians, variant {'full' if full else 'lite'}"]


def _full_rows(scene: TrainedScene) -> tuple[MovingGaussians, Tensor, Tensor]:
    """Geometry, features and time features of the Gaussians that are ever visible."""
    if scene.decoder is None:
        raise UserError("the full variant's decoder is missing from the model; use a checkpoint of a training")
    moving = moving_gaussians(scene, "spacetime-ply", True, [])
    return moving, scene.parameters["features_dc"][moving.ids], scene.parameters["features_time"][moving.ids]


def variant_of(names: set[str]) -> str | None:
    """lite, full, or None for what is no SpacetimeGaussian PLY."""
    if not names >= {"trbf_center", "trbf_scale", "motion_0", "omega_0"}:
        return None
    return "full" if "f_t_0" in names or "f_dc_3" in names else "lite"


def read(
    path: Path, frames: int | None = None, fps: float | None = None, activation: str | None = None
) -> TrainedScene:
    """Read either variant as the method spacetime-gaussian.

    Args:
        frames: Length of the clip; needed for files of other programs, which do not know it (50 as published).
        fps: Frames per second; 30 unless given or known.
        activation: What bounds the decoder of a full model: sigmoid (as published for N3DV), clamp or none.

    Raises:
        UserError: no SpacetimeGaussian PLY, damaged, its decoder missing, or most Gaussians are not finite.
    """
    vertex, comments = read_vertices(path)
    names = set(vertex.dtype.names or ())
    variant = variant_of(names)
    if variant is None:
        kind = "a static 3DGS PLY; use --from ply" if "opacity" in names else "no cloud of Gaussians"
        raise UserError(f"{path} is no SpacetimeGaussian PLY (it has no trbf_center and motion_0): it is {kind}")
    wanted = column_names(variant == "full")
    missing = [name for name in wanted if name not in names and not name.startswith("n")]
    if missing:
        raise UserError(
            f"{path} looks like a {variant} SpacetimeGaussian PLY but has no property '{missing[0]}'; export it again"
        )
    known = tagged_comments(comments)
    notes: list[str] = []
    clip = claimed_clip(known, frames, fps, path, notes)
    factor = clip_length(clip)

    def columns(*prefixes: str) -> Tensor:
        chosen = [name for name in wanted if name.rstrip("0123456789").rstrip("_") in prefixes]
        return torch.from_numpy(stack_columns(vertex, chosen))

    powers = (factor ** torch.tensor([1.0, 2.0, 3.0])).repeat_interleave(3)
    parameters = {
        "means": columns("x", "y", "z"),
        "scales": columns("scale"),
        "quats": columns("rot"),
        "opacities": columns("opacity"),
        "features_dc": columns("f_dc"),
        "motion": columns("motion") * powers,
        "omegas": columns("omega") * factor,
        "temporal_centers": columns("trbf_center") / factor,
        "log_durations": columns("trbf_scale") - math.log(factor),
    }
    decoder, world = None, None
    if variant == "full":
        parameters["features_time"] = columns("f_t") * factor
        chosen = activation or known.get("decoder", "sigmoid")
        if chosen not in ("sigmoid", "clamp", "none"):
            raise UserError(f"{path} names the decoder activation '{chosen[:20]}'; give sigmoid, clamp or none")
        config = SpacetimeConfig(variant="full", decoder_activation=chosen)  # type: ignore[arg-type]
        decoder = _read_decoder(path)
        world = _world(known, path)
    else:
        config = lite_config(parameters["features_dc"])
    parameters = drop_non_finite(parameters, path, notes)
    return TrainedScene(config, parameters, clip, world, decoder, notes=notes)


def _world(known: dict[str, str], path: Path) -> WorldFromCapture | None:
    if "world_from_capture" not in known:
        return None
    try:
        values = np.array([float(word) for word in known["world_from_capture"].split()])
        if len(values) != 13:
            raise ValueError
        plain = {"rotation": values[:9].reshape(3, 3), "translation": values[9:12], "scale": values[12]}
        return WorldFromCapture.from_plain(plain)
    except ValueError:
        raise UserError(
            f"{path} has a damaged world_from_capture comment; remove that line or export the file again"
        ) from None


def _read_decoder(path: Path) -> dict[str, Tensor]:
    """The weights beside a full PLY, as FeatureDecoder's state_dict."""
    sidecar = path.with_suffix(".pt")
    if not sidecar.is_file():
        raise UserError(
            f"{path} is a full SpacetimeGaussian model and its decoder {sidecar.name} is not beside it; put it there (a lite "
            "model would need none)"
        )
    if sidecar.stat().st_size > MAX_DECODER_BYTES:
        raise UserError(f"{sidecar} is too large for a decoder of 90 weights; use the file written with the PLY")
    try:
        weights = torch.load(sidecar, map_location="cpu", weights_only=True)
        first, second = (weights[f"mlp{k}.weight"].float() for k in (1, 2) if is_dense(weights[f"mlp{k}.weight"]))
    except Exception as error:
        # Damaged bytes fail with whatever they led torch's restricted unpickler to.
        raise UserError(f"{sidecar} holds no mlp1.weight and mlp2.weight; use the file written with the PLY") from error
    if first.numel() != 72 or second.numel() != 18 or not (first.isfinite().all() and second.isfinite().all()):
        raise UserError(
            f"{sidecar} holds other weights than 6x12 and 3x6 finite ones; use the file written with the PLY"
        )
    return {"hidden.weight": first.reshape(6, 12), "output.weight": second.reshape(3, 6)}


def recognizes(path: Path) -> bool:
    """A PLY with this format's properties."""
    return variant_of(property_names(path)) is not None


def describe(path: Path) -> dict[str, str]:
    vertex, comments = read_vertices(path)
    variant = variant_of(set(vertex.dtype.names or ()))
    lines = {
        "what": "a SpacetimeGaussian PLY", "method": "spacetime-gaussian", "variant": str(variant), "Gaussians": str(len(vertex)),
    }  # fmt: skip
    if variant == "full":
        sidecar = path.with_suffix(".pt")
        lines["decoder"] = f"{sidecar.name} {'is beside it' if sidecar.is_file() else 'is missing beside it'}"
    return {**lines, "SH degree": "0", **known_clip_lines(tagged_comments(comments), path), **size_lines(path)}


FORMAT = Format(
    "spacetime-ply", "SpacetimeGaussian's own, lite or full", recognizes, describe, ".ply", write, frozenset({"sh_degree"}),
    read=lambda path, options, clip: read(path, options.frames, options.fps, options.decoder_activation),
)  # fmt: skip
