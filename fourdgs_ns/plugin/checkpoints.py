"""What a checkpoint says about the model in it, and what is wrong with one that cannot be loaded."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.plugin.capture_facts import CaptureFacts
from fourdgs_ns.representation.base import RepresentationConfig


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


def require_complete(state: Container[str], wanted: Iterable[str]) -> None:
    """``state``, ``wanted``: names that the checkpoint's and the model's state dicts hold.

    Raises:
        UserError: something is missing.
    """
    missing = sorted(name for name in wanted if name not in state)
    if missing and missing[0].startswith("corrections.colors"):
        raise UserError("the checkpoint has no colours per camera; add --pipeline.model.color-correction False")
    if missing:
        raise UserError(
            f"the checkpoint lacks {missing[0]}; it is damaged or was written by another version of fourdgs-ns"
        )
