"""Stages without a room: the things stand on a disc before a plain, green or graded backdrop, seen by uneven cameras.

Colours are sRGB in [0, 1] unless said otherwise; a backdrop is mixed with the things as cameras and editors do, in sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.synth.actors import furniture, still
from fourdgs_ns.synth.renderer import RenderedImage
from fourdgs_ns.synth.scene import Material, Part, Scene
from fourdgs_ns.synth.shading import MARBLE
from fourdgs_ns.synth.trace import CYLINDER

BACKDROPS = ("room", "plain", "green", "gradient")
_COLORS = {"plain": (0.71, 0.71, 0.71), "green": (0.16, 0.69, 0.25), "gradient": (0.55, 0.57, 0.62)}
_WALL = 6.0  # metres from the focus to the graded wall
_SPILL_REACH = 0.02  # blur of the spilled light over the image's width
_STOPS = 0.3  # largest difference of a camera's exposure from the mean, in stops
_CORNER = 0.3  # largest loss of light in the corners
_DISC = Material(MARBLE, ("#4a3f35", "#8c7a66", "#b9a68c", "#d9cdb8"), 0.45)


def on_disc(scene: Scene) -> Scene:
    """The scene with a disc under its things, for cameras that see no floor."""
    height, radius = 0.04, 2.3
    disc = Part(CYLINDER, (radius, radius, height / 2), _DISC, still((0.0, 0.0, -height / 2)))
    return replace(scene, things=(furniture("disc", "lies under everything", disc), *scene.things))


@dataclass(frozen=True)
class Backdrop:
    """What stands behind the things of a scene, and what its light and the cameras do to the images."""

    kind: str
    """One of :data:`BACKDROPS` but room."""
    focus: Float[np.ndarray, "3"]
    spill: bool = False
    """The backdrop's light reaches the outlines of the things."""
    uneven: bool = False
    """Cameras differ in exposure and darken towards the corners; the first one does neither."""
    seed: int = 0

    def shown(self, rendered: RenderedImage, camera: Camera, number: int) -> RenderedImage:
        """What camera ``number`` of the rig takes of a view that was rendered without a room; the matte stays."""
        image, matte = rendered.image / 255.0, rendered.matte[..., None] / 255.0
        behind = self.behind(camera)
        if self.spill:
            image = self._spilled(image, matte, behind)
        image = matte * image + (1.0 - matte) * behind
        if self.uneven and number:
            image = to_display(to_linear(image) * self._response(camera, number)[..., None])
        return RenderedImage(_bytes(image), rendered.matte)

    def behind(self, camera: Camera) -> Float[np.ndarray, "h w 3"]:
        """The backdrop alone."""
        flat = np.broadcast_to(np.array(_COLORS[self.kind]), (camera.height, camera.width, 3))
        if self.kind != "gradient":
            return flat
        x, y, z = np.moveaxis(_on_sphere(camera, self.focus, _WALL), -1, 0)
        warmth = 0.5 + 0.5 * np.sin(np.arctan2(y, x))
        shade = 0.26 * z + 0.05 * warmth
        return np.clip(flat + shade[..., None] + warmth[..., None] * np.array([0.05, 0.0, -0.04]), 0.0, 1.0)

    def _spilled(self, image: np.ndarray, matte: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """Adds the backdrop's light near outlines, as its share of a blurred neighbourhood."""
        sigma = _SPILL_REACH * image.shape[1]
        near = cv2.GaussianBlur(1.0 - matte[..., 0], (0, 0), sigma)[..., None]
        return np.clip(image + 0.35 * near * (to_linear(behind) - 0.05), 0.0, 1.0)

    def _response(self, camera: Camera, number: int) -> Float[np.ndarray, "h w"]:
        """Factor on the linear light that reaches each pixel."""
        rng = np.random.default_rng([self.seed, 3, number])
        gain, corner = 2.0 ** rng.uniform(-_STOPS, _STOPS), rng.uniform(0.0, _CORNER)
        rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
        away = (columns - camera.width / 2) ** 2 + (rows - camera.height / 2) ** 2
        return gain * (1.0 - corner * away / away.max())


def _on_sphere(camera: Camera, center: np.ndarray, radius: float) -> Float[np.ndarray, "h w 3"]:
    """Unit vectors from ``center`` to where the pixels' rays leave a sphere around it; the camera stands inside."""
    k, pose = camera.intrinsics, camera.world_from_camera
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones_like(rows)], axis=-1)
    rays = rays @ pose[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    eye = (pose[:3, 3] - center) / radius
    along = rays @ eye
    return eye + rays * (np.sqrt(along**2 + 1.0 - eye @ eye) - along)[..., None]


def to_linear(color: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values."""
    return np.where(color <= 0.04045, color / 12.92, ((np.maximum(color, 0.0) + 0.055) / 1.055) ** 2.4)


def to_display(light: np.ndarray) -> np.ndarray:
    """sRGB values of linear light."""
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1.0 / 2.4) - 0.055)


def _bytes(image: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    return np.floor(255.0 * np.clip(image, 0.0, 1.0) + 0.5).astype(np.uint8)
