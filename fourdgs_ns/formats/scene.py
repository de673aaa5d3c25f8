"""A trained model as plain data: what every exporter takes and every importer gives."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.representation.base import Clip, Representation, RepresentationConfig, finite_rows
from fourdgs_ns.representation.fourd import FourDConfig
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.spacetime import SpacetimeConfig

METHODS: dict[str, tuple[str, type[RepresentationConfig]]] = {
    "SpacetimeRepresentation": ("spacetime-gaussian", SpacetimeConfig),
    "FreeTimeRepresentation": ("freetime", FreeTimeConfig),
    "FourDRepresentation": ("4dgs-4dsh", FourDConfig),
}
"""Class of a representation, as checkpoints name it -> method and the class of its options."""

MODEL_PREFIX = "_model."
ROWS_PREFIX = "gauss_params."
DECODER_PREFIX = "decoder."
MIN_FINITE_SHARE = 0.5
"""A model with fewer finite rows than this has diverged."""


@dataclass
class Scene:
    """A model without its training."""

    method: str
    """Name of the method, as ns-train knows it."""
    config: RepresentationConfig
    """Options of the representation."""
    parameters: dict[str, Tensor]
    """Canonical parameters: name -> [n, ...], in the frame of the scene that was trained."""
    clip: Clip
    world_from_capture: WorldFromCapture | None = None
    """How the scene lies in the capture's world; None when they are the same."""
    decoder: dict[str, Tensor] | None = None
    """Weights of the representation's decoder, as its state_dict; None when it has none."""
    near: float = 0.01
    """Gaussians nearer to a camera than this are not drawn, scene units."""
    camera_centers: Float[Tensor, "c 3"] | None = None
    """Where the training cameras stand, scene coordinates; None when unknown."""
    notes: list[str] = field(default_factory=list)
    """What was repaired or left out while reading."""

    @property
    def representation(self) -> Representation:
        """The functions of the parameters, with all spherical harmonics switched on."""
        return self.config.setup()

    @property
    def num_gaussians(self) -> int:
        return self.parameters["means"].shape[0]

    def times(self) -> list[float]:
        """t of every frame of the clip."""
        return [i * self.clip.frame_interval for i in range(self.clip.num_frames)]

    def fps(self) -> float:
        """Frames per second; 0 for a clip of one frame."""
        return (self.clip.num_frames - 1) / self.clip.duration_seconds if self.clip.duration_seconds > 0 else 0.0


def parse_clip(values: dict[str, Any]) -> Clip:
    """Clip from plain values of a header.

    Raises ValueError, KeyError, TypeError or OverflowError for what cannot be.
    """
    clip = Clip(int(values["num_frames"]), float(values["duration_seconds"]), int(values.get("first_frame", 0)))
    if not 1 <= clip.num_frames < 10**9 or not 0 <= clip.duration_seconds < 1e9:
        raise ValueError(f"a clip of {clip.num_frames} frames and {clip.duration_seconds} s")
    return clip


