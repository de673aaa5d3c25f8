"""Tracked surface points: on the surface, in the depth maps, at the stated velocity, in the rendered colour."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy import ndimage

from fourdgs_ns.synth import ground_truth
from fourdgs_ns.synth import surface_points as surface
from fourdgs_ns.synth.generate import build_rig
from fourdgs_ns.synth.scene import Clip
from fourdgs_ns.synth.scenes import stage


@pytest.fixture(scope="module")
def tracked(renderer):
    return ground_truth.tracked_points(renderer, 300)


def _rounded(pixels):
    return np.floor(pixels).astype(int)


def _sample(image, at):
    channels = [ndimage.map_coordinates(image[..., k], at.T[::-1], order=1, mode="nearest") for k in range(3)]
    return np.stack(channels, axis=-1)


def _in_image(camera, pixels, depth):
    size = (camera.width, camera.height)
    return (depth > 0.1) & np.all((pixels >= 1) & (pixels < np.array(size) - 1), axis=1)


def test_the_ray_through_a_point_meets_it_or_something_nearer(renderer, cameras, tracked):
    """Exact for every point of every thing: nothing transparent, nothing misplaced, visible points at their depth."""
    camera, frame = cameras[0], 5
    points = np.concatenate([tracked["positions"][frame], tracked["still_positions"]]).astype(float)
    objects = np.concatenate([tracked["objects"], tracked["still_objects"]])
    pixels, depth = camera.project(points)
    usable = np.flatnonzero(~np.isnan(depth) & _in_image(camera, pixels, depth))
    visible = []
    for i in usable[:: len(usable) // 1200]:
        intrinsics = camera.intrinsics.copy()
        intrinsics[:2, 2] += 0.5 - pixels[i]  # the centre of the only pixel looks at the point
        truth = renderer.ground_truth(replace(camera, width=1, height=1, intrinsics=intrinsics), frame)
        met = truth.depth[0, 0] > depth[i] - 1e-4
        assert truth.depth[0, 0] < depth[i] + 1e-4
        assert not met or truth.objects[0, 0] == objects[i]
        visible.append(met)
    assert 0.2 < np.mean(visible) < 0.8


def test_points_of_what_a_pixel_shows_have_its_depth(renderer, cameras, tracked):
    compared = 0
    for camera in cameras:
        for frame in (0, 5, 11):
            truth = renderer.ground_truth(camera, frame)
            points = np.concatenate([tracked["positions"][frame], tracked["still_positions"]])
            objects = np.concatenate([tracked["objects"], tracked["still_objects"]])
            pixels, depth = camera.project(points)
            inside = ~np.isnan(depth) & _in_image(camera, pixels, depth)
            (col, row), depth, objects = _rounded(pixels[inside]).T, depth[inside], objects[inside]
            # Depth varies within a pixel; the neighbours bound it where one calm surface covers them all.
            near = cv2.erode(truth.depth, np.ones((3, 3)))
            far = cv2.dilate(truth.depth, np.ones((3, 3)))
            same = cv2.erode(truth.objects, np.ones((3, 3))) == cv2.dilate(truth.objects, np.ones((3, 3)))
            shown = (same & (far - near < 0.1))[row, col] & (truth.objects[row, col] == objects)
            visible = shown & (np.abs(depth - truth.depth[row, col]) < 0.1)
            apart = np.abs(depth - truth.depth[row, col])[visible]
            assert np.median(apart) < 0.01
            compared += visible.sum()
    assert compared > 3000


def test_depth_is_exact_on_the_floor(renderer, cameras):
    camera = cameras[0]
    truth = renderer.ground_truth(camera, 0)
    low_rows = truth.depth[-3:]
    rows, columns = np.mgrid[camera.height - 3 : camera.height, : camera.width] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(camera.intrinsics).T
    world = rays @ camera.world_from_camera[:3, :3].T
    expected = -camera.world_from_camera[2, 3] / world[..., 2]
    floor = truth.objects[-3:] == 0
    assert floor.mean() > 0.3
    np.testing.assert_allclose(low_rows[floor], expected[floor], rtol=1e-6)


def test_points_move_as_their_velocities_say(tracked, renderer):
    fps = renderer.scene.clip.fps
    positions, velocities = tracked["positions"].astype(float), tracked["velocities"].astype(float)
    # Simpson's rule over two frames integrates smooth motion to fourth order.
    moved = positions[2:] - positions[:-2]
    predicted = (velocities[:-2] + 4 * velocities[1:-1] + velocities[2:]) / (3 * fps)
    names = [thing.name for thing in renderer.scene.things]
    smooth = ~np.isnan(moved[..., 0]) & (tracked["objects"] != names.index("ball") + 1)  # the ball bounces
    assert smooth.sum() > 10_000
    assert np.abs(moved - predicted)[smooth].max() < 5e-4
    assert np.linalg.norm(moved[smooth], axis=-1).max() > 0.3


def test_the_dart_flies_at_its_closed_form_velocity():
    scene = stage(Clip(30, 30.0), 0)
    dart = next(t for t in scene.things if t.name == "dart")
    points = surface.on_things(scene, 50, np.random.default_rng(0), moving=True)
    ids = scene.object_ids[points.code]
    mine = points.take(ids == scene.things.index(dart) + 1)
    frame = dart.first_frame + 4
    centre = surface.positions(scene, mine, scene.clip.seconds(frame)).mean(axis=0)
    before = surface.positions(scene, mine, scene.clip.seconds(frame - 1)).mean(axis=0)
    assert dart.last_frame - dart.first_frame == 9
    assert abs((centre - before)[0] * 9) == pytest.approx(6.8, abs=0.2)


def test_points_exist_exactly_in_the_lifetime_of_their_thing(tracked, renderer):
    frames = np.arange(renderer.scene.clip.frames)[:, None]
    alive = (frames >= tracked["first_frame"]) & (frames <= tracked["last_frame"])
    np.testing.assert_array_equal(~np.isnan(tracked["positions"][..., 0]), alive)
    np.testing.assert_array_equal(~np.isnan(tracked["velocities"][..., 0]), alive)
    assert not alive.all()


def test_jelly_keeps_its_volume_while_it_breathes(renderer):
    jelly = next(t for t in renderer.scene.things if t.name == "jelly")
    stretches = np.array([jelly.parts[0].motion(s).stretch for s in np.linspace(0, 1.3, 20)])
    np.testing.assert_allclose(stretches.prod(axis=1), 1.0)
    assert np.ptp(stretches[:, 2]) > 0.4


def test_points_are_uniform_over_area(renderer):
    rng = np.random.default_rng(0)
    drum = surface._on_part(next(p for p in renderer.scene.parts if p.kind == 2), 20_000, rng)[0]
    part = next(p for p in renderer.scene.parts if p.kind == 2)
    caps = np.mean(np.abs(drum[:, 2]) >= 1 - 1e-9)
    assert caps == pytest.approx(part.extent[0] / (part.extent[0] + 2 * part.extent[2]), abs=0.02)


@pytest.mark.slow
def test_static_points_have_the_same_colour_in_two_cameras(renderer, scene_recipe):
    """Diffuse surfaces at rest: images of two cameras agree where the texture is smooth in both."""
    scene = renderer.scene
    points = surface.on_room(scene, 40_000, np.random.default_rng(1))
    world = surface.positions(scene, points, 0.0)
    looks = []
    for camera in build_rig(replace(scene_recipe, cameras=16, width=480, height=360), renderer)[:2]:
        image = renderer.for_camera(camera).render(0).image.astype(np.float32)
        truth = renderer.ground_truth(camera, 0)
        pixels, depth = camera.project(world)
        ok = _in_image(camera, pixels, depth)
        col, row = _rounded(np.where(ok[:, None], pixels, 1)).T
        ok &= np.abs(truth.depth[row, col] - depth) < 0.1
        ok &= cv2.dilate(truth.objects, np.ones((3, 3)))[row, col] == 0
        contrast = (cv2.dilate(image, np.ones((3, 3))) - cv2.erode(image, np.ones((3, 3)))).max(axis=2)
        ok &= contrast[row, col] < 14
        at = np.where(ok[:, None], pixels, 1).astype(np.float32) - 0.5  # counted from pixel centres
        looks.append((_sample(image, at), ok))
    both = looks[0][1] & looks[1][1]
    difference = np.abs(looks[0][0] - looks[1][0])[both].max(axis=1)
    assert both.sum() > 100
    assert np.median(difference) < 3
    assert np.quantile(difference, 0.9) < 8
    true = surface.colors(renderer, points.take(both), 0)
    assert np.median(np.abs(looks[0][0][both] - true)) < 4


def test_cloud_over_the_clip_lies_on_surfaces_and_in_view(renderer, cameras):
    cloud = surface.over_clip(renderer, cameras, 3000, seed=0)
    clip = renderer.scene.clip
    assert 1000 < len(cloud.times) < 5000
    np.testing.assert_allclose(np.unique(cloud.times), [clip.time(f) for f in range(clip.frames)], atol=1e-6)
    low, high = renderer.scene.room
    assert np.all((cloud.positions >= low - 1e-5) & (cloud.positions <= high + 1e-5))
    inside = np.any([_in_image(c, *c.project(cloud.positions.astype(float))) for c in cameras], axis=0)
    assert inside.mean() > 0.97  # the others lie in the outermost pixels
