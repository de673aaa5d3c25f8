from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points import instants, sift
from fourdgs_ns.points.key_frames import choose_key_frames
from fourdgs_ns.points.loading import _from_files, load_points
from fourdgs_ns.points.ply import write_points_ply

SCENE_SIZE = 4.0


def load(rig, **options):
    return load_points(rig.capture, **{"train_cameras": rig.train, "downscale": 1.0, "progress": False, **options})


def count_triangulations(monkeypatch):
    calls = []
    real = sift.triangulate

    def counted(images):
        calls.append(len(images))
        return real(images)

    monkeypatch.setattr(sift, "triangulate", counted)
    return calls


@pytest.mark.slow
def test_triangulated_points_lie_on_the_surfaces_and_move_with_them(rig):
    # The held-out camera's files cannot be decoded: opening one would raise.
    points = load(rig)
    assert points.timed and "triangulated from 5 cameras at 3 instants" in points.source
    assert points.positions.dtype == np.float64 and points.colors.dtype == np.uint8
    distance = rig.distance_to_surface(points.positions)
    assert len(distance) > 1000
    assert np.median(distance) < 0.005 * SCENE_SIZE
    assert np.mean(distance < 0.05) > 0.95
    # Static points are there once, in the middle of the clip; moving ones are there at every instant.
    assert (points.times[points.static] == 0.5).all() and points.static.mean() > 0.2
    np.testing.assert_allclose(np.unique(points.times[~points.static]), [0.0, 0.25, 1.0])
    assert points.key_interval == 0.5
    back = np.abs(points.positions[:, 2]) < 0.05
    assert back[points.static].mean() > 0.95
    front = (np.abs(points.positions[:, 2] + 1.0) < 0.05) & ~points.static
    left = [points.positions[front & (points.times == t), 0].min() for t in (0.0, 0.25, 1.0)]
    np.testing.assert_allclose(np.diff(left), 0.4, atol=0.1)


@pytest.mark.slow
def test_held_out_camera_is_opened_when_it_is_used_for_training(rig):
    # The counterpart of the test above: the files really are unreadable.
    with pytest.raises(UserError, match="cam2"):
        load(rig, train_cameras=[*rig.train, "cam2"], key_frames=1)


@pytest.mark.slow
def test_cache_is_reused_resumed_and_keyed(rig, monkeypatch):
    calls = count_triangulations(monkeypatch)
    first = load(rig)
    assert calls == [5, 5, 5]
    again = load(rig)
    assert len(calls) == 3
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.times, again.times)
    (folder,) = (rig.capture.root / ".fourdgs").glob("points-*")
    names = [f"instant-00000{f}.npz" for f in range(3)] + [f"key-frame-00000{f}.ply" for f in range(3)]
    assert sorted(p.name for p in folder.iterdir()) == [".lock", *names, "points.ply"]
    # One key frame lost, one cut short, as after an interrupted run or a full disk.
    (folder / "points.ply").unlink()
    (folder / "instant-000000.npz").unlink()
    damaged = folder / "instant-000002.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    resumed = load(rig)
    assert len(calls) == 5
    np.testing.assert_array_equal(first.positions, resumed.positions)
    np.testing.assert_array_equal(first.colors, resumed.colors)
    # Another pose is another cloud; another last digit, as another machine may find it, is not.
    for change, key_frames, count in ((1e-13, None, 5), (1e-3, 1, 6)):
        moved = rig.capture.cameras[0].poses.copy()
        moved[0, 0, 3] += change
        cameras = (rig.capture.cameras[0].posed(moved), *rig.capture.cameras[1:])
        load(replace(rig, capture=replace(rig.capture, cameras=cameras)), key_frames=key_frames)
        assert len(calls) == count


