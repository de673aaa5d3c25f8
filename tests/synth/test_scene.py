"""Scenes: lifetimes show in the images, seeds differ, paint and text are as stated."""

from __future__ import annotations

import numpy as np
import pytest

from fourdgs_ns.synth.scene import Clip, linear_color, text_bitmap
from fourdgs_ns.synth.scenes import SCENES


def test_balloon_is_seen_exactly_during_its_lifetime(renderer, cameras):
    number, balloon = next((i, t) for i, t in enumerate(renderer.scene.things, start=1) if t.name == "balloon")
    clip = renderer.scene.clip
    assert (balloon.first_frame, balloon.last_frame) == (round(0.2 * 11), round(0.7 * 11))
    for frame in range(clip.frames):
        sees = [(renderer.ground_truth(camera, frame).objects == number).any() for camera in cameras]
        assert any(sees) == (balloon.first_frame <= frame <= balloon.last_frame)


def test_dart_crosses_the_view(recipe):
    scene = SCENES["stage"](Clip(30, 30.0), 0)
    dart = next(t for t in scene.things if t.name == "dart")
    assert dart.last_frame - dart.first_frame == 9
    places = [dart.parts[0].motion(scene.clip.seconds(f)).center for f in (dart.first_frame, dart.last_frame)]
    np.testing.assert_allclose([p[0] for p in places], [-3.4, 3.4], atol=1e-9)


@pytest.mark.parametrize("name", list(SCENES))
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_things_stay_inside_the_room_and_apart_from_cameras(name, seed):
    scene = SCENES[name](Clip(90, 30.0), seed)
    low, high = scene.room
    for frame in range(0, 90, 5):
        table = scene.primitives(frame)
        present = table[:, 0] >= 0
        centres = table[present, 1:4]
        assert np.all((centres > low) & (centres < high))
        still = table[: scene.num_still]
        np.testing.assert_array_equal(still, scene.primitives(0)[: scene.num_still])


def test_seed_changes_the_scene_and_the_same_seed_does_not():
    clip = Clip(10, 30.0)
    a, b, c = (SCENES["stage"](clip, seed).primitives(5) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("frames", [2, 3, 30, 300])
def test_any_length_of_clip_has_every_thing_at_least_once(frames):
    for build in SCENES.values():
        for thing in build(Clip(frames, 30.0), 0).things:
            assert any(thing.exists(frame) for frame in range(frames)), thing.name


def test_colours_and_text():
    np.testing.assert_allclose(linear_color("#ffffff"), 1.0)
    np.testing.assert_allclose(linear_color("#bcbcbc"), 0.5, atol=0.01)
    bitmap = text_bitmap("I")
    assert bitmap.shape == (28, 120)
    assert bitmap[:4].mean() == pytest.approx(3 / 5) and bitmap[8:12].mean() == pytest.approx(1 / 5)
