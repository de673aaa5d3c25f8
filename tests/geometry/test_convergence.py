"""Rigs that look at one place are told from those that only do so in another convention."""

import numpy as np
import pytest

from fourdgs_ns.geometry.camera import OPENCV_FROM_OPENGL, look_at
from fourdgs_ns.geometry.convergence import meets, other_convention
from fourdgs_ns.geometry.view_volume import depth_limits, view_volume
from tests.geometry.test_view_volume import cameras


def arc(degrees=60.0, n=8, target=(0.3, 0.2, 1.0)):
    """Cameras on an arc at 4 units, a little off their common target, upright in a world with z up."""
    rng = np.random.default_rng(0)
    target = np.array(target)
    angles = np.radians(np.linspace(-degrees / 2, degrees / 2, n))
    eyes = [target + np.array([4 * np.sin(a), -4 * np.cos(a), 0.6 * (i % 2)]) for i, a in enumerate(angles)]
    return np.stack([look_at(eye, target + rng.normal(0, 0.15, 3)) for eye in eyes])


def outward(n=8):
    angles = 2 * np.pi * np.arange(n) / n
    places = np.stack([np.cos(angles), np.sin(angles), 0.1 * (np.arange(n) % 2)], axis=1)
    return np.stack([look_at(0.5 * p, 5.0 * p) for p in places])


def line(n=6):
    return np.stack([look_at(np.array([0.3 * i, 0, 0]), np.array([0.3 * i, 5.0, 0])) for i in range(n)])


@pytest.mark.parametrize("rig", [arc(), arc(330, 12), arc(20, 5)])
def test_rigs_around_a_subject(rig):
    assert meets(rig) and other_convention(rig) is None
    assert other_convention(rig @ OPENCV_FROM_OPENGL) == "flipped"
    assert other_convention(np.linalg.inv(rig)) == "inverted"
    assert other_convention(np.linalg.inv(rig) @ OPENCV_FROM_OPENGL) is not None


@pytest.mark.parametrize("rig", [outward(), outward()[:4], line(), arc()[:2]])
def test_others_are_left_alone(rig):
    assert other_convention(rig) is None


@pytest.mark.parametrize(("scale", "shift"), [(1e-4, 0.0), (1e5, 0.0), (1.0, 1e6)])
def test_units_and_origin_change_nothing(scale, shift):
    for rig in (arc(), outward(), line()):
        far = rig.copy()
        far[:, :3, 3] = scale * rig[:, :3, 3] + shift
        assert meets(far) == meets(rig)
        for here, there in zip(depth_limits(rig), depth_limits(far)):
            np.testing.assert_allclose(there, scale * here, rtol=1e-6)


def test_a_rig_that_looks_outwards_has_its_scene_far_outside():
    near, far = depth_limits(outward())
    assert (near < 1.0).all() and (far > 20.0).all()
    points, _ = view_volume(cameras(outward()), [p[None] for p in outward()]).sample(500, np.random.default_rng(0))
    assert np.median(np.linalg.norm(points, axis=1)) > 5.0
    assert (depth_limits(arc(330, 12))[1] < 10).all()
