"""The matcher roma, with a stand-in network that knows where the planes of the rig are."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from unittest.mock import Mock
from urllib.error import URLError

import numpy as np
import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points import roma
from fourdgs_ns.points.flow import project
from fourdgs_ns.points.instants import PosedImage
from fourdgs_ns.points.roma import RomaMatcher, load_roma, triangulate_pair

from .conftest import FOCAL, HEIGHT, WIDTH, rig_cameras

MATRIX = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
DEPTH = 0.0
"""z of the plane that all cameras look at."""


class PlaneNetwork:
    """``match`` as of romatch 0.1.2 (symmetric: A to B left, B to A right), for the plane z = 0; images carry the
    number of their camera in their first pixel."""

    def __init__(self, images, shape=(30, 40), certainty=0.9, shift=0.0):
        self.images, self.shape, self.certainty, self.shift = images, shape, certainty, shift
        self.calls = []

    def match(self, im_A_input, im_B_input, *, device):
        a, b = (int(np.asarray(image)[0, 0, 0]) for image in (im_A_input, im_B_input))
        self.calls.append((a, b))
        there, back = self._warp(a, b), self._warp(b, a)[:, :, [2, 3, 0, 1]]
        warp = np.concatenate([there, back], axis=1)[None]
        inside = (np.abs(warp) <= 1).all(axis=-1)
        certainty = np.where(inside, self.certainty, 0.0)
        return torch.from_numpy(np.clip(warp, -1, 1)).float(), torch.from_numpy(certainty).float()

    def _warp(self, a, b):
        h, w = self.shape
        x, y = np.meshgrid((np.arange(w) + 0.5) / w * 2 - 1, (np.arange(h) + 0.5) / h * 2 - 1)
        pixels = np.stack([(x + 1) / 2 * WIDTH, (y + 1) / 2 * HEIGHT, np.ones_like(x)], axis=-1)
        pose = self.images[a].camera.world_from_camera
        rays = pixels @ np.linalg.inv(MATRIX).T @ pose[:3, :3].T
        points = pose[:3, 3] + rays * ((DEPTH - pose[2, 3]) / rays[:, :, 2])[:, :, None]
        other = project(self.images[b].camera.projection, points.reshape(-1, 3))[:, :2].reshape(h, w, 2) + self.shift
        return np.concatenate([np.stack([x, y], axis=-1), other / [WIDTH, HEIGHT] * 2 - 1], axis=-1)


@pytest.fixture
def images():
    found = []
    for i, camera in enumerate(rig_cameras().values()):
        image = np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8)
        image[0, 0] = i
        found.append(PosedImage(camera, image))
    return found


@pytest.fixture
def matcher(monkeypatch):
    def make(network, max_points=None):
        monkeypatch.setattr(roma, "load_roma", lambda device: network)
        return RomaMatcher(max_points)

    return make


def test_known_warp_gives_points_on_the_plane(images, matcher):
    network = PlaneNetwork(images)
    points = matcher(network, 3000).points(images)
    assert 1000 < len(points.positions) <= 3000
    # float32 of the warp: a thousandth of a pixel.
    assert np.abs(points.positions[:, 2] - DEPTH).max() < 1e-3
    assert points.errors.max() < 0.01 and (points.seen_by.sum(axis=1) == 2).all()
    assert len(network.calls) == len(set(network.calls)) and all(a < b for a, b in network.calls)
    a, b = np.argsort(~points.seen_by[0], kind="stable")[:2]
    assert abs(int(points.colors[0, 0]) - 20 * (a + b)) <= 1


@pytest.mark.parametrize("case", ["unsure", "off the epipolar lines", "nowhere"])
def test_matches_that_cannot_be_true_are_dropped(images, matcher, case):
    network = PlaneNetwork(images)
    if case == "unsure":
        network.certainty = 0.1
    elif case == "off the epipolar lines":
        network.shift = np.array([0.0, 12.0])
    else:
        network.certainty = 0.0
    assert len(matcher(network).points(images).positions) == 0


def test_mattes_restrict_matches(images, matcher):
    keep = np.zeros((HEIGHT, WIDTH), bool)
    keep[:, :200] = True
    cut = [replace(image, keep=keep) for image in images]
    points = matcher(PlaneNetwork(images)).points(cut)
    assert len(points.positions) > 100
    for c, image in enumerate(images):
        seen = points.positions[points.seen_by[:, c]]
        assert (project(image.camera.projection, seen)[:, 0] < 200.5).all()


def test_cheirality_parallax_and_error_are_tested(images):
    one, other = images[0], images[5]
    truth = np.array([[0.0, 0.0, 0.0], [0.3, -0.2, 0.4], [0.1, 0.2, 400.0]])
    a, b = (project(image.camera.projection, truth)[:, :2] for image in (one, other))
    # The third one is so far away that its rays are parallel to a fraction of a degree.
    positions, errors, good = triangulate_pair(one, other, a, b)
    assert good.tolist() == [True, True, False]
    np.testing.assert_allclose(positions[:2], truth[:2], atol=1e-6)
    assert errors[:2].max() < 1e-6
    # Rays that meet behind the cameras: the disparity of a point in front, turned around.
    flipped = project(other.camera.projection, np.array([[0.0, 0.0, -0.3]]))[:, :2]
    behind = (
        a[:1]
        + 3 * (a[:1] - project(one.camera.projection, np.array([[0.0, 0.0, -0.3]]))[:, :2])
        + np.array([200.0, 0.0])
    )
    assert not triangulate_pair(one, other, behind, flipped + np.array([[-250.0, 0.0]]))[2].any()
    assert not triangulate_pair(one, other, a[:1], b[:1] + np.array([[0.0, 9.0]]))[2].any()
    assert triangulate_pair(one, other, a[:0], b[:0])[0].shape == (0, 3)


def test_weights_are_not_asked_for_before_they_are_needed(images, monkeypatch):
    def never(device):
        raise AssertionError("loaded")

    monkeypatch.setattr(roma, "load_roma", never)
    lazy = RomaMatcher()
    assert lazy.facts()["matcher"] == "roma" and len(lazy.points(images[:1]).positions) == 0


def test_missing_package_and_missing_weights_are_one_line_each(monkeypatch):
    monkeypatch.setitem(sys.modules, "romatch", None)
    with pytest.raises(UserError, match=r"pip install 'fourdgs-ns\[roma\]'.*--matcher sift"):
        load_roma("cpu")
    package = ModuleType("romatch")

    def no_network(**options):
        raise URLError("Name or service not known")

    package.roma_outdoor = no_network
    monkeypatch.setitem(sys.modules, "romatch", package)
    with pytest.raises(UserError, match=r"cannot be downloaded.*Name or service.*--matcher sift"):
        load_roma("cpu")
    asked, network = {}, Mock(spec=["match"])
    package.roma_outdoor = lambda **options: asked.update(options) or network
    assert load_roma("cpu") is network
    assert asked["device"] == torch.device("cpu") and asked["use_custom_corr"] is False
