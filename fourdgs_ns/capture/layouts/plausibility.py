"""What reading cannot decide but geometry makes likely, said once: poses in another convention, lenses of another size."""

from __future__ import annotations

import numpy as np

from fourdgs_ns.capture.capture import Capture
from fourdgs_ns.capture.layouts.conventions import looks_scaled
from fourdgs_ns.capture.layouts.sequences import listed
from fourdgs_ns.geometry.convergence import other_convention

ONE_CONVENTION = ("immersive", "technicolor", "nerfies", "colmap-rig", "n3dv")
"""Layouts that one program writes, so that their axes are known."""
MOST_POSES = 500
"""Of cameras that move, about as many are looked at."""


def doubts(capture: Capture) -> list[str]:
    """Sentences for the user on what may have been meant otherwise."""
    return [*_axes(capture), *_sizes(capture)]


def _axes(capture: Capture) -> list[str]:
    if capture.layout in ONE_CONVENTION:
        return []
    poses = np.concatenate([camera.poses for camera in capture.cameras])
    meant = other_convention(poses[:: max(1, len(poses) // MOST_POSES)])
    if meant is None:
        return []
    remedies = {
        "flipped": "turn the signs of the second and third column of each camera-to-world rotation (OpenCV's and OpenGL's axes "
        "were exchanged)",
        "inverted": "write the inverse of each pose (camera-to-world and world-to-camera were exchanged)",
    }
    said = " and ".join(remedies[word] for word in meant.split(" and "))
    return [
        f"as they are read, the cameras of {capture.root} look at no common place; where the rig looks outwards that is right, "
        f"else they do if their poses are {meant}: {said}"
    ]


def _sizes(capture: Capture) -> list[str]:
    cameras = [c.name for c in capture.cameras if looks_scaled(c.camera.intrinsics, c.width, c.height)]
    if not cameras:
        return []
    return [
        f"the principal point of camera {listed(cameras)} is far from the centre of the size that is stated with it, as if the "
        "size had been changed and the focal length had not; if the frames were not cropped, write the size that was calibrated"
    ]
