"""Usual mistakes in calibrations, and the one under which the cameras of a rig agree with their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np

from fourdgs_ns.capture.layouts.sequences import listed, natural_key
from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, Camera
from fourdgs_ns.points.agreement import Bench, Cameras

ROUNDS = 4
SEARCHED_CAMERAS = 16
"""Up to this many suspected cameras any exchange of poses among them is tried; of more, only whole orders are."""
OFF_CENTRE = 0.2
"""Logarithm of the ratio of sizes from which a principal point is the centre of pictures of another size."""
RESTARTS = 6
FOUND = 0.9
"""Agreement from which no other order is looked for."""


@dataclass(frozen=True)
class Hypothesis:
    """What may be wrong with a calibration."""

    cause: str
    """Half a sentence about the cameras it concerns."""
    remedy: str
    changed: tuple[str, ...]
    """Cameras whose calibration it changes."""
    cameras: Cameras
    """The rig as it would be."""
    bends: bool = False
    """Whether undoing it only bends the pictures, as errors of a pose may seem to."""


@dataclass(frozen=True)
class Mistake:
    """What happens to single calibrations."""

    cause: Callable[[Camera], str]
    """Of one that it happened to."""
    remedy: str
    undo: Callable[[Camera], Camera]
    bends: bool = False


def hypotheses(bench: Bench, stated: Cameras, suspected: Sequence[str]) -> list[Hypothesis]:
    """Each usual mistake for the cameras where assuming it helps most; likelier ones first."""
    order = _other_order(bench, stated, suspected)
    found = [] if order is None else [order]
    for mistake in (*_mistaken_poses(), *_mistaken_sizes(), *_mistaken_lenses(stated)):
        undone = {name: mistake.undo(camera) for name, camera in stated.items()}
        changed = _where_it_helps(bench, stated, undone)
        if changed:
            cameras = {name: (undone if name in changed else stated)[name] for name in stated}
            cause = mistake.cause(stated[changed[0]])
            found.append(Hypothesis(cause, mistake.remedy, changed, cameras, mistake.bends))
    return found


def _mistaken_poses() -> list[Mistake]:
    flip, inv = OPENCV_FROM_OPENGL, np.linalg.inv

    def mistake(cause: str, remedy: str, change: Callable[[np.ndarray], np.ndarray]) -> Mistake:
        return Mistake(
            lambda _: cause, remedy, lambda c: replace(c, world_from_camera=np.asarray(change(c.world_from_camera)))
        )

    def rolled(quarters: int) -> np.ndarray:
        roll = np.eye(4)
        roll[:2, :2] = np.round(np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), quarters))
        return roll

    axes = "y and z of the poses are flipped (OpenCV axes where OpenGL's are expected, or the reverse)"
    negate = "negate the second and third column of each camera-to-world matrix (rows, where it is world-to-camera)"
    inverse = "the matrices are inverted (camera-to-world where world-to-camera is expected, or the reverse)"
    invert = "invert each matrix (in layouts with {} axes then also negate its second and third column)"
    roll = "the poses are rolled by {} degrees (columns of the rotation in another order, or pictures that were turned)"
    reorder = "write the columns of each rotation in the order of the layout, or turn the pictures back"
    return [
        mistake(axes, negate, lambda p: p @ flip),
        # Flips before the inverse turn the world as a whole, which no picture tells.
        mistake(inverse, invert.format("OpenGL"), inv),
        mistake(inverse, invert.format("OpenCV"), lambda p: inv(p) @ flip),
        *(mistake(roll.format(90 * q), reorder, lambda p, q=q: p @ rolled(q)) for q in (1, 2, 3)),  # type: ignore[misc]
    ]


def _mistaken_sizes() -> list[Mistake]:
    def scaled(factor: Callable[[Camera], float], focal_only: bool = False) -> Callable[[Camera], Camera]:
        def undo(camera: Camera) -> Camera:
            k = np.array(camera.intrinsics, np.float64)
            k[:2, : 2 if focal_only else 3] *= factor(camera)
            return replace(camera, intrinsics=k)

        return undo

    def centred(camera: Camera) -> float:
        factor = camera.width / max(2 * float(camera.intrinsics[0, 2]), 1e-9)
        return 1.0 if abs(np.log(factor)) < OFF_CENTRE else factor

    def of_size(factor: Callable[[Camera], float]) -> Callable[[Camera], str]:
        return lambda c: (
            f"the intrinsics hold for pictures of {c.width / factor(c):.0f}x{c.height / factor(c):.0f} and not of "
            f"{c.width}x{c.height}"
        )

    resize = "state the size that they hold for, or multiply them by the ratio of the sizes"
    focal = "the focal lengths are {} as long (given for another size, or for the other side of the picture)"
    ratios: list[tuple[str, Callable[[Camera], float]]] = [
        ("half", lambda c: 0.5),
        ("twice", lambda c: 2.0),
        ("width / height times", lambda c: c.width / c.height),
        ("height / width times", lambda c: c.height / c.width),
    ]
    sizes: list[Callable[[Camera], float]] = [centred, *((lambda _, f=f: f) for f in (0.5, 2.0, 0.25, 4.0))]  # type: ignore[misc]
    return [
        *(Mistake(of_size(factor), resize, scaled(factor)) for factor in sizes),
        *(
            Mistake(lambda _, said=said: focal.format(said), "correct the focal lengths", scaled(factor, True))  # type: ignore[misc]
            for said, factor in ratios
        ),
    ]


def _mistaken_lenses(stated: Cameras) -> list[Mistake]:
    state = 'state it ("camera_model": "{0}" in transforms.json, {0} in a COLMAP model)'
    found = [
        Mistake(
            lambda _: "the lens is a fisheye (OpenCV's equidistant model) that is read as a perspective one",
            state.format("OPENCV_FISHEYE"),
            lambda c: replace(c, fisheye=True, distortion=c.distortion[:4]),
            bends=True,
        )
    ]
    if any(camera.fisheye for camera in stated.values()):
        perspective = "the lens is a perspective one that is read as a fisheye"
        found.append(Mistake(lambda _: perspective, state.format("OPENCV"), lambda c: replace(c, fisheye=False), True))
    if any(camera.fisheye or any(camera.distortion) for camera in stated.values()):
        done = "the pictures are undistorted already"
        flat = partial(replace, fisheye=False, distortion=())
        found.append(Mistake(lambda _: done, "set the distortion to zero", flat, True))
    return found


def _where_it_helps(bench: Bench, stated: Cameras, other: Cameras) -> tuple[str, ...]:
    """Cameras for which assuming a mistake makes most pairs agree, from all or none of them on, one at a time."""
    best: tuple[float, tuple[str, ...]] = 0.0, ()
    for start in ((), tuple(bench.names)):
        chosen = set(start)
        cameras = {n: other[n] if n in chosen else c for n, c in stated.items()}
        for _ in range(ROUNDS):
            before = set(chosen)
            for name in bench.names:
                pairs, now = bench.pairs_of([name]), cameras[name]
                old = bench.agreement(cameras, pairs)
                cameras[name] = stated[name] if name in chosen else other[name]
                if bench.agreement(cameras, pairs) > old + 1e-6:
                    chosen ^= {name}
                else:
                    cameras[name] = now
            if chosen == before:
                break
        best = max(best, (bench.agreement(cameras), tuple(sorted(chosen, key=natural_key))))
    return best[1]


# -- the calibrations of other cameras ---------------------------------------------------------------------------------


def _other_order(bench: Bench, stated: Cameras, suspected: Sequence[str]) -> Hypothesis | None:
    """The exchange of calibrations among cameras under which most pairs agree."""
    natural, plain = sorted(stated, key=natural_key), sorted(stated)
    candidates: list[tuple[str, dict[str, str]]] = []
    if natural != plain:
        candidates.append(("plain", dict(zip(plain, natural))))
        candidates.append(("natural", dict(zip(natural, plain))))
    movable = [name for name in natural if name in suspected]
    explained = any(bench.agreement(_exchanged(stated, given)) >= FOUND for _, given in candidates)
    if not explained and len(movable) <= SEARCHED_CAMERAS:
        candidates.append(("", _search(bench, stated, movable)))
    rigs = [(_exchanged(stated, given), order, given) for order, given in candidates]
    if not rigs:
        return None
    cameras, order, given = max(rigs, key=lambda rig: round(bench.agreement(rig[0]), 3))
    changed = tuple(name for name in natural if given.get(name, name) != name)
    return Hypothesis(*_say_order(order, given, changed, plain, natural), changed, cameras) if changed else None


def _exchanged(stated: Cameras, given: Mapping[str, str]) -> dict[str, Camera]:
    """The rig in which each camera has the calibration that was stated for the one ``given``."""
    return {name: _recalibrated(camera, stated[given.get(name, name)]) for name, camera in stated.items()}


def _recalibrated(camera: Camera, other: Camera) -> Camera:
    if camera is other:
        return camera
    return replace(other, name=camera.name, width=camera.width, height=camera.height)


def _search(bench: Bench, stated: Cameras, movable: Sequence[str]) -> dict[str, str]:
    """By exchanging two cameras at a time while that helps, from the stated order and from random ones."""
    rigs = {name: {other: _recalibrated(stated[name], stated[other]) for other in movable} for name in movable}
    pairs = bench.pairs_of(movable)
    rng = np.random.default_rng(0)
    best: tuple[float, dict[str, str]] = -1.0, {}
    for restart in range(RESTARTS):
        given = dict(zip(movable, movable if restart == 0 else rng.permutation(movable).tolist()))
        _climb(bench, stated, rigs, given)
        score = bench.agreement({**stated, **{n: rigs[n][o] for n, o in given.items()}}, pairs) if pairs else 0.0
        if score > best[0] + 1e-6:
            best = score, given
        if score >= FOUND:
            break
    return best[1]


def _climb(bench: Bench, stated: Cameras, rigs: Mapping[str, Mapping[str, Camera]], given: dict[str, str]) -> None:
    """Exchange what two cameras are ``given``, as long as any exchange makes their pairs agree more."""
    cameras = {**stated, **{name: rigs[name][other] for name, other in given.items()}}
    improved = True
    while improved:
        improved = False
        for x, y in combinations(given, 2):
            pairs = bench.pairs_of([x, y])
            before = bench.agreement(cameras, pairs)
            exchanged = {**cameras, x: rigs[x][given[y]], y: rigs[y][given[x]]}
            if bench.agreement(exchanged, pairs) > before + 1e-6:
                given[x], given[y], cameras, improved = given[y], given[x], exchanged, True


def _say_order(
    order: str, given: Mapping[str, str], changed: Sequence[str], plain: Sequence[str], natural: Sequence[str]
) -> tuple[str, str]:
    """Cause and remedy."""
    if order:
        ours, theirs = ("natural", "plain string") if order == "plain" else ("plain string", "natural")
        names = plain if order == "plain" else natural
        shown = ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])
        return (
            f"their calibrations are listed in the {theirs} order of the names ({shown}) and read in {ours} order",
            "name the cameras so that both orders are the same (cam01, cam02, ..., cam10), in the order of the calibrations",
        )
    if len(changed) == 2:
        return (
            f"{changed[0]} and {changed[1]} have each other's pose",
            "exchange their poses, or the names of their files",
        )
    said = listed([f"{name} belongs to the pose of {given[name]}" for name in changed])
    return f"they have each other's poses: {said}", "put the calibrations into the order of the cameras"
