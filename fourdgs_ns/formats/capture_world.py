"""Canonical parameters moved from the frame of a scene into the capture's world."""

from __future__ import annotations

from dataclasses import replace

import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.scene import Scene
from fourdgs_ns.representation.freetime import FreeTimeConfig
from fourdgs_ns.representation.parts.spherical_harmonics import harmonics_to_capture
from fourdgs_ns.representation.spacetime import SpacetimeConfig


def scene_in_capture(scene: Scene) -> Scene:
    """The same model with ``world_from_capture`` None, exactly.

    Raises:
        UserError: the model's decoder or representation knows no other frame.
    """
    frame = scene.world_from_capture
    if frame is None:
        return scene
    if scene.decoder is not None or not isinstance(scene.config, (SpacetimeConfig, FreeTimeConfig)):
        raise UserError(
            f"this {scene.method} model cannot leave the frame of its scene (a decoder takes rays of that frame); use the run it "
            "was trained in, or --to npz or spacetime-ply, which keep the frame"
        )
    params = dict(scene.parameters)
    means, quats, scales = frame.gaussians_to_capture(params["means"], params["quats"], params["scales"])
    params |= {"means": means, "quats": quats, "scales": scales}
    if "motion" in params:
        params["motion"] = frame.vectors_to_capture(params["motion"].reshape(-1, 3, 3)).reshape(-1, 9)
    if "omegas" in params:
        params["omegas"] = frame.quats_to_capture(params["omegas"])
    if "velocities" in params:
        params["velocities"] = frame.vectors_to_capture(params["velocities"])
    if "features_rest" in params:
        harmonics = torch.cat([params["features_dc"][:, None], params["features_rest"]], dim=1)
        params["features_rest"] = harmonics_to_capture(harmonics, frame)[:, 1:].contiguous()
    centers = scene.camera_centers
    if centers is not None:
        centers = frame.gaussians_to_capture(centers, torch.ones(len(centers), 4), centers)[0]
    return replace(
        scene, parameters=params, world_from_capture=None, near=scene.near / frame.scale, camera_centers=centers
    )
