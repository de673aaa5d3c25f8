"""The actors that the scenes share: each function returns a :class:`Thing` with its motion."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin, sqrt

import numpy as np

from fourdgs_ns.synth.scene import Clip, Material, Motion, Part, Placement, Thing, along, turn
from fourdgs_ns.synth.shading import CELLS, CHECKER, DOTS, MARBLE, PLANKS, STRIPES, TEXT
from fourdgs_ns.synth.trace import BOX, CAPSULE, CYLINDER, ELLIPSOID, TORUS

Point = tuple[float, float, float]

WOOD = Material(PLANKS, ("#a8713f", "#d8a868", "#60401f", "#8a5a30"), 0.12)
METAL = Material(STRIPES, ("#c8ccd2", "#9aa2ac", "#5c6670", "#e4e6e8"), 0.08, gloss=0.25)


def still(center: Point, angle: float = 0.0) -> Motion:
    """Motion of something that stays where it is, turned by ``angle`` about the vertical."""
    place = Placement(np.array(center), turn((0, 0, 1), angle))
    return lambda seconds: place


def furniture(name: str, does: str, *parts: Part) -> Thing:
    """A thing that never moves."""
    return Thing(name, does, parts, moves=False)


def table(x: float, y: float, height: float) -> Thing:
    """A wooden table, 1.2 m by 0.7 m."""
    top = Part(BOX, (0.6, 0.35, 0.025), WOOD, still((x, y, height - 0.025)))
    half = (height - 0.05) / 2
    legs = [
        Part(BOX, (0.03, 0.03, half), WOOD, still((x + a * 0.54, y + b * 0.29, half))) for a in (-1, 1) for b in (-1, 1)
    ]
    return furniture("table", "stands still", top, *legs)


def pedestal(x: float, y: float, height: float) -> Thing:
    """A round pedestal for the box."""
    stone = Material(MARBLE, ("#3d4a46", "#7d948a", "#c9d6c8", "#efe9dc"), 0.3, gloss=0.12)
    part = Part(CYLINDER, (0.42, 0.42, height / 2), stone, still((x, y, height / 2)))
    return furniture("pedestal", "stands still", part)


def bouncing_ball(x0: float, x1: float, y: float, phase: float) -> Thing:
    """A patchwork ball that bounces to and fro."""
    radius, height, hop, period = 0.24, 0.75, 0.8, 3.2
    paint = Material(CELLS, ("#e23b2e", "#f7c331", "#2f6fd0", "#f4f1e6"), 0.15, gloss=0.1)

    def motion(seconds: float) -> Placement:
        u = (seconds / hop + phase) % 1.0
        sway = sin(2 * pi * (seconds / period + phase))
        x = (x0 + x1) / 2 + (x1 - x0) / 2 * sway
        center = np.array([x, y, radius + 4 * height * u * (1 - u)])
        return Placement(center, turn((0.3, 1, 0.2), 2.4 * sway + 0.8 * seconds))

    return Thing("ball", "bounces and rolls about", (Part(ELLIPSOID, (radius,) * 3, paint, motion),))


def spinning_box(x: float, y: float, floor: float, phase: float) -> Thing:
    """A box with lettering that spins about the vertical."""
    paint = Material(TEXT, ("#1f7a8c", "#d1495b", "#edae49", "#fbf7ea"), 0.3, text="4D")

    def motion(seconds: float) -> Placement:
        return Placement(np.array([x, y, floor + 0.27]), turn((0, 0, 1), 2 * pi * (0.22 * seconds + phase)))

    part = Part(BOX, (0.27, 0.27, 0.27), paint, motion)
    return Thing("box", "spins about the vertical, with lettering on its faces", (part,))


def pendulum(pivot: Point, length: float, phase: float) -> Thing:
    """A striped weight on a rod that swings below its pivot, left and right."""
    paint = Material(STRIPES, ("#2b2d6e", "#f2e8cf", "#d62839", "#7fb7be"), 0.11, gloss=0.1)

    def swing(seconds: float) -> tuple[np.ndarray, np.ndarray]:
        angle = 0.42 * sin(2 * pi * (seconds / 2.2 + phase))
        down = np.array([sin(angle), 0.12 * sin(2 * pi * seconds / 3.1), -cos(angle)])
        down /= np.linalg.norm(down)
        return np.array(pivot), down

    def rod(seconds: float) -> Placement:
        top, down = swing(seconds)
        return Placement(top + down * length / 2, along(top + down, top))

    def weight(seconds: float) -> Placement:
        top, down = swing(seconds)
        return Placement(top + down * length, along(top + down, top))

    parts = (
        Part(CYLINDER, (0.02, 0.02, length / 2), METAL, rod),
        Part(ELLIPSOID, (0.23, 0.23, 0.3), paint, weight),
    )
    return Thing("pendulum", "swings below the ceiling", parts)


def dart(clip: Clip, start: Point, end: Point, sag: float) -> Thing:
    """A small ball that flies from ``start`` to ``end`` within nine frames, the fastest thing in the scene."""
    paint = Material(CHECKER, ("#111111", "#ff7a00", "#ffe14d", "#ffffff"), 0.07)
    first = clip.frame_at(0.4)
    steps = 9

    def motion(seconds: float) -> Placement:
        u = (seconds * clip.fps - first) / steps
        center = (1 - u) * np.array(start) + u * np.array(end) + np.array([0, 0, 4 * sag * u * (1 - u)])
        return Placement(center, turn((0.2, 1, 0.4), 6.0 * u))

    part = Part(ELLIPSOID, (0.16, 0.16, 0.16), paint, motion)
    last = min(clip.frames - 1, first + steps)
    return Thing("dart", "flies across the view within nine frames", (part,), first_frame=first, last_frame=last)


def balloon(clip: Clip, start: Point, phase: float) -> Thing:
    """A balloon on a string that is there from a fifth to seven tenths of the clip, then pops."""
    rubber = Material(DOTS, ("#c2185b", "#ffd54f", "#fff3e0", "#4dd0e1"), 0.13, gloss=0.35)
    string = Material(STRIPES, ("#f5f5f5", "#222222", "#f5f5f5", "#222222"), 0.1)
    first = clip.frame_at(0.2)

    def at(seconds: float, below: float) -> Placement:
        since = seconds - clip.seconds(first)
        sway = 0.12 * sin(2 * pi * (seconds / 2.6 + phase))
        center = np.array(start) + np.array([sway, 0.5 * sway, 0.28 * since - below])
        return Placement(center, turn((0, 0, 1), 0.7 * seconds))

    parts = (
        Part(ELLIPSOID, (0.27, 0.27, 0.33), rubber, lambda seconds: at(seconds, 0.0)),
        Part(CYLINDER, (0.013, 0.013, 0.22), string, lambda seconds: at(seconds, 0.55)),
    )
    last = max(first, clip.frame_at(0.7))
    return Thing("balloon", "appears, rises and pops", parts, first_frame=first, last_frame=last)


def jelly(x: float, y: float, floor: float, phase: float) -> Thing:
    """A blob that breathes: it grows tall and thin and sinks again at constant volume."""
    paint = Material(MARBLE, ("#123c2b", "#3f9b52", "#c5e063", "#f8ffd0"), 0.28, gloss=0.2)

    def motion(seconds: float) -> Placement:
        tall = 1.0 + 0.28 * sin(2 * pi * (seconds / 1.3 + phase))
        wide = 1.0 / sqrt(tall)
        center = np.array([x, y, floor + 0.27 * tall])
        return Placement(center, turn((0, 0, 1), 0.4 * seconds), (wide, wide, tall))

    return Thing("jelly", "breathes at constant volume", (Part(ELLIPSOID, (0.3, 0.3, 0.27), paint, motion),))


def ring(center: Point, phase: float) -> Thing:
    """A torus that tumbles in the air."""
    paint = Material(CHECKER, ("#5b2a86", "#f5b0cb", "#ffffff", "#2a9d8f"), 0.12, gloss=0.15)

    def motion(seconds: float) -> Placement:
        bob = 0.14 * sin(2 * pi * (seconds / 2.4 + phase))
        rotation = turn((0, 0, 1), 1.1 * seconds) @ turn((1, 0.2, 0), 1.2 + 2.0 * seconds + 6.0 * phase)
        return Placement(np.array(center) + np.array([0.5 * bob, 0, bob]), rotation)

    return Thing("ring", "tumbles in the air", (Part(TORUS, (0.26,) * 3, paint, motion, shape=0.38),))


def drum(x0: float, x1: float, y: float, phase: float) -> Thing:
    """A drum lying on the floor that rolls to and fro without slipping."""
    radius = 0.2
    paint = Material(CELLS, ("#264653", "#e9c46a", "#e76f51", "#f1faee"), 0.13)

    def motion(seconds: float) -> Placement:
        x = (x0 + x1) / 2 + (x1 - x0) / 2 * sin(2 * pi * (seconds / 3.6 + phase))
        return Placement(np.array([x, y, radius]), turn((0, 1, 0), x / radius) @ turn((1, 0, 0), pi / 2))

    return Thing("drum", "rolls on the floor", (Part(CYLINDER, (radius, radius, 0.24), paint, motion),))


@dataclass(frozen=True)
class _Limb:
    """A capsule that swings about a joint of the dancer."""

    joint: Point
    length: float
    radius: float
    reach: float
    """Amplitude in radians."""
    rest: float
    """Mean angle from straight down, towards +x, in radians."""
    shift: float
    """Phase in turns."""
    material: Material


def dancer(x: float, y: float, phase: float) -> Thing:
    """A figure of capsules that steps left and right and swings its limbs."""
    shirt = Material(STRIPES, ("#d7263d", "#f4f1de", "#1b1b3a", "#d7263d"), 0.13)
    trousers = Material(CHECKER, ("#1d3557", "#457b9d", "#a8dadc", "#1d3557"), 0.08)
    skin = Material(DOTS, ("#e0ac80", "#8d5524", "#c68642", "#f1c27d"), 0.09)
    beat = 1.25

    def hips(seconds: float) -> np.ndarray:
        u = 2 * pi * (seconds / beat + phase)
        return np.array([x + 0.22 * sin(u / 2), y, 0.78 + 0.03 * cos(u)])

    def lean(seconds: float) -> np.ndarray:
        turned = turn((0, 0, 1), 0.5 * sin(2 * pi * (seconds / (2 * beat) + phase)))
        return turned @ turn((0, 1, 0), 0.12 * sin(2 * pi * (seconds / beat + phase)))

    def body(offset: Point) -> Motion:
        return lambda seconds: Placement(hips(seconds) + lean(seconds) @ np.array(offset), lean(seconds))

    def limb(joined: _Limb) -> Part:
        def motion(seconds: float) -> Placement:
            angle = joined.rest + joined.reach * sin(2 * pi * (seconds / beat + phase + joined.shift))
            local = turn((0, 1, 0), -angle)
            rotation = lean(seconds) @ local
            joint = hips(seconds) + lean(seconds) @ np.array(joined.joint)
            return Placement(joint - rotation[:, 2] * joined.length / 2, rotation)

        return Part(CAPSULE, (joined.radius,) * 3, joined.material, motion, joined.length / 2 / joined.radius)

    limbs = (
        _Limb((0.26, 0, 0.5), 0.5, 0.065, 0.7, 1.1, 0.0, shirt),
        _Limb((-0.26, 0, 0.5), 0.5, 0.065, 0.7, -1.1, 0.25, shirt),
        _Limb((0.11, 0, -0.02), 0.62, 0.085, 0.16, 0.16, 0.0, trousers),
        _Limb((-0.11, 0, -0.02), 0.62, 0.085, 0.16, -0.16, 0.5, trousers),
    )
    parts = (
        Part(CAPSULE, (0.17,) * 3, shirt, body((0, 0, 0.28)), shape=1.4),
        Part(ELLIPSOID, (0.145, 0.15, 0.175), skin, body((0, 0, 0.82))),
        Part(CYLINDER, (0.15, 0.15, 0.06), trousers, body((0, 0, 0.98))),
        *(limb(joined) for joined in limbs),
    )
    return Thing("dancer", "steps from side to side and swings arms and legs", parts)
