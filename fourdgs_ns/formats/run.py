"""``run``: what ns-train leaves, read from its checkpoint alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status
from fourdgs_ns.formats.foreign_pickle import is_dense
from fourdgs_ns.formats.format import Format
from fourdgs_ns.formats.header import clip_lines, note_lines, parse_clip, size_lines
from fourdgs_ns.formats.trained_scene import TrainedScene, check_parameters, drop_non_finite
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.registry import METHODS, config_of

MODEL_PREFIX = "_model."
ROWS_PREFIX = "gauss_params."
DECODER_PREFIX = "decoder."


def recognizes(path: Path) -> bool:
    """A run's folder, its nerfstudio_models, its config.yml or a checkpoint."""
    if path.is_dir():
        return any(path.glob("step-*.ckpt")) or any(path.glob("nerfstudio_models/step-*.ckpt"))
    return path.suffix == ".ckpt" or path.name == "config.yml"


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a config.yml, a run's folder, its nerfstudio_models or a checkpoint itself means: the latest."""
    if not path.exists():
        raise UserError(f"{path} does not exist; give the config.yml of a run or its folder")
    if path.suffix == ".ckpt":
        return path
    folder = path if path.is_dir() else path.parent
    candidates = [folder / "nerfstudio_models", folder]
    for candidate in candidates:
        found = sorted(candidate.glob("step-*.ckpt"))
        if found:
            return found[-1]
    raise UserError(
        f"{path} has no checkpoint (nerfstudio_models/step-*.ckpt) beside it; train the model first, or give the folder of a run"
    )


def load_checkpoint(path: Path) -> TrainedScene:
    """Read a run from its checkpoint alone: neither config.yml nor the capture is opened.

    Args:
        path: config.yml, the run's folder, or a checkpoint.

    Raises:
        UserError: no checkpoint of this package, or one that has diverged.
    """
    checkpoint = find_checkpoint(path)
    try:
        file_status(checkpoint)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except UserError:
        raise
    except Exception as error:
        # Damaged bytes fail with whatever they led torch's restricted unpickler to.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{checkpoint} is no readable checkpoint ({reason}); use another one of the run") from error
    weights = state.get("pipeline") if isinstance(state, dict) else None
    extra = weights.get(MODEL_PREFIX + "_extra_state") if isinstance(weights, dict) else None
    if not isinstance(weights, dict) or not isinstance(extra, dict) or "variant" not in extra:
        raise UserError(
            f"{checkpoint} was not written by a fourdgs-ns method; give the run of one of {', '.join(METHODS)}"
        )
    if not {"method", "options", "world_from_capture"} <= set(extra):
        raise UserError(
            f"{checkpoint} was written by an earlier fourdgs-ns and cannot be read by this one; train again, or use the version "
            "that wrote it"
        )
    weights = {k.removeprefix(MODEL_PREFIX): v for k, v in weights.items() if str(k).startswith(MODEL_PREFIX)}
    notes: list[str] = []
    try:
        parameters, decoder = (_tensors(weights, prefix) for prefix in (ROWS_PREFIX, DECODER_PREFIX))
        config = config_of(extra["method"], extra["options"])
        check_parameters(config, parameters)
        clip = parse_clip(extra)
        world = (
            None if extra["world_from_capture"] is None else WorldFromCapture.from_plain(extra["world_from_capture"])
        )
        centers = torch.tensor(extra.get("camera_centers") or [], dtype=torch.float32).reshape(-1, 3)
        near = float(extra.get("near", 0.01))
    except UserError as error:
        raise UserError(f"{checkpoint}: {error}") from None
    except (ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise UserError(f"{checkpoint} is damaged ({error}); use another checkpoint of the run") from error
    parameters = drop_non_finite(parameters, checkpoint, notes)
    return TrainedScene(
        config, parameters, clip, world, decoder or None, near, centers if len(centers) else None, notes
    )


def _tensors(weights: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with ``prefix``, without it. Raises ValueError for what is no tensor of numbers."""
    found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    for name, value in found.items():
        if not is_dense(value):
            raise ValueError(f"{name} is no tensor of numbers")
    return {name: value.float().contiguous() for name, value in found.items()}


def describe(path: Path) -> dict[str, str]:
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
        **clip_lines(scene.clip),
        **size_lines(checkpoint),
        **note_lines(scene.notes),
    }


FORMAT = Format(
    "run", "a run of ns-train: its folder, config.yml or a checkpoint", recognizes, describe,
    read=lambda path, options, clip: load_checkpoint(path),
)  # fmt: skip
