"""Camera paths of the viewer's Render tab: keyframes in time, and paths of two of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import splines
from splines.quaternion import UnitQuaternion

from fourdgs_ns.plugin import compat


@pytest.fixture
def stock():
    """Nerfstudio's and splines' own, back in place afterwards."""
    from nerfstudio.viewer.render_panel import Keyframe

    before = Keyframe.from_camera, splines.quaternion.KochanekBartels
    yield Keyframe
    Keyframe.from_camera, splines.quaternion.KochanekBartels = staticmethod(before[0]), before[1]


def test_a_keyframe_is_of_the_time_that_is_shown(stock):
    times = iter([0.25, 0.75])
    compat.keyframes_take_time(lambda: -1.0)
    compat.keyframes_take_time(lambda: next(times))  # a second viewer replaces the first
    camera = SimpleNamespace(position=np.zeros(3), wxyz=np.array([1.0, 0.0, 0.0, 0.0]), fov=0.8)
    first, second = (stock.from_camera(camera, 1.5) for _ in range(2))
    assert (first.override_time_val, second.override_time_val) == (0.25, 0.75)
    assert first.override_time_enabled and first.aspect == 1.5 and first.override_fov_rad == 0.8


def turned(degrees: float) -> UnitQuaternion:
    return UnitQuaternion.from_axis_angle((0, 0, 1), np.deg2rad(degrees))


def angle(rotation: UnitQuaternion) -> float:
    return float(np.rad2deg(2 * np.arctan2(rotation.vector[2], rotation.scalar)))


def test_two_keyframes_turn_evenly(stock):
    compat.mend_paths_of_two_keyframes()
    path = splines.quaternion.KochanekBartels([turned(10), turned(70)], tcb=(0.5, 0, 0), endconditions="natural")
    assert [angle(path.evaluate(t)) for t in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([10, 25, 40, 70])


def test_more_keyframes_turn_as_before(stock):
    stations = [turned(10), turned(70), turned(20)]
    own = splines.quaternion.KochanekBartels(stations, tcb=(0.5, 0, 0), endconditions="natural")
    compat.mend_paths_of_two_keyframes()
    path = splines.quaternion.KochanekBartels(stations, tcb=(0.5, 0, 0), endconditions="natural")
    assert all(angle(path.evaluate(t)) == angle(own.evaluate(t)) for t in (0.0, 0.4, 1.3, 2.0))
