"""What a synthetic scene is: a room, things made of simple solids, their motions and their paint.

World: metres, right-handed, z up, floor at z = 0. Motions are functions of seconds since the first frame; lifetimes are
given in frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from fourdgs_ns.synth import shading, trace


@dataclass(frozen=True)
class Clip:
    """How long a scene lasts."""

    frames: int
    """At least 2."""
    fps: float

    def seconds(self, frame: float) -> float:
        """Instant of a frame in seconds."""
        return frame / self.fps

    def time(self, frame: int) -> float:
        """Instant of a frame on [0, 1]."""
        return frame / (self.frames - 1)

    def frame_at(self, share: float) -> int:
        """The frame nearest to a share of the clip."""
        return round(share * (self.frames - 1))


@dataclass(frozen=True)
class Material:
    """A procedural texture."""

    pattern: int
    """One of the patterns of :mod:`shading`."""
    colors: tuple[str, str, str, str]
    """sRGB, ``#rrggbb``; the pattern decides which is used where."""
    size: float
    """Largest feature in metres."""
    gloss: float = 0.0
    """Strength of the highlight, 0 for matt."""
    text: str = ""
    """What a TEXT pattern writes."""


@dataclass(frozen=True)
class Placement:
    """Where a part is at one instant."""

    center: Float[np.ndarray, "3"]
    """World position in metres."""
    rotation: Float[np.ndarray, "3 3"]
    """world_from_object."""
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on the part's extent."""


Motion = Callable[[float], Placement]


@dataclass(frozen=True)
class Part:
    """One solid of a thing."""

    kind: int
    """ELLIPSOID, BOX, CYLINDER (axis z), CAPSULE (axis z) or TORUS (axis z) of :mod:`trace`."""
    extent: tuple[float, float, float]
    """Half size in metres along the object's axes; radius of the capsule, major radius of the torus."""
    material: Material
    motion: Motion
    shape: float = 0.0
    """CAPSULE: half length of the segment over the radius. TORUS: minor over major radius."""

    def reach(self, stretch: tuple[float, float, float]) -> float:
        """Radius in metres of the bounding sphere."""
        size = np.multiply(self.extent, stretch)
        if self.kind == trace.BOX:
            return float(np.linalg.norm(size))
        if self.kind == trace.CYLINDER:
            return float(np.hypot(size[0], size[2]))
        return float(size.max()) * (1.0 + self.shape)


@dataclass(frozen=True)
class Thing:
    """Something in the scene: an actor if it moves, else furniture."""

    name: str
    does: str
    """One sentence for ``scene.json``."""
    parts: tuple[Part, ...]
    moves: bool = True
    first_frame: int = 0
    last_frame: int | None = None
    """Last frame in which it exists; None: to the end."""

    def exists(self, frame: float) -> bool:
        return self.first_frame <= frame and (self.last_frame is None or frame <= self.last_frame)


@dataclass(frozen=True)
class Decal:
    """A rectangle of another material on a face of the room."""

    face: int
    """0..5: x low, x high, y low, y high, floor, ceiling."""
    rect: tuple[float, float, float, float]
    """u0, v0, u1, v1 in metres; (u, v) is (y, z), (x, z) or (x, y)."""
    material: Material


@dataclass(frozen=True)
class LightColors:
    """Linear RGB of the lights."""

    ambient_up: tuple[float, float, float] = (0.2, 0.21, 0.24)
    ambient_down: tuple[float, float, float] = (0.19, 0.165, 0.14)
    fill_towards: tuple[float, float, float] = (-0.45, -0.8, 0.4)
    fill: tuple[float, float, float] = (0.16, 0.16, 0.18)
    lamp: tuple[float, float, float] = (1.15, 1.06, 0.92)
    sun: tuple[float, float, float] = (1.5, 1.25, 0.85)
    sky: tuple[float, float, float] = (0.5, 0.6, 0.8)

    def table(self) -> Float[np.ndarray, "7 3"]:
        """All of them as rows, in the order in which the kernels read them."""
        towards = np.array(self.fill_towards) / np.linalg.norm(self.fill_towards)
        rows = [self.ambient_up, self.ambient_down, towards, self.fill, self.lamp, self.sun, self.sky]
        return np.array(rows, dtype=np.float64)


