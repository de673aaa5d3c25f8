"""The search as a whole: what comes out for captures that lack something, and what the user is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points import finding
from fourdgs_ns.points.finding import find_points
from fourdgs_ns.points.key_frames import choose_key_frames
from fourdgs_ns.points.loading import load_points
from fourdgs_ns.points.matcher import TriangulatedPoints, no_points
from fourdgs_ns.points.ply import read_points_ply
from fourdgs_ns.points.report import histogram, print_report

GRID = np.stack(np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 20), [0.0]), axis=-1).reshape(-1, 3)


class Found:
    """A matcher that finds what it is told, one cloud per call, seen by the cameras that it is told."""

    def __init__(self, clouds, blind=()):
        self.clouds, self.blind, self.seen = list(clouds), blind, []

    def facts(self):
        return {"clouds": [np.asarray(cloud).tolist() for cloud in self.clouds], "blind": list(self.blind)}

    def points(self, images):
        cloud = self.clouds[len(self.seen)]
        self.seen.append([image.camera.name for image in images])
        n = len(cloud)
        if n == 0:
            return no_points(len(images))
        seen_by = np.tile([image.camera.name not in self.blind for image in images], (n, 1))
        return TriangulatedPoints(np.array(cloud), np.full((n, 3), 90, np.uint8), seen_by, np.full(n, 0.5))


@pytest.fixture
def run(rig, monkeypatch):
    def run(clouds, *, capture=None, blind=(), **options):
        matcher = Found(clouds, blind)
        monkeypatch.setattr(finding, "make_matcher", lambda name, max_points: matcher)
        capture = rig.capture if capture is None else capture
        cameras = [camera for camera in capture.cameras if camera.name in rig.train]
        options = {"downscale": 1.0, "progress": False, "velocities": "none", **options}
        result = find_points(capture, cameras, **options)
        assert all(names == rig.train for names in matcher.seen)
        return result

    return run


def test_moving_and_static_points_are_told_apart_and_written(run):
    moving = GRID[:40] * 0.5 + np.array([0, 0, 2])
    found = run([np.concatenate([GRID, moving + np.array([0, 0.8 * k, 0])]) for k in range(3)], velocities="neighbors")
    cloud = found.cloud
    assert cloud.static.sum() == 400 and (~cloud.static).sum() == 120 and not found.notes
    assert (cloud.times[cloud.static] == 0.5).all() and (cloud.velocities[cloud.static] == 0).all()
    np.testing.assert_array_equal(np.unique(cloud.times[~cloud.static]), np.float32([0.0, 0.25, 1.0]))
    merged = read_points_ply(found.key_frames.directory / "points.ply")
    for name in ("positions", "colors", "times", "velocities", "static"):
        np.testing.assert_allclose(getattr(merged, name), getattr(cloud, name), atol=1e-6)
    first = read_points_ply(found.key_frames.directory / "key-frame-000000.ply")
    assert len(first.positions) == 440 and first.static.sum() == 400 and (first.times == 0).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_clip_of_one_or_two_frames_is_a_static_scene(rig, run, frames):
    capture = rig.capture.only_frames(0, frames, None)
    found = run([GRID] * frames, capture=capture, velocities="flow" if frames == 1 else "neighbors")
    assert len(found.cloud.positions) == 400 and found.cloud.static.all()
    assert (found.cloud.times == 0.5).all() and not found.notes
    assert found.key_frames.key_interval == 1.0


def test_each_shortcoming_is_one_clear_line(run):
    (line,) = run([[], [], []]).notes
    assert "no match in common" in line and "--matcher dense" in line
    (line,) = run([GRID, [], GRID + np.array([5, 5, 5])], max_points=7).notes
    assert "no point was found at 1 of 3 key frames" in line and "frame 1)" in line
    found = run([GRID] * 3, blind=("cam4",))
    assert "camera cam4" in found.notes[0] and "--train-cameras" in found.notes[0]
    assert "static" in found.notes[1]


@pytest.mark.parametrize(
    ("options", "message"), [({"max_points": 0}, "--max-points is 0"), ({"key_frames": 0}, "--key-frames is 0")]
)
def test_options_without_sense_are_named(run, options, message):
    with pytest.raises(UserError, match=message):
        run([GRID] * 3, **options)


def test_load_points_hands_on_velocities_rest_and_interval(rig, monkeypatch):
    dense = np.concatenate([GRID + np.array([0, 0, 0.01 * k]) for k in range(3)])
    moving = GRID[:40] * 0.5 + np.array([0, 0, 5])
    clouds = [np.concatenate([dense, moving + np.array([0, 0.8 * k, 0])]) for k in range(3)]
    monkeypatch.setattr(finding, "make_matcher", lambda name, max_points: Found(clouds))
    points = load_points(rig.capture, train_cameras=rig.train, downscale=1.0, velocities="none", progress=False)
    assert points.timed and points.key_interval == 0.5 and points.static.sum() == 1200 and not points.velocities.any()
    assert points.velocities.shape == points.positions.shape and points.velocities.dtype == np.float32
    # What the search writes is what a capture's point file may hold.
    (folder,) = (rig.capture.root / ".fourdgs").glob("points-*")
    capture = replace(rig.capture, point_files=(folder / "points.ply",))
    again = load_points(capture, train_cameras=rig.train, downscale=1.0)
    for name in ("positions", "colors", "times", "velocities", "static"):
        np.testing.assert_allclose(getattr(again, name), getattr(points, name), atol=1e-6)


def test_automatic_key_frames_are_three_per_second_within_limits():
    assert len(choose_key_frames(300, None, 10.0)) == 30
    assert len(choose_key_frames(150, None, 5.0)) == 16
    assert len(choose_key_frames(60, None, 2.0)) == 10
    assert choose_key_frames(2, None, 0.1).tolist() == [0, 1] and choose_key_frames(1, None).tolist() == [0]


def test_report_fits_one_screen_and_says_the_numbers(rig, run, capsys):
    found = run([np.concatenate([GRID, GRID[:7] + np.array([0, 0, 3 + k])]) for k in range(3)])
    print_report(rig.capture, found)
    text = capsys.readouterr().out
    assert "1221 points in all" in text and "400 static" in text and "21 others" in text and "0.50" in text
    assert len(text.splitlines()) < 40
    assert str(found.key_frames.directory) in text.replace("\n", "")


def test_histogram_counts_every_point_once():
    speeds = np.concatenate([np.zeros(5), np.geomspace(0.001, 8.0, 50)])
    lines = histogram(speeds)
    assert sum(int(line.split()[-1]) for line in lines) == 55
    assert lines[0].split()[0] == "none" and lines[0].split()[-1] == "5" and "to 8 " in lines[-1]
    assert histogram(np.zeros(3))[0].split()[-1] == "3"