@pytest.mark.slow
def test_interruption_keeps_the_finished_key_frames(rig, monkeypatch):
    real = sift.triangulate
    seen = []

    def interrupted(images):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(1)
        return real(images)

    monkeypatch.setattr(sift, "triangulate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(rig)
    monkeypatch.setattr(sift, "triangulate", real)
    calls = count_triangulations(monkeypatch)
    load(rig)
    assert len(calls) == 1


def test_textureless_scene_falls_back_to_random_under_auto_only(rig, monkeypatch, capsys):
    black = np.zeros((300, 400, 3), np.uint8)
    monkeypatch.setattr(instants, "read_frames", lambda source: iter([black] * len(source)))
    points = load(rig, num_random=500)
    assert len(points.positions) == 500
    assert "only 0 points triangulated" in points.source and "500 random points" in points.source
    assert "only 0 points" in capsys.readouterr().out
    with pytest.raises(UserError, match="--initial-points random"):
        load(rig, method="triangulate")


def test_point_file_comes_first_and_keeps_its_times(rig):
    path = rig.capture.root / "points3D.ply"
    positions = np.arange(9.0).reshape(3, 3)
    capture = replace(rig.capture, point_files=(path,))
    write_points_ply(path, positions, np.full((3, 3), 7, np.uint8), np.array([0.0, 0.5, 1.0]))
    timed = load(replace(rig, capture=capture))
    assert timed.timed and timed.times.tolist() == [0.0, 0.5, 1.0] and str(path) in timed.source
    write_points_ply(path, positions, np.full((3, 3), 7, np.uint8), None)
    untimed = load(replace(rig, capture=capture))
    assert not untimed.timed and untimed.times.tolist() == [0.5, 0.5, 0.5]
    np.testing.assert_array_equal(untimed.positions, positions)


def test_random_points_depend_on_the_seed_only(rig):
    a, b, c = (load(rig, method="random", num_random=300, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.positions, b.positions)
    np.testing.assert_array_equal(a.times, b.times)
    assert not np.array_equal(a.positions, c.positions)
    np.testing.assert_allclose(np.unique(a.times), [0.0, 0.25, 1.0])


def test_clip_of_one_instant_starts_at_zero(rig):
    points = load(replace(rig, capture=rig.capture.only_frames(1, 2, None)), method="random", num_random=50)
    assert (points.times == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ply"}, "no point cloud"),
        ({"train_cameras": []}, "--eval-cameras"),
        ({"train_cameras": ["cam0"], "method": "triangulate"}, "single training camera"),
        ({"train_cameras": ["nobody"]}, "has no camera 'nobody'"),
        ({"key_frames": 0}, "--key-frames is 0"),
        ({"method": "random", "num_random": 0}, "--num-random-points is 0"),
    ],
)
def test_wrong_requests_are_named(rig, options, message):
    with pytest.raises(UserError, match=message):
        load(rig, **options)


def test_key_frames_hold_both_ends_and_are_even():
    assert choose_key_frames(60, 4).tolist() == [0, 20, 39, 59]
    assert choose_key_frames(3, 10).tolist() == [0, 1, 2]
    assert choose_key_frames(1, 10).tolist() == [0]


def test_points_of_a_file_follow_when_part_of_the_clip_is_chosen(rig, tmp_path):
    """A point that is at x = 10 t at every instant of the whole clip is there at the same seconds of any part of it."""
    instants = np.linspace(0, 1, 5)
    positions = np.stack([10 * instants, 0 * instants, 0 * instants], axis=1)
    speeds = np.tile([10.0, 0.0, 0.0], (5, 1))
    still = np.array([[3.0, 4.0, 5.0]])
    file = tmp_path / "points3D.ply"
    write_points_ply(
        file,
        np.concatenate([positions, still]),
        np.arange(18, dtype=np.uint8).reshape(6, 3),
        np.append(instants, 0.5),
        np.concatenate([speeds, 0 * still]),
        np.append(np.zeros(5, bool), True),
    )
    seconds = np.linspace(0, 2.0, 21)  # t = 0.05 k
    whole = replace(
        rig.capture, cameras=(), times_seconds=seconds, frame_numbers=np.arange(100, 121), point_files=(file,)
    )
    for start, stop in ((0, 21), (3, 14), (10, 11), (15, 21)):
        part = whole.only_frames(start, stop, None)
        twice = whole.only_frames(start - start % 3, None, None).only_frames(start % 3, stop - start + start % 3, None)
        assert twice.part == pytest.approx(part.part)
        points = _from_files(part)
        duration = part.duration_seconds
        moving = ~points.static
        at = seconds[start] + points.times[moving] * duration  # seconds of the whole clip
        np.testing.assert_allclose(points.positions[moving, 0], 10 * at / 2.0, atol=1e-5)
        np.testing.assert_allclose(points.velocities[moving, 0], 10 * duration / 2.0, atol=1e-5)
        np.testing.assert_allclose(points.positions[points.static], still)
        assert points.times.min() >= 0 and points.times.max() <= 1 and points.static.sum() == 1
        wanted = [t for t in instants if seconds[start] / 2 - 0.126 <= t <= seconds[stop - 1] / 2 + 0.126]
        assert moving.sum() == len(wanted)
        assert (points.colors[moving][:, 0] == [3 * int(4 * t) for t in wanted]).all()


def test_a_file_without_points_of_the_chosen_part_says_so(rig, tmp_path):
    file = tmp_path / "points3D.ply"
    write_points_ply(file, np.zeros((3, 3)), np.zeros((3, 3), np.uint8), np.array([0.0, 0.1, 0.2]))
    capture = replace(rig.capture, cameras=(), times_seconds=np.linspace(0, 1, 11), point_files=(file,))
    with pytest.raises(UserError, match=r"points3D\.ply has no point from the chosen part of the clip \(t 0\.6 to 1\)"):
        _from_files(capture.only_frames(6, None, None))
