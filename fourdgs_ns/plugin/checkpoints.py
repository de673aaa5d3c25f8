"""What a checkpoint says about the model in it, and what is wrong with one that cannot be loaded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fourdgs_ns.common.errors import UserError

if TYPE_CHECKING:
    from fourdgs_ns.plugin.model import DynamicGaussiansModel


def describe(model: DynamicGaussiansModel) -> dict[str, Any]:
    """What a checkpoint must say about itself; plain values, loadable with weights_only."""
    centers = model.capture_metadata.get("train_camera_centers")
    return {
        "representation": type(model.representation).__name__,
        "variant": model.representation.variant,
        "num_frames": model.clip.num_frames,
        "duration_seconds": model.clip.duration_seconds,
        "first_frame": model.clip.first_frame,
        "guided": model.guided.state(),
        # What exporters need, so that they need neither config.yml nor the capture.
        "options": asdict(model.config.representation),  # type: ignore[call-overload]
        "world_from_capture": None if model.world_from_capture is None else model.world_from_capture.as_plain(),
        "near": model.near,
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
    for key in ("representation", "variant"):
        if state.get(key) != mine[key]:
            raise UserError(
                f"the checkpoint holds a {state.get('representation')} {state.get('variant')} model but the method asks for "
                f"{mine['representation']} {mine['variant']}; use the config.yml that lies beside the checkpoint"
            )


def require_complete(state: Container[str], wanted: Iterable[str]) -> None:
    """``state``, ``wanted``: names that the checkpoint's and the model's state dicts hold.

    Raises:
        UserError: something is missing.
    """
    missing = sorted(name for name in wanted if name not in state)
    if missing and missing[0].startswith("camera_colors"):
        raise UserError("the checkpoint has no colours per camera; add --pipeline.model.color-correction False")
    if missing:
        raise UserError(
            f"the checkpoint lacks {missing[0]}; it is damaged or was written by another version of fourdgs-ns"
        )
