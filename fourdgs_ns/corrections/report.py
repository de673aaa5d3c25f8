"""What training found out about the cameras: poses, clocks and colours, in words and as a calibration file.

The file is a transforms.json (one entry per camera with its lens), which ``fourdgs-ns process --calibration`` and
``fourdgs-ns convert-capture --calibration`` read. Beyond that format each trained camera has ``moved`` (units of the capture)
and ``turned_degrees``, ``time_offset_seconds`` (how much later than stated its frames were exposed), and ``color_matrix`` and
``color_offset``: what the camera shows is the matrix times the scene's rgb plus the offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.corrections.camera_corrections import CameraCorrections
from fourdgs_ns.corrections.colors import CameraColors
from fourdgs_ns.geometry.world import WorldFromCapture
from fourdgs_ns.process.write import transforms
from fourdgs_ns.representation.types import Clip

NOTABLE_OFFSET = 0.1
"""Frames by which a camera's clock must differ before the user is told."""
NOTABLE_GAIN = 0.05
"""Share by which a camera's image must be brighter or darker before the user is told."""


def refined_calibration(
    learned: CameraCorrections,
    names: Sequence[str],
    capture: Capture,
    clip: Clip,
    camera_from_world: Float[Tensor, "c 4 4"],
    world: WorldFromCapture,
) -> tuple[dict[str, Any], list[str]]:
    """Content of the file, and what to tell the user; poses in the capture's world, held-out cameras as they were.

    Args:
        names: The c training cameras.
        camera_from_world: Their stated poses (of moving ones, at the clip's start), OpenCV axes, in the training's world.
        world: How that lies in the capture's.
    """
    facts: dict[str, dict[str, Any]] = {name: {} for name in names}
    poses = {camera.name: camera.camera.world_from_camera for camera in capture.cameras}
    late = {camera.name: camera.time_offset_seconds for camera in capture.cameras}
    told = []
    if learned.clocks is not None:
        frame_seconds = clip.duration_seconds * clip.frame_interval
        found = dict(zip(names, learned.clocks.in_frames(clip.frame_interval).tolist()))
        late |= {name: late[name] + frames * frame_seconds for name, frames in found.items()}
        told.append(describe_clocks(found, frame_seconds))
    if learned.poses is not None:
        refined = learned.poses.refined(camera_from_world)
        before, after = (world.poses_to_capture(np.linalg.inv(m.cpu().numpy())) for m in (camera_from_world, refined))
        poses |= dict(zip(names, after))
        told.append(_note_poses(names, before, after, facts))
    if learned.colors is not None:
        told.append(_note_colors(names, learned.colors, facts))
    cameras = [
        replace(c.camera, world_from_camera=poses[c.name], time_offset_seconds=late[c.name]) for c in capture.cameras
    ]
    content = transforms(cameras, {c.name: c.name for c in cameras}, _fps(capture))
    for entry in content["frames"]:
        entry.update(facts.get(entry["camera_label"], {}))
    return content, told


def _note_poses(
    names: Sequence[str],
    before: Float[np.ndarray, "c 4 4"],
    after: Float[np.ndarray, "c 4 4"],
    facts: dict[str, dict[str, Any]],
) -> str:
    moved = np.linalg.norm(after[:, :3, 3] - before[:, :3, 3], axis=1)
    turned = angles_degrees(np.einsum("nji,njk->nik", before[:, :3, :3], after[:, :3, :3]))
    for k, name in enumerate(names):
        facts[name] |= {"moved": float(moved[k]), "turned_degrees": float(turned[k])}
    k = int(np.argmax(turned))
    return (
        f"Poses: cameras moved by {np.median(moved):.3g} and turned by {np.median(turned):.3f} degrees in the median, most "
        f"{names[k]} by {turned[k]:.3f} degrees."
    )


def _note_colors(names: Sequence[str], colors: CameraColors, facts: dict[str, dict[str, Any]]) -> str:
    matrices = (torch.eye(3) + colors.matrices.detach().cpu()).numpy()
    offsets = colors.offsets.detach().cpu().numpy()
    for k, name in enumerate(names):
        facts[name] |= {"color_matrix": matrices[k].tolist(), "color_offset": offsets[k].tolist()}
    # What a medium gray becomes.
    gains = (0.5 * matrices.sum(axis=2) + offsets).mean(axis=1) / 0.5 - 1
    return describe_colors(dict(zip(names, gains.tolist())))


def _fps(capture: Capture) -> float:
    return (capture.num_frames - 1) / capture.duration_seconds if capture.num_frames > 1 else 1.0


def angles_degrees(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, " n"]:
    """Angle of each rotation matrix."""
    traces = np.trace(rotations, axis1=1, axis2=2)
    return np.degrees(np.arccos(np.clip((traces - 1) / 2, -1.0, 1.0)))


def _notable(values: Mapping[str, float], least: float) -> list[tuple[str, float]]:
    """Cameras whose value is ``least`` or more in either direction, the largest first."""
    return sorted(((n, v) for n, v in values.items() if abs(v) >= least), key=lambda item: -abs(item[1]))


def describe_clocks(offsets: Mapping[str, float], frame_seconds: float) -> str:
    """What to tell about learned time offsets, given in frames by camera name."""
    late = _notable(offsets, NOTABLE_OFFSET)
    if not late:
        return f"Clocks: all cameras agree to {NOTABLE_OFFSET:g} frames."
    listed = ", ".join(
        f"{name} is {abs(frames):.2f} frames ({abs(frames) * frame_seconds * 1000:.0f} ms) {'late' if frames > 0 else 'early'}"
        for name, frames in late
    )
    return f"Clocks: {listed}; the other cameras agree to {NOTABLE_OFFSET:g} frames."


def describe_colors(gains: Mapping[str, float]) -> str:
    """What to tell about learned colours, given for each camera as the share by which medium gray is brighter in it."""
    off = _notable(gains, NOTABLE_GAIN)
    if not off:
        return f"Colours: all cameras agree to {100 * NOTABLE_GAIN:g} % of brightness."
    listed = ", ".join(f"{name} {100 * abs(gain):.0f} % {'brighter' if gain > 0 else 'darker'}" for name, gain in off)
    return f"Colours: {listed} than the mean; the other cameras agree to {100 * NOTABLE_GAIN:g} %."
