"""The scenes: ``stage``, seen from the front, and ``studio``, seen from all around."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fourdgs_ns.synth import actors
from fourdgs_ns.synth.actors import furniture, still
from fourdgs_ns.synth.scene import Clip, Decal, LightColors, Material, Part, Scene
from fourdgs_ns.synth.shading import (
    BRICKS,
    CELLS,
    CHECKER,
    DOTS,
    FLAT,
    MARBLE,
    PANE,
    PAPER,
    PLANKS,
    STRIPES,
    TEXT,
)
from fourdgs_ns.synth.trace import BOX, CYLINDER, ELLIPSOID, LAMP_POINTS

FLOOR = 4

_PARQUET = Material(PLANKS, ("#8c5a2e", "#d09a5a", "#5a3a1c", "#b98246"), 0.2)
_PLASTER = Material(FLAT, ("#e2dccf", "#f3efe6", "#cfc8ba", "#ece7dc"), 0.4)
_BRICK = Material(BRICKS, ("#8e3b28", "#c4694a", "#cabfae", "#8e3b28"), 0.36)
_GREEN_PAPER = Material(PAPER, ("#6f8f86", "#a9c2b4", "#e8d9a8", "#c97b63"), 0.34)
_BLUE_PAPER = Material(PAPER, ("#54729a", "#8fa9c6", "#f0e4c4", "#d9825b"), 0.36)
_TILES = Material(CHECKER, ("#e6ddca", "#6d7f8c", "#b5603f", "#e6ddca"), 0.45)
_SKY = Material(PANE, ("#9cc3ee", "#f4f8ff", "#7fa36b", "#6b5a48"), 1.0)
_RUG = Material(CELLS, ("#7b1e3a", "#c9a227", "#1f4e5f", "#efe3c8"), 0.24)
_HOLE = Material(FLAT, ("#15130f", "#2a2620", "#15130f", "#2a2620"), 0.3)


def _poster(text: str, *colors: str) -> Material:
    return Material(TEXT, (colors[0], colors[1], colors[2], colors[3]), 0.3, text=text)


def _lamp(center: tuple[float, float, float], sun: tuple[float, float, float]) -> np.ndarray:
    """The lamp's points on two rings of 0.3 m and 0.15 m, the sun, and the lamp's centre: float64 [10, 3]."""
    angles = 2 * np.pi * np.arange(LAMP_POINTS) / LAMP_POINTS
    radii = np.where(np.arange(LAMP_POINTS) % 2 == 0, 0.3, 0.15)
    disc = np.stack([radii * np.cos(angles), radii * np.sin(angles), np.zeros_like(angles)], axis=1)
    return np.concatenate([np.array(center) + disc, [sun], [center]])


def stage(clip: Clip, seed: int) -> Scene:
    """A room seen from the front: nine actors on a floor with a rug, before a papered wall with posters."""
    rng = np.random.default_rng([seed, 0])
    phase = rng.random(9)
    shift = rng.uniform(-0.06, 0.06, (9, 2))
    room = np.array([[-3.6, -6.5, 0.0], [3.6, 2.5, 3.4]])
    window = np.array([-3.6, 0.0, 2.0, 0.9, 2.5])
    decals = (
        Decal(FLOOR, (-1.5, -1.5, 1.1, 0.45), _RUG),
        Decal(3, (-3.1, 1.35, -1.9, 2.55), _poster("STAGE", "#12355b", "#420039", "#d72638", "#ffe8c2")),
        Decal(3, (-0.2, 1.75, 1.15, 2.75), replace(_GREEN_PAPER, pattern=MARBLE, colors=_SUNSET)),
        Decal(3, (1.75, 1.2, 2.85, 2.6), Material(DOTS, ("#fbf3dd", "#e4572e", "#17bebb", "#2e282a"), 0.22)),
        Decal(3, (-1.55, 0.6, -0.55, 1.5), Material(STRIPES, ("#f4d35e", "#ee964b", "#0d3b66", "#faf0ca"), 0.3)),
        Decal(0, (window[1], window[3], window[2], window[4]), _SKY),
        Decal(0, (-0.95, 1.7, -0.35, 2.3), _HOLE),
        Decal(1, (-0.8, 1.5, -0.2, 2.1), _HOLE),
        Decal(1, (0.3, 1.0, 1.7, 2.3), _poster("FOUR D", "#2f4b26", "#3e885b", "#bedcfe", "#fef9ef")),
    )
    crate = Part(BOX, (0.36, 0.36, 0.36), actors.WOOD, still((2.55, 1.75, 0.36), 0.5))
    shelf_paint = Material(CELLS, ("#b23a48", "#fcb9b2", "#1b998b", "#2d3047"), 0.2)
    shelf = Part(BOX, (0.45, 0.24, 0.6), shelf_paint, still((-2.75, 2.0, 0.6), -0.15))
    vase_paint = Material(MARBLE, ("#0b3954", "#087e8b", "#bfd7ea", "#ff5a5f"), 0.16, gloss=0.3)
    vase = Part(ELLIPSOID, (0.17, 0.17, 0.26), vase_paint, still((-2.75, 2.0, 1.46)))
    post = Part(CYLINDER, (0.035, 0.035, 0.95), actors.METAL, still((3.1, 0.4, 0.95)))
    shade_paint = Material(PAPER, ("#f2cc8f", "#f4f1de", "#e07a5f", "#81b29a"), 0.14)
    shade = Part(CYLINDER, (0.26, 0.26, 0.17), shade_paint, still((3.1, 0.4, 2.0)))
    hole_left, hole_right = (-3.4, -0.65, 2.0), (3.4, -0.5, 1.8)
    things = (
        actors.table(-1.35, 0.95, 0.74),
        actors.pedestal(1.25, 0.55, 0.5),
        furniture("crate", "stands still", crate),
        furniture("shelf", "stands still, with a vase on it", shelf, vase),
        furniture("floor lamp", "stands still", post, shade),
        actors.bouncing_ball(-1.9, -0.7, -0.75 + shift[0, 0], phase[0]),
        actors.spinning_box(1.25, 0.55, 0.5, phase[1]),
        actors.pendulum((-0.75 + shift[2, 0], 1.7, 3.4), 1.35, phase[2]),
        actors.dart(clip, hole_left, hole_right, 0.25),
        actors.balloon(clip, (2.2 + shift[4, 0], 0.9 + shift[4, 1], 1.45), phase[4]),
        actors.jelly(-1.35 + shift[5, 0], 0.95, 0.74, phase[5]),
        actors.ring((1.65 + shift[6, 0], -0.75 + shift[6, 1], 1.65), phase[6]),
        actors.drum(0.55, 1.75, -1.35 + shift[7, 1], phase[7]),
        actors.dancer(0.05 + shift[8, 0], 0.15 + shift[8, 1], phase[8]),
    )
    return Scene(
        name="stage",
        clip=clip,
        seed=seed,
        room=room,
        room_materials=(_BRICK, _BRICK, _PLASTER, _GREEN_PAPER, _PARQUET, _PLASTER),
        decals=decals,
        window=window,
        lights=_lamp((1.7, -2.2, 3.25), (-33.6, 12.0, 20.0)),
        light_colors=LightColors(),
        things=things,
        focus=np.array([0.0, 0.2, 1.1]),
    )


def studio(clip: Clip, seed: int) -> Scene:
    """A square room seen from all around: eight actors in its middle, every wall papered and hung with pictures."""
    rng = np.random.default_rng([seed, 0])
    phase = rng.random(8)
    shift = rng.uniform(-0.05, 0.05, (8, 2))
    room = np.array([[-4.5, -4.5, 0.0], [4.5, 4.5, 3.6]])
    window = np.array([-4.5, -1.3, 1.3, 0.9, 2.7])
    decals = (
        Decal(FLOOR, (-1.7, -1.7, 1.7, 1.7), replace(_RUG, size=0.3)),
        Decal(0, (window[1], window[3], window[2], window[4]), _SKY),
        Decal(0, (1.9, 0.8, 3.4, 2.2), _poster("WEST", "#12355b", "#420039", "#d72638", "#ffe8c2")),
        Decal(0, (-3.6, 0.9, -2.2, 2.3), Material(DOTS, ("#fbf3dd", "#e4572e", "#17bebb", "#2e282a"), 0.25)),
        Decal(1, (-3.2, 0.8, -1.4, 2.2), _poster("EAST", "#2f4b26", "#3e885b", "#bedcfe", "#fef9ef")),
        Decal(1, (0.2, 0.9, 2.2, 2.5), Material(MARBLE, _SUNSET, 0.34)),
        Decal(2, (-3.0, 0.8, -1.0, 2.3), Material(STRIPES, ("#f4d35e", "#ee964b", "#0d3b66", "#faf0ca"), 0.3)),
        Decal(2, (0.6, 0.9, 2.8, 2.3), _poster("SOFT", "#5b2a86", "#7785ac", "#9ac6c5", "#fff6e0")),
        Decal(3, (-3.2, 0.9, -1.2, 2.3), _poster("LEFT", "#a4243b", "#d8973c", "#bd632f", "#fff4dc")),
        Decal(3, (0.4, 0.7, 2.4, 2.4), Material(CELLS, ("#0a9396", "#ee9b00", "#9b2226", "#e9d8a6"), 0.3)),
    )
    post = Part(CYLINDER, (0.035, 0.035, 0.8), actors.METAL, still((-1.5, 1.2, 0.8)))
    globe_paint = Material(MARBLE, ("#14213d", "#2a6f97", "#a9d6e5", "#e9c46a"), 0.2)
    globe = Part(ELLIPSOID, (0.22, 0.22, 0.22), globe_paint, still((-1.5, 1.2, 1.8)))
    stool_paint = Material(CHECKER, ("#bc4749", "#f2e8cf", "#386641", "#a7c957"), 0.1)
    stool = Part(CYLINDER, (0.34, 0.34, 0.25), stool_paint, still((0.2, -1.15, 0.25)))
    things = (
        actors.pedestal(1.05, 0.35, 0.45),
        furniture("globe", "stands still on its post", post, globe),
        furniture("stool", "stands still", stool),
        actors.bouncing_ball(-1.6, -0.5, -0.8 + shift[0, 0], phase[0]),
        actors.spinning_box(1.05, 0.35, 0.45, phase[1]),
        actors.pendulum((0.1 + shift[2, 0], 1.25, 3.6), 1.9, phase[2]),
        actors.dart(clip, (-1.9, -2.2, 1.7), (1.9, 2.4, 1.6), 0.3),
        actors.balloon(clip, (1.2 + shift[4, 0], -0.9 + shift[4, 1], 1.3), phase[4]),
        actors.jelly(0.2, -1.15, 0.5, phase[5]),
        actors.ring((-1.05 + shift[6, 0], 0.4 + shift[6, 1], 1.55), phase[6]),
        actors.dancer(-0.1 + shift[7, 0], 0.1 + shift[7, 1], phase[7]),
    )
    return Scene(
        name="studio",
        clip=clip,
        seed=seed,
        room=room,
        room_materials=(_BLUE_PAPER, _GREEN_PAPER, _BRICK, _BLUE_PAPER, _TILES, _PLASTER),
        decals=decals,
        window=window,
        lights=_lamp((0.5, -0.6, 3.5), (-38.0, -6.0, 26.0)),
        light_colors=LightColors(fill_towards=(0.3, -0.5, 0.8), fill=(0.12, 0.12, 0.14)),
        things=things,
        focus=np.array([0.0, 0.0, 0.95]),
    )


_SUNSET = ("#2b2d42", "#8d3b72", "#f77f00", "#fcefb4")

SCENES: dict[str, Callable[[Clip, int], Scene]] = {"stage": stage, "studio": studio}
