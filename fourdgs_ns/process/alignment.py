"""How far two sets of camera poses are apart when position, orientation and scale of the world are free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class RigDifference:
    """Per camera, in the order given."""

    position: Float[np.ndarray, " c"]
    """Distance of centres in units of the reference."""
    rotation_degrees: Float[np.ndarray, " c"]
    scale: float
    """Reference units per unit of the other."""


def similarity(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]
) -> tuple[float, Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """s, R, t that bring ``source`` to ``target`` with least squared distance: s R x + t (Umeyama 1991)."""
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    a, b = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum() / max((a**2).sum(), 1e-30))
    return scale, rotation, mean_t - scale * rotation @ mean_s


def compare_rigs(poses: Float[np.ndarray, "c 4 4"], reference: Float[np.ndarray, "c 4 4"]) -> RigDifference:
    """Align ``poses`` (world_from_camera) to ``reference`` by centres and viewing directions, then compare.

    Points one typical baseline in front of and beside each camera take part in the alignment, so that two cameras, or
    cameras in a line, fix it too.
    """
    spread = [np.linalg.norm(p[:, :3, 3] - p[:, :3, 3].mean(axis=0), axis=1).mean() for p in (poses, reference)]
    scale = spread[1] / max(spread[0], 1e-30)
    clouds = []
    for own, reach in ((poses, spread[1] / scale), (reference, spread[1])):
        axes = own[:, :3, :3].transpose(0, 2, 1) * reach  # rows: right, down, forward
        clouds.append(np.concatenate([own[:, :3, 3], *(own[:, :3, 3] + axes[:, k] for k in range(3))]))
    s, rotation, t = similarity(*clouds)
    centres = s * poses[:, :3, 3] @ rotation.T + t
    turned = rotation @ poses[:, :3, :3]
    cos = (np.einsum("cij,cij->c", turned, reference[:, :3, :3]) - 1) / 2
    return RigDifference(
        np.linalg.norm(centres - reference[:, :3, 3], axis=1), np.degrees(np.arccos(np.clip(cos, -1, 1))), s
    )
