"""From scene and camera to pixels, depth and object ids.

What never moves is traced once per camera; a frame traces again only the tiles that an actor, its shadow or its
occlusion can reach. The result equals tracing every tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from fourdgs_ns.common.compiled import spread
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.geometry.camera import Camera
from fourdgs_ns.synth import shading, tiles, trace
from fourdgs_ns.synth.rigs import kernel_view, late_frames
from fourdgs_ns.synth.scene import Scene

_CHUNK = 32  # tiles that a thread takes at a time


@dataclass(frozen=True)
class RenderedImage:
    """One rendered view."""

    image: UInt8[np.ndarray, "h w 3"]
    """sRGB; straight colour where the matte is partial."""
    matte: UInt8[np.ndarray, "h w"]
    """Share of each pixel that shows the subject, 255 for all of it."""


@dataclass(frozen=True)
class GroundTruth:
    """What the rays through the centres of the pixels meet."""

    depth: Float32[np.ndarray, "h w"]
    """Metres along the optical axis; infinite where there is nothing."""
    objects: UInt8[np.ndarray, "h w"]
    """Object ids; 0 is the room, or nothing."""


def sample_positions(count: int) -> np.ndarray:
    """Hammersley positions inside a pixel, float64 [count, 2], for a power of two."""
    bits = count.bit_length() - 1
    reverse = [int(f"{i:0{bits}b}"[::-1], 2) if bits else 0 for i in range(count)]
    return (np.stack([np.arange(count), np.array(reverse)], axis=1) + 0.5) / count


class Renderer:
    """Renders one scene.

    ``samples``: rays per pixel, a power of two. ``indoors``: with the room; without it, rays that miss everything see
    nothing and furniture belongs to the subject of the matte. ``octaves``: of the textures' noise.
    """

    def __init__(self, scene: Scene, samples: int, indoors: bool, octaves: int) -> None:
        self.scene = scene
        self.indoors = indoors
        self.offsets = sample_positions(samples)
        self.surfaces = scene.surfaces(octaves)
        self.palette = scene.light_colors.table()
        self.world = np.concatenate([scene.lights.ravel(), scene.window, scene.room.ravel()])
        self.rim = float(np.linalg.norm(scene.lights[0] - scene.lights[trace.LAMP_CENTER]))
        self.tables = [scene.primitives(frame) for frame in range(scene.clip.frames)]

    @staticmethod
    def octaves_for(width: int) -> int:
        """As many octaves as pixels of an image of this width can show from about 4 m."""
        return int(np.clip(np.floor(np.log2(width / 40.0)) + 1, 2, 6))

    def table(self, frame: float) -> np.ndarray:
        """The primitives at a frame or between frames; before the first and after the last one time stands still."""
        frame = min(max(frame, 0), len(self.tables) - 1)
        return self.tables[int(frame)] if frame == int(frame) else self.scene.primitives(frame)

    def for_camera(self, camera: Camera) -> CameraRenderer:
        """Start rendering a camera."""
        return CameraRenderer(self, camera)

    def ground_truth(self, camera: Camera, frame: int) -> GroundTruth:
        """Depth and object ids of a view."""
        shape = (camera.height, camera.width)
        out = self._trace(
            camera, self.table(frame + late_frames(camera, self.scene.clip.fps)), np.array([[0.5, 0.5]]), lit=False
        )
        ids = np.concatenate([self.scene.object_ids, np.zeros(1, np.uint8)])
        objects = ids[np.where(out.code >= 0, out.code, -1)]
        return GroundTruth(out.depth.reshape(shape), objects.reshape(shape))

    def _trace(self, camera: Camera, table: np.ndarray, offsets: np.ndarray, lit: bool) -> trace.Samples:
        out = trace.allocate_samples(camera.width * camera.height * len(offsets))
        spheres = np.full((_num_tiles(camera), 4), -1.0)
        near, _, _ = self._tile_lists(camera, table, 0, spheres)
        spread(
            available_cores(),
            trace.trace_all,
            len(spheres),
            _CHUNK,
            near,
            kernel_view(camera),
            camera.width,
            camera.height,
            offsets,
            table,
            self._shaders(table),
            _everything(table),
            self.world,
            self.indoors,
            lit,
            out,
        )
        return out

    def _tile_lists(
        self, camera: Camera, table: np.ndarray, first: int, spheres: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        near, shadow, crowd = (np.zeros((len(spheres), len(table) + 1), np.int16) for _ in range(3))
        rects = np.zeros((len(table), 4))
        tiles.project_boxes(table, kernel_view(camera), rects)
        spread(
            available_cores(),
            tiles.list_tiles,
            len(spheres),
            1024,
            rects,
            camera.width,
            camera.height,
            table,
            first,
            *self._reach(),
            spheres,
            near,
            shadow,
            crowd,
        )
        return near, shadow, crowd

    def _shaders(self, table: np.ndarray) -> np.ndarray:
        shaders = np.zeros((len(table), len(table) + 1), np.int16)
        tiles.list_shaders(table, *self._reach(), shaders)
        return shaders

    def _reach(self) -> tuple[np.ndarray, float, float]:
        return self.scene.lights, self.rim, trace.REACH[-1]


def _everything(table: np.ndarray) -> np.ndarray:
    present = np.flatnonzero(table[:, trace.KIND] >= 0)
    return np.concatenate([[len(present)], present]).astype(np.int16)[None]


def _num_tiles(camera: Camera) -> int:
    across, down = (-(-size // trace.TILE) for size in (camera.width, camera.height))
    return across * down


class CameraRenderer:
    """One camera of a :class:`Renderer`; holds what it sees without actors."""

    def __init__(self, renderer: Renderer, camera: Camera) -> None:
        self.renderer, self.camera = renderer, camera
        scene = renderer.scene
        self.num_still = scene.num_still
        self.still = renderer._trace(camera, scene.primitives(0)[: self.num_still], renderer.offsets, lit=True)
        self.moving = trace.allocate_samples(len(self.still.code))
        self.eye = camera.world_from_camera[:3, 3].copy()
        self.paint = np.zeros((len(self.still.code), 9), np.float32)
        spread(
            available_cores(),
            shading.paint_samples,
            len(self.still.code),
            1 << 14,
            renderer.surfaces,
            renderer.palette,
            scene.lights,
            scene.window,
            self.still,
            self.eye,
            self.paint,
        )
        self.spheres = np.zeros((_num_tiles(camera), 4))
        size = camera.width, camera.height, len(renderer.offsets)
        spread(
            available_cores(),
            tiles.bound_tiles,
            len(self.spheres),
            256,
            *size,
            self.still.code,
            self.still.position,
            self.spheres,
        )
        self.empty = self._empty_image()
        self._shade(np.arange(len(self.spheres)), self.still, trace.allocate_samples(0), self.empty)

    def render(self, frame: int) -> RenderedImage:
        """The view at a frame."""
        renderer, camera = self.renderer, self.camera
        table = renderer.table(frame + late_frames(camera, renderer.scene.clip.fps))
        near, shadow, crowd = renderer._tile_lists(camera, table, self.num_still, self.spheres)
        touched = np.flatnonzero(near[:, 0] | shadow[:, 0] | crowd[:, 0])
        rendered = RenderedImage(self.empty.image.copy(), self.empty.matte.copy())
        if len(touched) == 0:
            return rendered
        spread(
            available_cores(),
            trace.trace_tiles,
            len(touched),
            _CHUNK,
            touched,
            near,
            shadow,
            crowd,
            kernel_view(camera),
            camera.width,
            camera.height,
            renderer.offsets,
            table,
            renderer._shaders(table),
            renderer.world,
            renderer.indoors,
            self.still,
            self.moving,
        )
        self._shade(touched, self.moving, self.still, rendered)
        return rendered

    def _empty_image(self) -> RenderedImage:
        shape = (self.camera.height, self.camera.width)
        return RenderedImage(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8))

    def _shade(
        self, touched: np.ndarray, samples: trace.Samples, still: trace.Samples, rendered: RenderedImage
    ) -> None:
        renderer = self.renderer
        spread(
            available_cores(),
            shading.shade_tiles,
            len(touched),
            _CHUNK,
            touched,
            self.camera.width,
            self.camera.height,
            len(renderer.offsets),
            self.eye,
            renderer.surfaces,
            renderer.palette,
            renderer.scene.lights,
            renderer.scene.window,
            self.num_still,
            self.num_still if renderer.indoors else 0,
            samples,
            still,
            self.paint,
            rendered.image,
            rendered.matte,
        )
