"""Canonical parameters moved from the training's world into the capture's."""

from __future__ import annotations

from dataclasses import replace

import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.trained_scene import TrainedScene

COARSE = 1e-4
"""Of a rig's size, by which single precision may move what is written in the capture's world without a word."""


def rounding(scene: TrainedScene) -> list[str]:
    """What files in the capture's world lose when that world's origin is far away: their numbers are of single precision."""
    world = scene.world_from_capture
    if world is None or world.single_precision() < COARSE:
        return []
    step = world.single_precision() / world.scale
    return [
        f"the capture lies so far from its world's origin that positions are rounded to {step:.2g} of its units; --to npz keeps "
        "them exact, or move the origin of the calibration to the cameras"
    ]


def scene_in_capture(scene: TrainedScene) -> TrainedScene:
    """The same model with ``world_from_capture`` None, exactly.

    Raises:
        UserError: the model's decoder or representation knows no other world.
    """
    world = scene.world_from_capture
    if world is None:
        return scene
    params = None if scene.decoder is not None else scene.representation.in_capture(scene.parameters, world)
    if params is None:
        raise UserError(
            f"this {scene.method} model cannot leave the world it was trained in (a decoder takes rays of that world); use the "
            "run it was trained in, or --to npz or spacetime-ply, which keep it"
        )
    centers = scene.camera_centers
    if centers is not None:
        centers = world.gaussians_to_capture(centers, torch.ones(len(centers), 4), centers)[0]
    return replace(
        scene, parameters=params, world_from_capture=None, near=scene.near / world.scale, camera_centers=centers
    )
