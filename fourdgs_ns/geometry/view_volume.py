"""The volume that a rig looks at, and random points in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera

EXTENT_MARGIN = 1.1
NEAR = 0.2
"""Start of the viewed volume, as a fraction of a camera's distance to the attention point."""
FAR_INWARD, FAR_PARALLEL, FAR_OUTWARD = 2.0, 6.0, 20.0
"""End of the viewed volume, in the same unit: the opposite side of a ring of cameras, the background behind what a
forward-facing rig looks at, or what surrounds a rig that looks outwards."""
INWARD_DEGREES = 45.0
"""Optical axes that differ this much belong to a rig around its subject."""
LEAST_CONVERGENCE = 1e-4
"""Least mean squared sine between the axes and any direction: about 0.6 degrees from parallel."""
LEAST_DEPTH = 0.1
"""Least mean depth of an attention point, in rig radii."""
PARALLEL_DISTANCE = 5.0
"""Assumed distance of what parallel cameras look at, in rig radii."""
MAX_VIEWPOINTS = 200
SAME_PLACE = 1e-9
"""Distances below this share of their cameras' distance from the world's origin are rounding."""


def attention_point(world_from_camera: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "3"]:
    """The world point that the cameras look at: least sum of squared distances to their optical axes.

    Where the axes leave it open (two cameras that face each other) the candidate nearest to the cameras' mean. Where
    the axes are parallel or meet behind the cameras there is no such point; then one five rig radii in front of the
    cameras' mean (1 unit for a single place).
    """
    poses = np.asarray(world_from_camera, np.float64)
    point = _converging_point(poses)
    if point is not None:
        return point
    axes, centres = poses[:, :3, 2], poses[:, :3, 3]
    radius = _radius(centres)
    forward = axes.mean(axis=0)
    forward = forward / np.linalg.norm(forward) if np.linalg.norm(forward) > 1e-6 else axes[0]
    return centres.mean(axis=0) + forward * (PARALLEL_DISTANCE * radius if radius > 0 else 1.0)


def _radius(centres: Float[np.ndarray, "n 3"]) -> float:
    """Largest distance from the mean; 0 for a single place."""
    radius = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
    return radius if radius > SAME_PLACE * float(np.abs(centres).max()) else 0.0


def _converging_point(poses: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "3"] | None:
    """Where the axes nearly meet in front of the cameras; None where they are parallel or meet behind them."""
    axes, centres = poses[:, :3, 2], poses[:, :3, 3]
    mean, radius = centres.mean(axis=0), _radius(centres)
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    pull = (across @ (centres - mean)[:, :, None])[:, :, 0].mean(axis=0)
    point = mean + np.linalg.lstsq(across.mean(axis=0), pull, rcond=LEAST_CONVERGENCE)[0]
    # Parallel axes leave the point beside the cameras, at depth zero but for rounding.
    return point if ((point - centres) * axes).sum(axis=1).mean() > LEAST_DEPTH * radius > 0 else None


def camera_extent(world_from_camera: Float[np.ndarray, "n 4 4"]) -> float:
    """Size of the scene in world units: 1.1 times the largest distance of a camera from the cameras' mean (NeRF++).

    For cameras in a single place their distance to the attention point instead.
    """
    centres = np.asarray(world_from_camera, np.float64)[:, :3, 3]
    radius = _radius(centres)
    if radius == 0:
        radius = float(np.linalg.norm(attention_point(world_from_camera) - centres.mean(axis=0))) / EXTENT_MARGIN
    return EXTENT_MARGIN * radius


