"""Checkpoints: found, written, saying what model they hold, and refused where they cannot be loaded."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fourdgs_ns.common.console import say
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status
from fourdgs_ns.common.files import replacing
from fourdgs_ns.common.tensor_files import save_tensors
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.representation.base import RepresentationConfig

CORRECTIONS = {
    "colors": ("color-correction", "colours"),
    "clocks": ("time-offsets", "time offsets"),
    "poses": ("pose-correction", "poses"),
}
"""Parts of what is learned of cameras: the option that turns them on, and what they are."""


def latest_checkpoint(directory: Path, step: int | None) -> Path:
    """The checkpoint that ``--load-dir`` means: that of ``step``, or the last one.

    Raises:
        UserError: there is none.
    """
    if not directory.is_dir():
        raise UserError(f"--load-dir {directory} is no directory; give the nerfstudio_models folder of a run")
    found = checkpoints_in(directory)
    if step is not None:
        if step not in found:
            raise UserError(
                f"{directory} holds no checkpoint of step {step}; leave --load-step away for the latest one"
            )
        return found[step]
    if not found:
        raise UserError(f"{directory} holds no step-*.ckpt; give the nerfstudio_models folder of a run to --load-dir")
    return found[max(found)]


def checkpoints_in(directory: Path) -> dict[int, Path]:
    """Step -> checkpoint in ``directory``, whatever else lies there or is no folder."""
    named = {path: re.fullmatch(r"step-(\d{9,})\.ckpt", path.name) for path in directory.glob("step-*.ckpt")}
    return {int(match[1]): path for path, match in named.items() if match and path.is_file()}


def step_of(path: Path) -> int:
    """The last step before the checkpoint was written, as its name says."""
    return int(path.stem.removeprefix("step-"))


def check_checkpoint(path: Path) -> None:
    """Refuse files that are no checkpoint of this package before anything is built around them.

    Raises:
        UserError: the file is missing, unreadable or another package's.
    """
    file_status(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        # Damaged or hostile bytes fail with whatever they led torch's restricted unpickler to.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path} is no readable checkpoint ({reason}); use another one with --load-step") from error
    wanted = {"step", "pipeline", "optimizers", "schedulers", "scalers"}
    known = isinstance(state, dict) and wanted <= set(state) and isinstance(state["pipeline"], dict)
    if not known or not isinstance(state["pipeline"].get("_model._extra_state"), dict):
        raise UserError(f"{path} was not written by a fourdgs-ns method; give the checkpoint of a run of this method")


def write_checkpoint(state: Mapping[str, Any], path: Path, part_folder: Path) -> None:
    """Write into ``part_folder`` and rename, so that a crash or a full disk never damages what is there.

    ``part_folder`` is not the checkpoints' own: Nerfstudio takes every file there for one.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path, part_folder=part_folder) as part:
        save_tensors(state, part)


def describe(
    config: RepresentationConfig,
    facts: CaptureFacts,
    near: float,
    guided: Mapping[str, Any],
    world: WorldFromCapture | None,
) -> dict[str, Any]:
    """What a checkpoint must say about itself; plain values, loadable with weights_only.

    Args:
        config: Options of the representation.
        facts: Of the capture that it is trained on.
        near: Gaussians nearer than this to a camera are not rendered, world units.
        guided: State of guided sampling.
        world: How the world that the model is in lies in the capture's; None when they are the same.
    """
    centers = facts.train_camera_centers
    return {
        "method": config.method,
        "variant": config.setup().variant,
        "num_frames": facts.clip.num_frames,
        "duration_seconds": facts.clip.duration_seconds,
        "first_frame": facts.clip.first_frame,
        "train_cameras": list(facts.train_camera_names),
        "guided": guided,
        # What exporters need, so that they need neither config.yml nor the capture.
        "options": asdict(config),  # type: ignore[call-overload]
        "world_from_capture": None if world is None else world.as_plain(),
        "near": near,
        "camera_centers": [] if centers is None else centers.tolist(),
    }


