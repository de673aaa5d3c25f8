"""The pictures testify: every usual mistake is named, a right calibration is never accused. Matches are exact projections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, Camera, look_at, pinhole
from fourdgs_ns.geometry.epipolar import consistent
from fourdgs_ns.points import testimony
from fourdgs_ns.points.appearance_matching import apart
from fourdgs_ns.points.loading import load_points
from fourdgs_ns.points.testimony import FEWEST_CAMERAS, Testimony, judge
from fourdgs_ns.points.witnesses import Witness, pictures_of, witnesses_of

WIDTH, HEIGHT, FOCAL = 640, 480, 460.0
Rig = dict[str, Camera]


def arc(count: int = 6, names: list[str] | None = None) -> Rig:
    """Cameras on a frontal arc at slightly different heights, as most rigs are."""
    rng = np.random.default_rng(7)
    matrix = pinhole(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
    names = names or [f"cam{i:02d}" for i in range(count)]
    eyes = [
        np.array([4 * np.sin(a), -4 * np.cos(a), 1.2 + rng.uniform(-0.3, 0.3)]) for a in np.linspace(-0.7, 0.7, count)
    ]
    return {n: Camera(n, WIDTH, HEIGHT, matrix, look_at(eye, np.array([0, 0, 0.5]))) for n, eye in zip(names, eyes)}


def witnesses(rig: Rig, points: int = 60, noise: float = 0.3, fisheye: bool = False) -> list[Witness]:
    """What every pair sees of points of its own, with errors of features in pixels."""
    rng = np.random.default_rng(3)

    def seen(camera: Camera, world: np.ndarray) -> np.ndarray:
        pixels, _ = camera.project(world)
        if fisheye:
            flat = (pixels - camera.intrinsics[:2, 2]) / camera.intrinsics[0, 0]
            radius = np.linalg.norm(flat, axis=1, keepdims=True)
            pixels = flat * np.arctan(radius) / radius * camera.intrinsics[0, 0] + camera.intrinsics[:2, 2]
        return pixels + rng.normal(0, noise, pixels.shape)

    found = []
    for a, b in combinations(sorted(rig), 2):
        world = rng.uniform([-2.2, -1.0, -1.0], [2.2, 1.8, 1.8], (points, 3))
        found.append(Witness(a, b, seen(rig[a], world), seen(rig[b], world)))
    return found


def posed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Rig], Rig]:
    return lambda rig: {n: replace(c, world_from_camera=change(c.world_from_camera)) for n, c in rig.items()}


def scaled(factor: float, *only: str) -> Callable[[Rig], Rig]:
    k = np.diag([factor, factor, 1.0])
    return lambda rig: {n: replace(c, intrinsics=k @ c.intrinsics) if n in (only or rig) else c for n, c in rig.items()}


def longer(factor: float) -> Callable[[Rig], Rig]:
    matrix = pinhole(factor * FOCAL, factor * FOCAL, WIDTH / 2, HEIGHT / 2)
    return lambda rig: {n: replace(c, intrinsics=matrix) for n, c in rig.items()}


def given(poses: dict[str, str]) -> Callable[[Rig], Rig]:
    return lambda rig: {n: replace(rig[poses.get(n, n)], name=n) for n in rig}


def rolled(pose: np.ndarray) -> np.ndarray:
    quarter = np.eye(4)
    quarter[:2, :2] = [[0, 1], [-1, 0]]
    return pose @ quarter


FLIP, INV = OPENCV_FROM_OPENGL, np.linalg.inv
EVERY = tuple(f"cam{i:02d}" for i in range(6))
MISTAKES = {
    "axes": (posed(lambda p: p @ FLIP), EVERY, "y and z of the poses are flipped", "negate the second and third"),
    "inverse": (posed(INV), EVERY, "the matrices are inverted (", "with OpenGL axes then also negate"),
    "inverse of OpenGL's": (
        posed(lambda p: INV(p @ FLIP) @ FLIP),
        EVERY,
        "the matrices are inverted (",
        "with OpenCV axes",
    ),
    "inverse for OpenGL's": (posed(lambda p: INV(p) @ FLIP), EVERY, "the matrices are inverted (", "with OpenGL axes"),
    "rolled": (posed(rolled), EVERY, "rolled by 90 degrees", "columns of each rotation"),
    "half size": (scaled(0.5), EVERY, "hold for pictures of 320x240 and not of 640x480", "state the size"),
    "twice the size": (scaled(2.0), EVERY, "hold for pictures of 1280x960", "state the size"),
    "two of another size": (scaled(0.5, "cam01", "cam04"), ("cam01", "cam04"), "of 320x240", "state the size"),
    "focal twice": (longer(2.0), EVERY, "focal lengths are half as long", "correct the focal lengths"),
    "focal of the height": (longer(0.75), EVERY, "width / height times as long", "correct the focal lengths"),
    "swapped": (given({"cam02": "cam03", "cam03": "cam02"}), ("cam02", "cam03"), "each other's pose", "exchange"),
    "three in a ring": (
        given({"cam00": "cam02", "cam02": "cam05", "cam05": "cam00"}),
        ("cam00", "cam02", "cam05"),
        "cam00 belongs to the pose of cam05",
        "order of the cameras",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_usual_mistake_is_named_with_its_cameras_and_its_remedy(kind):
    spoil, cameras, cause, remedy = MISTAKES[kind]
    found = judge(witnesses(arc()), spoil(arc()))
    assert found.contradicted == cameras
    assert cause in found.cause and remedy in found.remedy and found.explained > 0.95
    assert found.whole == (len(cameras) > 3)
    assert cause in found.sentence() and remedy in found.sentence()


@pytest.mark.parametrize("rows", ["plain string", "natural"])
def test_calibrations_in_another_order_of_the_names(rows):
    names = [f"cam{i + 1}" for i in range(11)]
    true = arc(11, names)
    listed, read = (sorted(names), names) if rows == "plain string" else (names, sorted(names))
    found = judge(witnesses(true, 30), {n: replace(true[row], name=n) for n, row in zip(read, listed)})
    assert set(found.contradicted) == {n for n, row in zip(read, listed) if n != row}
    assert (
        f"in the {rows} order of the names ({listed[0]}, {listed[1]}" in found.cause
        and "name the cameras" in found.remedy
    )


def test_a_lens_named_wrongly_is_told_although_it_only_bends_the_picture():
    found = judge(witnesses(arc(), fisheye=True), arc())
    assert "a fisheye (OpenCV's equidistant model)" in found.cause and found.contradicted == EVERY
    found = judge(witnesses(arc()), {n: replace(c, fisheye=True) for n, c in arc().items()})
    assert "read as a fisheye" in found.cause
    bent = {n: replace(c, distortion=(-0.3, 0.1)) for n, c in arc().items()}
    assert "undistorted already" in judge(witnesses(arc()), bent).cause


def test_a_camera_that_was_moved_is_named_alone_and_nothing_is_made_up():
    stated = arc()
    pose = stated["cam03"].world_from_camera.copy()
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0.3, 0.1, 0.2]).as_matrix()
    pose[:3, 3] += [0.5, 0.6, 0.9]
    found = judge(witnesses(arc()), {**stated, "cam03": replace(stated["cam03"], world_from_camera=pose)})
    assert found.contradicted == ("cam03",) and not found.cause and not found.whole
    assert "cam03" in found.sentence() and "leave them out" in found.sentence()


def test_a_rig_of_four_whose_every_pair_is_contradicted():
    stated = {n: replace(c, world_from_camera=arc()["cam00"].world_from_camera) for n, c in arc(4).items()}
    found = judge(witnesses(arc(4)), stated)
    assert found.whole and not found.cause and "all 4 cameras" in found.sentence()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pixels", [0.0, 2.0, 5.0])
def test_a_right_calibration_is_never_accused(seed, pixels):
    """Poses, focal lengths and centres off by as many pixels, features by one."""
    rng = np.random.default_rng(seed)
    stated = {}
    for n, c in arc(3 + seed).items():
        pose, k = c.world_from_camera.copy(), c.intrinsics.copy()
        pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(rng.normal(0, pixels / FOCAL, 3)).as_matrix()
        k[:2, 2] += rng.normal(0, pixels, 2)
        k[0, 0] = k[1, 1] = FOCAL + rng.normal(0, pixels)
        stated[n] = replace(c, intrinsics=k, world_from_camera=pose)
    found = judge(witnesses(arc(3 + seed), 30, noise=1.0), stated)
    assert found.contradicted == () and found.sentence() is None


def test_a_texture_that_repeats_accuses_nobody():
    """Pairs whose matches agree on a geometry of their own: what a wallpaper shows on two walls."""
    true = arc()
    other = posed(rolled)(true)
    misled = {("cam00", "cam03"), ("cam02", "cam03"), ("cam01", "cam04")}
    lies = {(w.a, w.b): w for w in witnesses(other) if (w.a, w.b) in misled}
    found = judge([lies.get((w.a, w.b), w) for w in witnesses(true)], true)
    assert found.contradicted == ()


def test_too_little_evidence_says_nothing():
    wrong = posed(INV)(arc())
    assert judge([], wrong) == Testimony({})
    assert judge(witnesses(arc())[:1], wrong).contradicted == ()
    assert Testimony({}).sentence() is None


def test_an_estimator_that_raises_has_found_nothing(monkeypatch):
    def raises(*_: object) -> None:
        raise cv2.error("assertion in setModelParameters")

    monkeypatch.setattr(cv2, "findFundamentalMat", raises)
    a = np.random.default_rng(0).uniform(0, 400, (60, 2))
    assert not consistent(a, a + 5).any()


def test_pictures_are_asked_once_and_contradict_wrong_poses(rig, monkeypatch):
    cameras = [rig.capture.camera(name) for name in rig.train]
    found = testimony.testify(rig.capture, cameras)
    assert found.contradicted == () and len(found.agreement) == len(cameras) and min(found.agreement.values()) > 0.9
    wrong = [camera.posed(np.linalg.inv(camera.poses)) for camera in cameras]
    assert testimony.testify(rig.capture, wrong).contradicted == tuple(rig.train)
    monkeypatch.setattr(testimony, "pictures_of", None)
    assert testimony.testify(rig.capture, cameras) == found
    assert testimony.testify(rig.capture, cameras[: FEWEST_CAMERAS - 1]).agreement == {}


def test_what_lies_at_the_same_place_of_all_pictures_says_nothing(rig):
    """A logo is matched everywhere, and would be explained by cameras that do not move."""
    pictures = pictures_of([rig.capture.camera(name) for name in rig.train], 0)
    same = {name: replace(pictures[rig.train[0]], camera=pictures[name].camera) for name in pictures}
    assert witnesses_of(pictures) and witnesses_of(same) == []


def test_random_points_are_a_warning_that_says_why_and_what_to_do(rig, capsys):
    poor = replace(rig.capture, cameras=rig.capture.cameras[:1])
    load_points(poor, train_cameras=[poor.cameras[0].name], downscale=1.0, num_random=50, contradiction="poses lie")
    told = " ".join(capsys.readouterr().out.split())
    assert "likely because poses lie" in told and "50 random points" in told and "fourdgs-ns check" in told


def test_a_camera_that_moved_during_the_clip_is_named(monkeypatch):
    """Its pose holds at the first instant and not at the last."""
    said = {0: Testimony({"a": 1.0, "b": 1.0, "c": 1.0}), 9: Testimony({"a": 1.0, "b": 0.1, "c": 1.0}, ("b",))}
    monkeypatch.setattr(testimony, "_ask_one", lambda cameras, instants: said[instants[0]])
    assert testimony._ask([], [0]).contradicted == ()
    told = testimony._ask([], [0, 5, 9])
    assert told.contradicted == ("b",) and "was moved or turned" in told.sentence() and "--frames" in told.sentence()


def test_what_stays_at_its_place_in_both_pictures_says_nothing():
    there, here = np.array([[10.0, 10.0], [50.0, 20.0]]), np.array([[10.3, 9.9], [80.0, 20.0]])
    assert apart(there, here, 320).tolist() == [False, True]