@dataclass(frozen=True, eq=False)
class ViewVolume:
    """Frusta of all viewpoints of a rig, cut off in front of and behind the scene. World coordinates of the poses."""

    world_from_camera: Float[np.ndarray, "v 4 4"]
    intrinsics: Float[np.ndarray, "v 3 3"]
    sizes: Int[np.ndarray, "v 2"]
    """Width and height in pixels of ``intrinsics``."""
    near: Float[np.ndarray, " v"]
    """Depth along the optical axis."""
    far: Float[np.ndarray, " v"]

    def num_views(self, points: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
        """In how many of the frusta each point lies."""
        count = np.zeros(len(points), np.int64)
        for pose, matrix, size, near, far in zip(
            self.world_from_camera, self.intrinsics, self.sizes, self.near, self.far
        ):
            local = (points - pose[:3, 3]) @ pose[:3, :3]
            depth = local[:, 2]
            with np.errstate(divide="ignore", invalid="ignore"):
                pixels = (local @ matrix.T)[:, :2] / depth[:, None]
            count += (depth >= near) & (depth <= far) & ((pixels >= 0) & (pixels <= size)).all(axis=1)
        return count

    def sample(self, num_points: int, rng: np.random.Generator) -> tuple[Float[np.ndarray, "n 3"], int]:
        """Points uniform in the volume seen by at least ``k = min(v, 3)`` viewpoints, and that k.

        Where no such volume is found, k is smaller.
        """
        inverse = np.linalg.inv(self.intrinsics)
        volumes = self.sizes.prod(axis=1) * np.abs(np.linalg.det(inverse)) * (self.far**3 - self.near**3) / 3
        for k in range(min(len(self.near), 3), 0, -1):
            parts: list[np.ndarray] = []
            found = 0
            for attempt in range(200):
                if found >= num_points or (attempt >= 20 and found == 0):
                    break
                # Uniform in a random frustum, chosen by volume: a place that m frusta share comes up m times as often.
                v = rng.choice(len(volumes), size=max(2 * num_points, 1000), p=volumes / volumes.sum())
                depth = np.cbrt(self.near[v] ** 3 + rng.random(len(v)) * (self.far[v] ** 3 - self.near[v] ** 3))
                pixels = np.concatenate([rng.random((len(v), 2)) * self.sizes[v], np.ones((len(v), 1))], axis=1)
                local = np.einsum("nij,nj->ni", inverse[v], pixels) * depth[:, None]
                points = np.einsum("nij,nj->ni", self.world_from_camera[v, :3, :3], local)
                points += self.world_from_camera[v, :3, 3]
                m = self.num_views(points)
                kept = points[(m >= k) & (rng.random(len(v)) * m < k)]
                parts.append(kept)
                found += len(kept)
            if found >= num_points:
                return np.concatenate(parts)[:num_points] if parts else np.zeros((0, 3)), k
        raise UserError(
            f"{len(self.near)} cameras see no common volume in which {num_points} random points fit; check the poses "
            "and intrinsics of the capture"
        )


def view_volume(cameras: Sequence[Camera], poses: Sequence[Float[np.ndarray, "_p 4 4"]]) -> ViewVolume:
    """What ``cameras`` look at from ``poses``: one of each camera that stands still, many of one that moves.

    The poses of a camera are evenly thinned, to about 200 in all.
    """
    most = max(1, MAX_VIEWPOINTS // len(cameras))
    kept, matrices, sizes = [], [], []
    for camera, path in zip(cameras, poses, strict=True):
        pinhole = camera.undistorted()
        own = path[np.unique(np.linspace(0, len(path) - 1, min(most, len(path))).round().astype(int))]
        kept.append(own)
        matrices.extend([pinhole.intrinsics] * len(own))
        sizes.extend([(pinhole.width, pinhole.height)] * len(own))
    world_from_camera = np.concatenate(kept).astype(np.float64)
    near, far = depth_limits(world_from_camera)
    return ViewVolume(world_from_camera, np.stack(matrices), np.array(sizes), near, far)


def depth_limits(
    world_from_camera: Float[np.ndarray, "v 4 4"],
) -> tuple[Float[np.ndarray, " v"], Float[np.ndarray, " v"]]:
    """Least and largest depth along each camera's optical axis at which the rig's scene is expected.

    Of a rig that looks outwards nothing says how far that is: from one to a hundred of its radii.
    """
    axes = world_from_camera[:, :3, 2]
    spread = np.degrees(np.arccos(np.clip((axes @ axes.T).min(), -1.0, 1.0)))
    inward = min(spread / INWARD_DEGREES, 1.0)
    to_scene = np.linalg.norm(world_from_camera[:, :3, 3] - attention_point(world_from_camera), axis=1)
    # A camera may stand in the attention point (one that only turns): it still looks at something.
    to_scene = np.maximum(to_scene, 0.1 * to_scene.mean())
    end = FAR_INWARD if _converging_point(np.asarray(world_from_camera, np.float64)) is not None else FAR_OUTWARD
    far = FAR_PARALLEL + inward * (end - FAR_PARALLEL)
    return NEAR * to_scene, far * to_scene