@dataclass(frozen=True)
class Scene:
    """A room with things in it. Furniture comes before actors in ``things``."""

    name: str
    clip: Clip
    seed: int
    room: Float[np.ndarray, "2 3"]
    """Low and high corner in metres."""
    room_materials: tuple[Material, ...]
    """One per face, in the order of ``Decal.face``."""
    decals: tuple[Decal, ...]
    window: Float[np.ndarray, "5"]
    """x of the wall, then y0, y1, z0, z1 of the opening."""
    lights: Float[np.ndarray, "10 3"]
    """Points of the lamp, the sun, and the middle of the lamp."""
    light_colors: LightColors
    things: tuple[Thing, ...]
    focus: Float[np.ndarray, "3"]
    """Where the rig looks."""

    @property
    def parts(self) -> list[Part]:
        return [part for thing in self.things for part in thing.parts]

    @property
    def num_still(self) -> int:
        """Primitives that never move; they come first."""
        return sum(len(thing.parts) for thing in self.things if not thing.moves)

    @property
    def object_ids(self) -> UInt8[np.ndarray, " p"]:
        """Object of each primitive: 1, 2, ... in the order of ``things``; 0 is the room."""
        counts = [len(thing.parts) for thing in self.things]
        return np.repeat(np.arange(1, len(counts) + 1), counts).astype(np.uint8)

    def primitives(self, frame: float) -> Float[np.ndarray, "p c"]:
        """The kernels' table at a frame; rows of things that do not exist then are ABSENT."""
        seconds = self.clip.seconds(frame)
        rows = []
        for thing in self.things:
            for part in thing.parts:
                row = np.zeros(trace.COLUMNS)
                row[trace.KIND] = trace.ABSENT
                if thing.exists(frame):
                    place = part.motion(seconds)
                    row[trace.KIND] = part.kind
                    row[trace.CENTER : trace.CENTER + 3] = place.center
                    row[trace.ROTATION : trace.ROTATION + 9] = np.ravel(place.rotation)
                    scale = np.multiply(part.extent, place.stretch)
                    row[trace.SCALE : trace.SCALE + 3] = scale
                    row[trace.TO_OBJECT : trace.TO_OBJECT + 9] = np.ravel(place.rotation.T / scale[:, None])
                    row[trace.SHAPE] = part.shape
                    row[trace.RADIUS] = part.reach(place.stretch)
                rows.append(row)
        return np.array(rows).reshape(-1, trace.COLUMNS)

    def surfaces(self, octaves: int) -> shading.Surfaces:
        """The kernels' table of paint."""
        parts = self.parts
        used = [*(p.material for p in parts), *self.room_materials, *(d.material for d in self.decals)]
        materials = list(dict.fromkeys(used))
        number = {material: i for i, material in enumerate(materials)}
        texts = list(dict.fromkeys(m.text for m in materials))
        seeds = np.random.default_rng([self.seed, 1]).integers(0, 2**31, len(materials))
        return shading.Surfaces(
            pattern=np.array([m.pattern for m in materials]),
            colors=np.array([[linear_color(c) for c in m.colors] for m in materials]),
            size=np.array([m.size for m in materials]),
            seed=seeds,
            gloss=np.array([m.gloss for m in materials]),
            label=np.array([texts.index(m.text) for m in materials]),
            texts=np.array([text_bitmap(text) for text in texts]),
            kind=np.array([p.kind for p in parts]),
            material=np.array([number[p.material] for p in parts]),
            extent=np.array([p.extent for p in parts]),
            room_material=np.array([number[m] for m in self.room_materials]),
            decal_face=np.array([d.face for d in self.decals]),
            decal_rect=np.array([d.rect for d in self.decals]),
            decal_material=np.array([number[d.material] for d in self.decals]),
            octaves=octaves,
        )


def linear_color(color: str) -> Float[np.ndarray, "3"]:
    """Linear RGB of an sRGB colour ``#rrggbb``."""
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def turn(axis: tuple[float, float, float], angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation by ``angle`` radians about an axis."""
    unit = np.array(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec(angle * unit).as_matrix()


def along(start: np.ndarray, end: np.ndarray) -> Float[np.ndarray, "3 3"]:
    """Rotation that points the z axis from ``start`` to ``end`` and keeps the y axis near the world's."""
    z = (end - start) / np.linalg.norm(end - start)
    x = np.cross((0.0, 1.0, 0.0), z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


_GLYPHS = {
    " ": "00000 00000 00000 00000 00000 00000 00000",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "D": "11110 10001 10001 10001 10001 10001 11110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "G": "01110 10001 10000 10111 10001 10001 01110",
    "I": "01110 00100 00100 00100 00100 00100 01110",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "V": "10001 10001 10001 10001 10001 01010 00100",
    "W": "10001 10001 10001 10101 10101 11011 10001",
}


def text_bitmap(text: str) -> UInt8[np.ndarray, "28 120"]:
    """One line of text as 0/1, stretched to a fixed size."""
    rows: list[Int[np.ndarray, " w"]] = []
    for r in range(7):
        bits = "0".join(_GLYPHS[letter].split()[r] for letter in text or " ")
        rows.append(np.array([int(bit) for bit in bits]))
    small = np.array(rows)
    return small[np.arange(28) // 4][:, np.arange(120) * small.shape[1] // 120].astype(np.uint8)
