"""Stages without a room: what stands behind the things, and what uneven cameras make of it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, look_at, pinhole
from fourdgs_ns.synth.backdrop import Backdrop, to_display, to_linear
from fourdgs_ns.synth.generate import generate
from fourdgs_ns.synth.renderer import RenderedImage

FOCUS = np.array([0.0, 0.0, 1.0])


def _camera(eye=(3.0, 0.0, 1.0)):
    return Camera("a", 40, 30, pinhole(34.0, 34.0, 20.0, 15.0), look_at(np.array(eye), FOCUS))


def _rendered(matte):
    return RenderedImage(np.full((30, 40, 3), 200, np.uint8), np.full((30, 40), matte, np.uint8))


def test_sRGB_and_linear_light_are_inverse_and_meet_the_standard():
    values = np.linspace(0, 1, 101)
    np.testing.assert_allclose(to_display(to_linear(values)), values, atol=1e-12)
    assert to_linear(np.array(0.5)) == pytest.approx(0.21404, abs=1e-5)


def test_things_cover_the_backdrop_by_their_share_of_a_pixel():
    plain = Backdrop("plain", FOCUS)
    behind = plain.shown(_rendered(0), _camera(), 0).image
    assert (behind == behind[0, 0]).all() and behind[0, 0, 0] == behind[0, 0, 2]
    assert (plain.shown(_rendered(255), _camera(), 0).image == 200).all()
    mixed = plain.shown(_rendered(51), _camera(), 0).image[0, 0, 0]
    assert mixed == round(0.2 * 200 + 0.8 * 0.71 * 255)


def test_a_graded_backdrop_is_a_wall_that_two_cameras_see_at_the_same_place():
    gradient = Backdrop("gradient", FOCUS)
    left, right = gradient.behind(_camera((3.0, 0.0, 1.0))), gradient.behind(_camera((-1.0, 0.0, 1.0)))
    assert left.std(axis=(0, 1)).min() > 0.01
    # Both optical axes lie on one line and leave the sphere at the same end of it.
    np.testing.assert_allclose(
        left[14:16, 19:21].mean((0, 1)), gradient.behind(_camera((1.0, 0.0, 1.0)))[14:16, 19:21].mean((0, 1)), atol=2e-3
    )
    assert np.abs(left - right).max() > 0.05


def test_uneven_cameras_but_the_first_differ_in_exposure_and_darken_towards_the_corners():
    uneven = Backdrop("plain", FOCUS, uneven=True)
    even = Backdrop("plain", FOCUS).shown(_rendered(0), _camera(), 0).image
    assert (uneven.shown(_rendered(0), _camera(), 0).image == even).all()
    middles = []
    for number in range(1, 6):
        image = to_linear(uneven.shown(_rendered(0), _camera(), number).image / 255.0)
        middles.append(image[15, 20, 0])
        assert image[0, 0, 0] < image[15, 20, 0] * 1.01
    stops = np.log2(np.array(middles) / to_linear(even[15, 20] / 255.0)[0])
    assert np.abs(stops).max() < 0.32 and np.ptp(stops) > 0.1


def test_spill_colours_outlines_and_leaves_the_inside_of_things_alone():
    matte = np.zeros((30, 40), np.uint8)
    matte[5:25, 8:32] = 255
    rendered = RenderedImage(np.full((30, 40, 3), 120, np.uint8), matte)
    image = Backdrop("green", FOCUS, spill=True).shown(rendered, _camera(), 0).image.astype(int)
    assert image[15, 8, 1] - image[15, 8, 0] > 5
    assert np.abs(image[15, 20] - 120).max() <= 2


def test_a_stage_before_a_backdrop_reads_as_its_rig_and_its_masks_cut_out_what_stands_there(recipe, tmp_path):
    recipe = replace(
        recipe, cameras=3, frames=2, width=64, height=48, scene="studio", backdrop="plain", layout="easyvolcap",
        images=True, points=True,
    )  # fmt: skip
    generate(recipe, tmp_path / "stage", False, lambda: None)
    capture = read_capture(tmp_path / "stage")
    assert len(capture.cameras) == 3
    image = cv2.imread(str(tmp_path / "stage" / "images" / "01" / "000000.jpg"))
    mask = cv2.imread(str(tmp_path / "stage" / "masks" / "01" / "000000.png"), cv2.IMREAD_GRAYSCALE)
    outside = image[cv2.dilate(mask, np.ones((9, 9))) == 0]
    assert 0.1 < (mask == 0).mean() < 0.9
    assert np.abs(outside.astype(float) - 0.71 * 255).max() < 8


def test_what_makes_no_sense_together_is_refused(recipe):
    for wrong, says in (
        ({"backdrop": "plain", "layout": "dnerf"}, "dnerf has no backdrop"),
        ({"spill": True}, "add --backdrop"),
        ({"uneven": True}, "add --backdrop"),
        ({"backdrop": "pink"}, "is unknown"),
    ):
        with pytest.raises(UserError, match=says):
            replace(recipe, **wrong).check()
