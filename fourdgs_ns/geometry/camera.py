"""One physical camera: where it stands, how large its images are and how its lens maps the world to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.undistortion import Undistortion, find_undistortion

UP_IS_Z = (0.0, 0.0, 1.0)
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Behind a pose it exchanges the axes of the camera: OpenGL's have y up and z backwards. Its own inverse."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A perspective or fisheye camera in one pose.

    Axes are OpenCV's (x right, y down, z forward). Pixel i covers [i, i + 1), so its centre is at i + 0.5. ``project``,
    ``rays`` and ``projection`` leave the distortion out: they hold for pinhole cameras, such as those of ``undistorted``.
    """

    name: str
    width: int
    """Size in pixels at which ``intrinsics`` hold; 0 where a calibration does not say."""
    height: int
    intrinsics: Float[np.ndarray, "3 3"]
    """Pinhole matrix in pixels."""
    world_from_camera: Float[np.ndarray, "4 4"]
    distortion: tuple[float, ...] = ()
    """OpenCV order k1 k2 p1 p2 k3 (k4 k5 k6 (s1 s2 s3 s4 (tx ty))), or k1..k4 when ``fisheye``; empty for none."""
    fisheye: bool = False
    time_offset_seconds: float | None = None
    """Its clock: frame k was exposed this much later than the nominal instant; None when nothing says."""

    @property
    def center(self) -> Float[np.ndarray, "3"]:
        """Of projection, in the world."""
        return self.world_from_camera[:3, 3]

    @property
    def projection(self) -> Float[np.ndarray, "3 4"]:
        """Homogeneous world to homogeneous pixels; the third coordinate is the depth."""
        return self.intrinsics @ np.linalg.inv(self.world_from_camera)[:3]

    def project(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Pixels of world points, and their depths along the optical axis."""
        local = (points - self.center) @ self.world_from_camera[:3, :3]
        pixels = local @ self.intrinsics.T
        return pixels[:, :2] / pixels[:, 2:], local[:, 2]

    def rays(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Unit directions in the world from the centre through ``pixels``."""
        homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
        rays = homogeneous @ np.linalg.inv(self.intrinsics).T @ self.world_from_camera[:3, :3].T
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the same images at another size; each axis is scaled by its own exact ratio."""
        ratio = np.array([width / self.width, height / self.height, 1.0])
        return replace(self, width=width, height=height, intrinsics=ratio[:, None] * self.intrinsics)

    @cached_property
    def undistortion(self) -> Undistortion | None:
        """How the frames become images of a pinhole camera of the same size; None for a lens without distortion.

        Raises:
            UserError: the distortion folds inside the image, or has too many coefficients.
        """
        return find_undistortion(self.name, (self.width, self.height), self.intrinsics, self.distortion, self.fisheye)

    def undistorted(self, downscale: float = 1.0) -> Camera:
        """The pinhole camera of the frames after they were undistorted and made ``downscale`` times smaller.

        The size is divided by ``downscale`` and rounded; the matrix is scaled by the exact ratio of the sizes per axis, so a
        principal point off the centre stays where it was in the scene. A distorted lens is replaced by the largest pinhole
        view without black border.

        Raises:
            UserError: a downscale below 1, and what :attr:`undistortion` objects to.
        """
        if not (np.isfinite(downscale) and downscale >= 1):
            raise UserError(f"--downscale-factor {downscale:g} would enlarge the frames; give a number of at least 1")
        width, height = max(1, round(self.width / downscale)), max(1, round(self.height / downscale))
        lens = self.undistortion
        intrinsics = np.array(self.intrinsics, dtype=np.float64) if lens is None else lens.pinhole_intrinsics()
        return replace(self, intrinsics=intrinsics, distortion=(), fisheye=False).resized(width, height)

    def to_json(self) -> dict[str, Any]:
        """Lists and numbers, from which :meth:`from_json` makes the same camera."""
        return {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "intrinsics": self.intrinsics.tolist(),
            "world_from_camera": self.world_from_camera.tolist(),
            "distortion": list(self.distortion),
            "fisheye": self.fisheye,
            "time_offset_seconds": self.time_offset_seconds,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Camera:
        """Inverse of :meth:`to_json`."""
        return cls(
            content["name"],
            content["width"],
            content["height"],
            np.array(content["intrinsics"]),
            np.array(content["world_from_camera"]),
            tuple(content["distortion"]),
            content["fisheye"],
            content.get("time_offset_seconds"),
        )


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """Pinhole matrix in pixels."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def look_at(
    eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Sequence[float] | Float[np.ndarray, "3"] = UP_IS_Z
) -> Float[np.ndarray, "4 4"]:
    """world_from_camera of a level camera at ``eye`` that looks at ``target``, with ``up`` towards its upper edge."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def fundamental(a: Camera, b: Camera) -> Float[np.ndarray, "3 3"]:
    """F with x_b' F x_a = 0 for pixels of the same point in two pinhole cameras; its largest entry is 1 or -1.

    Cameras in the same place have none; what comes back for them is noise.
    """
    b_from_a = np.linalg.inv(b.world_from_camera) @ a.world_from_camera
    t = b_from_a[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    f = np.linalg.inv(b.intrinsics).T @ cross @ b_from_a[:3, :3] @ np.linalg.inv(a.intrinsics)
    return f / max(float(np.abs(f).max()), 1e-300)
