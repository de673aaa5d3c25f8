"""Whether the cameras of a rig look at one place, and whether they would if their poses were meant in another convention."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL

LEAST_SPREAD_DEGREES = 15.0
"""Axes that differ less are parallel: they tell nothing."""
MOST_OFF = 0.2
"""Distance of an axis from the place where they meet, in depths of that place."""
MOST_CAMERAS = 0.9
"""Share of the cameras that look there."""
LEAST_BASE = 0.2
"""Distance of cameras from their mean, in the same depths."""
UPRIGHT = 0.3
"""Cosine between the cameras' mean up and the world's z from which z counts as up."""


def meets(world_from_camera: Float[np.ndarray, "n 4 4"]) -> bool:
    """Whether cameras in different directions look at one place in front of them."""
    axes, centres = world_from_camera[:, :3, 2], world_from_camera[:, :3, 3]
    if len(axes) < 3 or (axes @ axes.T).min() > np.cos(np.radians(LEAST_SPREAD_DEGREES)):
        return False
    mean = centres.mean(axis=0)
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    pull = (across @ (centres - mean)[:, :, None])[:, :, 0].mean(axis=0)
    towards = mean + np.linalg.lstsq(across.mean(axis=0), pull, rcond=None)[0] - centres
    depth = (towards * axes).sum(axis=1)
    off = np.linalg.norm(towards - depth[:, None] * axes, axis=1)
    base = np.linalg.norm(centres - mean, axis=1).max()
    looking = (depth > 0) & (off < MOST_OFF * depth)
    return bool(looking.mean() >= MOST_CAMERAS and base > LEAST_BASE * np.median(depth))


def other_convention(world_from_camera: Float[np.ndarray, "n 4 4"]) -> str | None:
    """How poses with OpenCV axes seem to be meant instead, where cameras meet only then; None for rigs that are as they should.

    ``flipped``: with y and z of the camera turned around, ``inverted``: the inverse, ``inverted and flipped``: both. A rig that
    looks outwards is one that looks inwards, flipped, but for what is up: where its cameras are upright in a world with z up, it
    is left alone.
    """
    poses = np.asarray(world_from_camera, np.float64)
    if meets(poses):
        return None
    inverse = np.linalg.inv(poses)
    if meets(poses @ OPENCV_FROM_OPENGL):
        up = -poses[:, 2, 1].mean()
        return None if up > UPRIGHT else "flipped"
    if meets(inverse):
        return "inverted"
    return "inverted and flipped" if meets(inverse @ OPENCV_FROM_OPENGL) else None