def require_written_here(state: Container[str]) -> None:
    """``state``: names of a model's state dict.

    Raises:
        UserError: another package's method wrote it.
    """
    if "_extra_state" not in state or "gauss_params.means" not in state:
        raise UserError(
            "the checkpoint was not written by a fourdgs-ns method; give the directory of a run of this method to --load-dir"
        )


def require_same_method(state: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """``state``: what the checkpoint says; ``mine``: what the model that loads it would say (both of :func:`describe`).

    Raises:
        UserError: they are of different methods, or of different variants of one.
    """
    for key in ("method", "variant"):
        if state.get(key) != mine[key]:
            raise UserError(
                f"the checkpoint holds a {state.get('method')} model ({state.get('variant')}) but the method asks for "
                f"{mine['method']} ({mine['variant']}); use the config.yml that lies beside the checkpoint"
            )


def require_same_training(state: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """For a training that goes on; ``state``, ``mine``: as for :func:`require_same_method`.

    Options that only say how Gaussians start may differ, which is told.

    Raises:
        UserError: it would go on with another method, clip, other cameras or other options of the representation.
    """
    require_same_method(state, mine)
    theirs, ours = _clip(state), _clip(mine)
    if theirs != ours:
        raise UserError(
            f"the checkpoint was trained on {theirs} but this training is on {ours}; end the command with "
            "multiview-video-data and the --frames of the config.yml beside the checkpoint"
        )
    cameras, here = (list(facts.get("train_cameras") or []) for facts in (state, mine))
    if cameras and here and cameras != here:
        raise UserError(
            f"the checkpoint was trained on the cameras {', '.join(cameras)} but this training is on {', '.join(here)}; end "
            "the command with multiview-video-data and the --eval-cameras of the config.yml beside the checkpoint"
        )
    for name, value in mine["options"].items():
        before, option = state["options"].get(name, value), f"--pipeline.model.representation.{name.replace('_', '-')}"
        if before == value:
            continue
        if not name.startswith(("initial_", "static_")):
            raise UserError(
                f"the checkpoint was trained with {option} {before} but this training has {value}; add {option} {before}"
            )
        say(f"{option} is {value} and was {before} in the checkpoint: it acts on Gaussians that are added from now on")


def _clip(facts: Mapping[str, Any]) -> str:
    first, seconds = facts.get("first_frame", 0), facts["duration_seconds"]
    return f"{facts['num_frames']} frames from frame {first} on, {seconds:.4g} s apart the first and the last"


def without_foreign_statistics(state: dict[str, Any], mine: Mapping[str, Tensor]) -> dict[str, Any]:
    """``state`` with the densification statistics of the strategy that goes on, ``mine``, zeros where it has none.

    Args:
        state: A model's state dict.
        mine: Name -> [n] of the model's rows, zeros.
    """
    rows = state["gauss_params.means"].shape[:1]
    # Everything else of a row lies in a part of the model, which its name begins with.
    theirs = {name for name, value in state.items() if "." not in name and getattr(value, "shape", None) == rows}
    if theirs == set(mine):
        return state
    say("The checkpoint is of another densification strategy: what that has gathered since it last acted is left out.")
    return {**mine, **{name: value for name, value in state.items() if name not in theirs - set(mine)}}


def require_complete(state: Iterable[str], wanted: Iterable[str]) -> None:
    """``state``, ``wanted``: names that the checkpoint's and the model's state dicts hold.

    Raises:
        UserError: something is missing, or the checkpoint holds more.
    """
    state, wanted = set(state), set(wanted)
    missing, more = sorted(wanted - state), sorted(state - wanted)
    for part, (option, what) in CORRECTIONS.items():
        for names, has, add in ((missing, "no", False), (more, "learned", True)):
            if any(name.startswith(f"corrections.{part}.") for name in names):
                raise UserError(f"the checkpoint has {has} {what} per camera; add --pipeline.model.{option} {add}")
    if more:
        raise UserError(
            f"the checkpoint holds {more[0]}, which this training has no use for; use the config.yml beside the checkpoint"
        )
    if missing:
        raise UserError(
            f"the checkpoint lacks {missing[0]}; it is damaged or was written by another version of fourdgs-ns"
        )
