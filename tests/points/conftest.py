"""A small rig before two textured planes, rendered exactly: what triangulation finds can be compared with the planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourdgs_ns.capture.capture import Capture, ImageFrames, RecordedCamera
from fourdgs_ns.geometry.camera import Camera, look_at, pinhole

WIDTH, HEIGHT, FOCAL = 400, 300, 420.0
BACK_DEPTH, FRONT_DEPTH = 0.0, -1.0
FRONT_SIZE, STEP = 1.6, 0.4
"""Side of the front plane, and how far it moves to +x from one instant to the next."""
HELD_OUT = "cam2"


@dataclass(frozen=True)
class Rig:
    capture: Capture
    train: list[str]

    def distance_to_surface(self, positions: np.ndarray) -> np.ndarray:
        return np.minimum(np.abs(positions[:, 2] - BACK_DEPTH), np.abs(positions[:, 2] - FRONT_DEPTH))


def random_texture(rng: np.random.Generator, pixels: int) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(size=(pixels, pixels, 3)).astype(np.float32), (0, 0), 3.5)
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def render_plane(
    image: np.ndarray, texture: np.ndarray, x: float, z: float, side: float, projection: np.ndarray
) -> np.ndarray:
    """Paint a square plane, centred at (x, 0, z), over the image."""
    per_pixel = side / len(texture)
    # The warp maps pixel centres at integers, the projection puts them at i + 0.5.
    corner = np.array([x - side / 2, -side / 2, z, 1.0])
    plane = np.stack([[per_pixel, 0, 0, 0], [0, per_pixel, 0, 0], corner], axis=1).astype(float)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    homography = np.linalg.inv(half) @ projection @ plane @ half
    painted = cv2.warpPerspective(texture, homography, (WIDTH, HEIGHT))
    inside = cv2.warpPerspective(np.full(texture.shape[:2], 255, np.uint8), homography, (WIDTH, HEIGHT)) > 250
    return np.where(inside[:, :, None], painted, image)


@pytest.fixture(scope="session")
def rig_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of five training cameras at three instants; the held-out camera's files hold no image."""
    root = tmp_path_factory.mktemp("rig")
    rng = np.random.default_rng(3)
    back, front = random_texture(rng, 900), random_texture(rng, 300)
    for name, camera in rig_cameras().items():
        (root / name).mkdir()
        for f in range(3):
            path = root / name / f"{f}.png"
            if name == HELD_OUT:
                path.write_text("not an image")
                continue
            image = render_plane(np.zeros((HEIGHT, WIDTH, 3), np.uint8), back, 0.0, BACK_DEPTH, 6.0, camera.projection)
            image = render_plane(image, front, STEP * (f - 1), FRONT_DEPTH, FRONT_SIZE, camera.projection)
            assert cv2.imwrite(str(path), image)
    return root


def rig_poses() -> dict[str, np.ndarray]:
    angles = np.radians([-21, -13, -5, 4, 12, 20])
    heights = [0.3, -0.4, 0.2, -0.2, 0.5, -0.3]
    return {
        f"cam{i}": look_at(np.array([4 * np.sin(a), y, -4 * np.cos(a)]), np.array([0.0, 0.0, -0.3]), (0.0, -1.0, 0.0))
        for i, (a, y) in enumerate(zip(angles, heights, strict=True))
    }


def rig_cameras() -> dict[str, Camera]:
    matrix = pinhole(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
    return {name: Camera(name, WIDTH, HEIGHT, matrix, pose) for name, pose in rig_poses().items()}


@pytest.fixture
def rig(rig_template: Path, tmp_path: Path) -> Rig:
    """The rig with a root of its own, so that no test finds another one's cache."""
    cameras = tuple(
        RecordedCamera(camera, ImageFrames(tuple(rig_template / name / f"{f}.png" for f in range(3))), np.arange(3))
        for name, camera in rig_cameras().items()
    )
    capture = Capture(tmp_path, "test", cameras, np.array([0.0, 0.1, 0.4]), (HELD_OUT,))
    return Rig(capture, [c.name for c in cameras if c.name != HELD_OUT])
