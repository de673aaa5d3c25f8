"""Intersections against implicit functions, and the tile-wise rendering against tracing everything."""

from __future__ import annotations

import numpy as np
import pytest

from fourdgs_ns.synth import shading, trace
from fourdgs_ns.synth.renderer import sample_positions
from fourdgs_ns.synth.scene import Clip, Material, Part, Placement, Scene, Thing, turn

_PAINT = Material(shading.FLAT, ("#ffffff",) * 4, 1.0)
_SHAPES = {
    trace.ELLIPSOID: ((0.3, 0.5, 0.7), 0.0),
    trace.BOX: ((0.3, 0.5, 0.7), 0.0),
    trace.CYLINDER: ((0.4, 0.4, 0.7), 0.0),
    trace.CAPSULE: ((0.3, 0.3, 0.3), 1.5),
    trace.TORUS: ((0.5, 0.5, 0.5), 0.4),
}


def _implicit(kind, shape, q):
    """Negative inside the object-space solid; written without the kernels."""
    x, y, z = np.abs(q[..., 0]), np.abs(q[..., 1]), np.abs(q[..., 2])
    if kind == trace.ELLIPSOID:
        return x**2 + y**2 + z**2 - 1
    if kind == trace.BOX:
        return np.maximum(np.maximum(x, y), z) - 1
    if kind == trace.CYLINDER:
        return np.maximum(np.hypot(x, y), z) - 1
    if kind == trace.CAPSULE:
        return np.hypot(np.hypot(x, y), np.maximum(z - shape, 0)) - 1
    return np.hypot(np.hypot(x, y) - 1, z) - shape


def _table(kind):
    extent, shape = _SHAPES[kind]
    place = Placement(np.array([0.2, -0.1, 0.3]), turn((1, 2, 3), 0.8))
    thing = Thing("thing", "", (Part(kind, extent, _PAINT, lambda seconds: place, shape),))
    scene = Scene.__new__(Scene)
    object.__setattr__(scene, "things", (thing,))
    object.__setattr__(scene, "clip", Clip(2, 30.0))
    return scene.primitives(0), place, np.array(extent), shape


@pytest.mark.parametrize("kind", list(_SHAPES))
def test_first_hit_is_where_the_ray_enters_the_solid(kind):
    table, place, extent, shape = _table(kind)
    rng = np.random.default_rng(kind)
    origins = rng.normal(size=(300, 3))
    origins *= 3.0 / np.linalg.norm(origins, axis=1, keepdims=True)
    aims = place.center + rng.uniform(-0.6, 0.6, (300, 3)) - origins
    steps = np.linspace(0, 2, 4001)
    hits = 0
    for origin, aim in zip(origins, aims, strict=True):
        t = trace._hit(table, 0, *origin, *aim)
        along = origin + steps[:, None] * aim
        inside = _implicit(kind, shape, ((along - place.center) @ place.rotation) / extent) < 0
        if np.isinf(t):
            assert not inside.any()
            continue
        hits += 1
        local = ((origin + t * aim - place.center) @ place.rotation) / extent
        assert abs(_implicit(kind, shape, local)) < 1e-7
        assert not inside[steps < t - 1e-6].any()
    assert hits > 50


@pytest.mark.parametrize("kind", list(_SHAPES))
def test_normal_is_the_gradient_and_distance_grows_along_it(kind):
    table, place, extent, shape = _table(kind)
    rng = np.random.default_rng(kind)
    checked = 0
    for _ in range(100):
        origin = rng.normal(size=3)
        origin *= 3.0 / np.linalg.norm(origin)
        aim = place.center + rng.uniform(-0.3, 0.3, 3) - origin
        t = trace._hit(table, 0, *origin, *aim)
        if np.isinf(t):
            continue
        point = origin + t * aim
        local = ((point - place.center) @ place.rotation) / extent
        normal = np.array(trace._normal(table, 0, *local))
        steps = 1e-5 * np.eye(3)
        ahead = _implicit(kind, shape, ((point + steps - place.center) @ place.rotation) / extent)
        behind = _implicit(kind, shape, ((point - steps - place.center) @ place.rotation) / extent)
        gradient = (ahead - behind) / np.linalg.norm(ahead - behind)
        if np.sort(np.abs(local))[1] > 0.999 and kind == trace.BOX:
            continue  # at an edge the finite difference straddles two faces
        assert normal @ gradient > 0.9999
        checked += 1
        h = 0.01
        distance = trace._distance(table, 0, *(point + h * normal))
        assert distance == pytest.approx(h, rel=0.03)
    assert checked > 30


def test_sample_positions_are_unbiased_and_spread():
    for count in (1, 4, 8, 16):
        positions = sample_positions(count)
        np.testing.assert_allclose(positions.mean(axis=0), 0.5)
        for axis in range(2):
            assert len(set(np.floor(positions[:, axis] * count))) == count


def test_retraced_tiles_equal_tracing_everything(renderer, cameras):
    for camera in cameras[:2]:
        view = renderer.for_camera(camera)
        for frame in (0, 5, 11):
            rendered = view.render(frame)
            full = view._empty_image()
            samples = renderer._trace(camera, renderer.table(frame), renderer.offsets, lit=True)
            view.paint[:] = 0
            shading.paint_samples(
                0,
                len(samples.code),
                renderer.surfaces,
                renderer.palette,
                renderer.scene.lights,
                renderer.scene.window,
                samples,
                view.eye,
                view.paint,
            )
            every = np.arange(len(view.spheres))
            view._shade(every, samples, trace.allocate_samples(0), full)
            view = renderer.for_camera(camera)
            np.testing.assert_array_equal(rendered.matte, full.matte)
            assert np.abs(rendered.image.astype(int) - full.image).max() <= 1
            assert (rendered.image != view.empty.image).mean() > 0.1  # the actors do change the image


def test_number_of_threads_does_not_matter(renderer, cameras, monkeypatch):
    many = renderer.for_camera(cameras[0]).render(5)
    monkeypatch.setattr("fourdgs_ns.synth.renderer.available_cores", lambda: 1)
    one = renderer.for_camera(cameras[0]).render(5)
    np.testing.assert_array_equal(many.image, one.image)
    np.testing.assert_array_equal(many.matte, one.matte)


def test_images_are_textured_and_well_exposed(renderer, cameras):
    for camera in cameras:
        image = renderer.for_camera(camera).render(3).image.astype(float)
        assert 60 < image.mean() < 170
        assert (image.max(axis=2) >= 254).mean() < 0.05
        assert (image.max(axis=2) < 8).mean() < 0.05
        gradient = np.abs(np.diff(image.mean(axis=2), axis=1))
        assert np.median(gradient) > 2  # no large flat areas
        assert (np.ptp(image, axis=2) > 40).mean() > 0.25  # coloured