def make_config(class_name: str, options: dict[str, Any]) -> tuple[str, RepresentationConfig]:
    """Method and options from what a header says.

    Raises ValueError for an unknown representation or option.
    """
    if class_name not in METHODS:
        raise ValueError(f"the representation {str(class_name)[:40]!r} is unknown")
    method, kind = METHODS[class_name]
    unknown = sorted(set(options) - {f.name for f in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"the option {str(unknown[0])[:40]!r} is unknown")
    return method, kind(**options)


def check_parameters(config: RepresentationConfig, parameters: dict[str, Tensor]) -> None:
    """Raises ValueError when ``parameters`` are not those of ``config``'s representation, all with as many rows."""
    wanted = config.setup().parameters
    odd = sorted(set(wanted) ^ set(parameters))
    if odd:
        raise ValueError(f"the parameter {odd[0]!r} is {'missing' if odd[0] in wanted else 'not one of this method'}")
    rows = len(parameters["means"])
    for name, spec in wanted.items():
        if tuple(parameters[name].shape) != (rows, *spec.shape):
            raise ValueError(f"the parameter {name!r} has the shape {tuple(parameters[name].shape)}")


def sound_rows(parameters: dict[str, Tensor], source: Path, notes: list[str]) -> dict[str, Tensor]:
    """The finite rows, zero quaternions replaced by no rotation; both are noted.

    Raises:
        UserError: there are no rows, or most are not finite.
    """
    rows = len(parameters["means"])
    keep = finite_rows(parameters) if rows else torch.zeros(0, dtype=torch.bool)
    sound = int(keep.sum())
    if rows == 0:
        raise UserError(f"{source} holds no Gaussians; train the model first, or export it again")
    if sound < MIN_FINITE_SHARE * rows:
        raise UserError(
            f"{source}: {rows - sound} of {rows} Gaussians are not finite, the training has diverged; use an earlier checkpoint "
            "or train again with lower learning rates"
        )
    if sound < rows:
        notes.append(f"{rows - sound} of {rows} Gaussians are not finite and were left out")
        parameters = {name: value[keep] for name, value in parameters.items()}
    if "quats" in parameters:
        quats = parameters["quats"]
        zero = quats.norm(dim=-1) < 1e-12
        if zero.any():
            notes.append(f"{int(zero.sum())} of {rows} Gaussians had a zero quaternion, which is now no rotation")
            identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).to(quats)
            parameters = {**parameters, "quats": torch.where(zero[:, None], identity, quats)}
    return parameters


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


def load_checkpoint(path: Path) -> Scene:
    """Read a run from its checkpoint alone: neither config.yml nor the capture is opened.

    Args:
        path: config.yml, the run's folder, or a checkpoint.

    Raises:
        UserError: no checkpoint of this package, or one that has diverged.
    """
    checkpoint = find_checkpoint(path)
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        # Damaged bytes fail with whatever they led torch's restricted unpickler to.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{checkpoint} is no readable checkpoint ({reason}); use another one of the run") from error
    weights = state.get("pipeline") if isinstance(state, dict) else None
    extra = weights.get(MODEL_PREFIX + "_extra_state") if isinstance(weights, dict) else None
    if not isinstance(weights, dict) or not isinstance(extra, dict) or "representation" not in extra:
        names = ", ".join(method for method, _ in METHODS.values())
        raise UserError(f"{checkpoint} was not written by a fourdgs-ns method; give the run of one of {names}")
    if "world_from_capture" not in extra or "options" not in extra:
        raise UserError(
            f"{checkpoint} was written by an earlier fourdgs-ns that kept no scene frame in checkpoints; save it again by "
            "training a few steps more with --load-dir and --max-num-iterations, or use ns-export gaussian-splat"
        )
    weights = {k.removeprefix(MODEL_PREFIX): v for k, v in weights.items() if k.startswith(MODEL_PREFIX)}
    parameters = {
        k.removeprefix(ROWS_PREFIX): v.float().contiguous() for k, v in weights.items() if k.startswith(ROWS_PREFIX)
    }
    decoder = {k.removeprefix(DECODER_PREFIX): v.float() for k, v in weights.items() if k.startswith(DECODER_PREFIX)}
    notes: list[str] = []
    try:
        method, config = make_config(extra["representation"], extra["options"])
        check_parameters(config, parameters)
        clip = parse_clip(extra)
        frame = (
            None if extra["world_from_capture"] is None else WorldFromCapture.from_plain(extra["world_from_capture"])
        )
        centers = torch.tensor(extra.get("camera_centers") or [], dtype=torch.float32).reshape(-1, 3)
        near = float(extra.get("near", 0.01))
    except (ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise UserError(f"{checkpoint} is damaged ({error}); use another checkpoint of the run") from error
    parameters = sound_rows(parameters, checkpoint, notes)
    return Scene(
        method, config, parameters, clip, frame, decoder or None, near, centers if len(centers) else None, notes
    )
