"""Initial points against the exact scene that a synthetic capture was rendered from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.cli.main import entry_point
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.camera import Camera, look_at
from fourdgs_ns.points import depth_maps
from fourdgs_ns.points.finding import FoundPoints, find_points
from fourdgs_ns.points.ply import read_points_ply
from fourdgs_ns.points.truth import check_against_truth, has_truth, surface_distance

MATRIX = np.array([[200.0, 0, 80], [0, 200, 60], [0, 0, 1]])


@pytest.fixture(scope="module")
def stage_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "stage"
    options = ["--cameras", "6", "--frames", "8", "--size", "320", "240", "--samples", "4", "--seed", "1"]
    entry_point(["synth", "--out", str(out), *options])
    return out


def wall(camera: Camera):
    """What a view of the plane y = 0 shows: points, normals and labels."""
    x, y = np.meshgrid(np.arange(160) + 0.5, np.arange(120) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(MATRIX).T @ camera.world_from_camera[:3, :3].T
    origin = camera.world_from_camera[:3, 3]
    points = origin + rays * (-origin[1] / rays[:, :, 1])[:, :, None]
    labels = np.where(points[:, :, 0] > 0, 2, 1)
    return points, np.broadcast_to([0.0, 1.0, 0.0], points.shape), labels


def test_distance_to_a_slanted_wall_is_exact_and_names_the_object():
    cameras = [
        Camera(f"cam{i}", 160, 120, MATRIX, look_at(np.array(eye), np.zeros(3)))
        for i, eye in enumerate([(-2.0, -3.0, 0.3), (1.5, -3.5, -0.2)])
    ]
    views = [(camera, *wall(camera)) for camera in cameras]
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.6, -0.03, -0.4], [0.6, 0.03, 0.4], (300, 3))
    distance, objects = surface_distance(points, views)
    np.testing.assert_allclose(distance, np.abs(points[:, 1]), atol=1e-9)
    sure = np.abs(points[:, 0]) > 0.1
    np.testing.assert_array_equal(objects[sure], np.where(points[sure, 0] > 0, 2, 1))
    assert np.isinf(surface_distance(np.array([[50.0, 0, 0], [0, -30.0, 0]]), views)[0]).all()


@pytest.mark.slow
def test_features_meet_the_truth(stage_capture):
    capture = read_capture(stage_capture, None)
    cameras = [c for c in capture.cameras if c.name not in capture.eval_cameras]
    found = find_points(capture, cameras, downscale=1.0, key_frames=4, progress=False)
    report = check_against_truth(capture, found)
    assert report.points > 1500 and report.moving > 100
    assert report.position_error < 0.003 and report.within_1_percent > 0.93
    # In a quarter of a second at 320x240 some of what moves does so by less than a pixel, which counts as static.
    assert report.velocity_known > 0.75 and report.angle_degrees < 15 and report.within_20_percent > 0.4
    assert report.moving_called_static < 0.2 and report.static_recognised > 0.6
    # The truth rejects what is wrong: points beside the surfaces, and velocities of twice the length.
    everything = found.merged.sightings
    worse = replace(everything, positions=everything.positions * np.float32(1.03), velocities=2 * everything.velocities)
    wrong = check_against_truth(capture, replace(found, merged=replace(found.merged, sightings=worse)))
    assert wrong.within_1_percent < 0.5 and wrong.within_20_percent < 0.1


@pytest.mark.slow
def test_dense_points_meet_the_truth(stage_capture, monkeypatch):
    monkeypatch.setattr(depth_maps, "SMALL_SIDE", 80)
    monkeypatch.setattr(depth_maps, "SWEEP_SIDE", 160)
    capture = read_capture(stage_capture, None)
    cameras = [c for c in capture.cameras if c.name not in capture.eval_cameras]
    found = find_points(capture, cameras, downscale=1.0, key_frames=1, matcher="dense", max_points=8000, progress=False)
    report = check_against_truth(capture, found)
    assert report.points > 5000
    assert report.position_error < 0.003 and report.within_1_percent > 0.95


@pytest.mark.slow
def test_command_reports_checks_writes_and_reuses(stage_capture, tmp_path, capsys):
    out = tmp_path / "points.ply"
    arguments = ["init", str(stage_capture), "--key-frames", "2", "--velocities", "none", "--out", str(out)]
    entry_point(arguments)
    first = capsys.readouterr().out
    assert "sift on 5 cameras" in first and "against the ground truth" in first
    kept = read_points_ply(out)
    assert kept.times is not None and kept.static is not None and kept.static.any()
    (folder,) = (
        path.parent for path in (stage_capture / ".fourdgs").glob("points-*/points.ply") if read(path) == read(out)
    )
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("instant-*.npz")}
    with pytest.raises(SystemExit):
        entry_point(arguments)
    assert "exists" in capsys.readouterr().err
    entry_point([*arguments, "--overwrite"])
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("instant-*.npz")} == before


def read(path: Path) -> bytes:
    return path.read_bytes()


def test_check_without_truth_is_one_line(rig):
    assert not has_truth(rig.capture)
    with pytest.raises(UserError, match="--check needs a capture of fourdgs-ns synth"):
        check_against_truth(rig.capture, Mock(spec=FoundPoints))


@pytest.mark.parametrize("out, phrase", [("nowhere/points.ply", "does not exist"), (".", "is a folder")])
def test_outputs_that_cannot_be_are_refused_before_the_work(tmp_path, capsys, out, phrase):
    with pytest.raises(SystemExit):
        entry_point(["init", str(tmp_path / "no capture"), "--out", str(tmp_path / out)])
    assert phrase in (told := capsys.readouterr().err) and "error: --out" in told
