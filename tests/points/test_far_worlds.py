"""Worlds far from their origin and in any units: the same points, the same training's world, and back."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.view_volume import attention_point, camera_extent
from fourdgs_ns.geometry.world import WorldFromCapture, check_same_world, make_world_from_capture
from fourdgs_ns.points.loading import load_points
from fourdgs_ns.points.ply import read_points_ply, write_points_ply
from fourdgs_ns.synth.generate import Recipe, generate
from tests.capture import writers

UTM = np.array([4.1e5, 5.3e6, 250.0])
TURN = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
FAR = WorldFromCapture(TURN, -TURN @ UTM, 0.4)


def test_there_and_back_is_exact_to_single_precision():
    points = np.random.default_rng(0).normal(size=(50, 3)) + UTM
    means = torch.from_numpy(FAR.points_from_capture(points))
    assert np.abs(means).max() < 5
    exact = (means.double().numpy() / FAR.scale - FAR.translation) @ FAR.rotation
    np.testing.assert_allclose(exact, points, atol=1e-6)
    back = FAR.gaussians_to_capture(means, torch.ones(50, 4), means)[0]
    assert back.dtype == torch.float32
    np.testing.assert_array_equal(back.numpy(), exact.astype(np.float32))
    assert FAR.single_precision() == pytest.approx(0.4 * 0.5)


@pytest.mark.parametrize("origin", [np.zeros(3), UTM])
def test_the_same_world_wherever_it_is(origin):
    def moved(by, scale=0.4):
        return WorldFromCapture(TURN, -TURN @ (origin + by), scale)

    check_same_world(moved(0.0), moved(1e-4))
    for other in (moved(0.1), moved(0.0, 0.41)):
        with pytest.raises(UserError):
            check_same_world(other, moved(0.0))


@pytest.mark.parametrize(("scale", "origin"), [(1.0, UTM), (1e-4, 0.0), (1e5, 0.0), (1.0, 0.0)])
def test_point_files(scale, origin, tmp_path):
    points = scale * np.random.default_rng(0).normal(size=(50, 3)) + origin
    write_points_ply(tmp_path / "points.ply", points, np.zeros((50, 3), np.uint8))
    read = read_points_ply(tmp_path / "points.ply", []).positions
    np.testing.assert_allclose(read, points, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(("scale", "origin"), [(1e-4, 0.0), (1.0, UTM), (1e4, 0.0)])
@pytest.mark.parametrize("share", [0.0, 1e-3])
def test_movement_is_told_in_units_of_the_rig(scale, origin, share, tmp_path):
    entries = []
    for c in writers.rig():
        for i in range(3):
            writers.write_image(tmp_path / "images" / c.name / f"{i}.png")
            entry = writers.entry(c, f"images/{c.name}/{i}.png", frame_id=i)
            pose = np.array(entry["transform_matrix"])
            pose[:3, 3] = scale * (pose[:3, 3] + share * i * (c.name == "cam01")) + origin
            entries.append({**entry, "transform_matrix": pose.tolist()})
    lens = {"fl_x": 40.0, "w": writers.WIDTH, "h": writers.HEIGHT}
    writers.write_json(tmp_path / "transforms.json", {**lens, "frames": entries})
    moves = [c.moves for c in read_capture(tmp_path).cameras]
    assert moves == [False, share > 0, False]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    root = tmp_path_factory.mktemp("far") / "base"
    recipe = Recipe(
        **{
            "cameras": 5,
            "frames": 2,
            "width": 320,
            "height": 240,
            "fps": 30.0,
            "scene": "stage",
            "layout": "transforms",
        },
        **{"images": True, "chroma": "444", "seed": 0, "ground_truth": False, "points": False, "samples": 4},
    )
    generate(recipe, root, False, lambda: None)
    return root


def _points_in_training(root):
    capture = read_capture(root)
    train = [c.name for c in capture.cameras[1:]]
    points = load_points(
        capture, train_cameras=train, downscale=1.0, method="triangulate", key_frames=1, progress=False
    )
    poses = np.concatenate([c.poses for c in capture.cameras[1:]])
    attention, extent = attention_point(poses), camera_extent(poses)
    world = make_world_from_capture(poses, orient="up", center="attention", attention=attention, extent=extent)
    return world.points_from_capture(points.positions)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "origin"), [(1.0, UTM), (1e-4, 0.0), (1e4, 0.0), (1e5, UTM)])
def test_initial_points_are_the_same_in_the_training_world(scale, origin, captured, tmp_path, monkeypatch):
    monkeypatch.setattr("fourdgs_ns.points.loading.FEWEST_POINTS", 50)
    shutil.copytree(captured, tmp_path / "c", ignore=shutil.ignore_patterns("*.ply", ".fourdgs"))
    shutil.copytree(captured, tmp_path / "a", ignore=shutil.ignore_patterns("*.ply", ".fourdgs"))
    content = json.loads((tmp_path / "c" / "transforms.json").read_text())
    for entry in content["frames"]:
        pose = np.array(entry["transform_matrix"])
        pose[:3, 3] = scale * pose[:3, 3] + origin
        entry["transform_matrix"] = pose.tolist()
    writers.write_json(tmp_path / "c" / "transforms.json", content)
    here, there = _points_in_training(tmp_path / "a"), _points_in_training(tmp_path / "c")
    assert len(here) > 100
    np.testing.assert_allclose(there, here, atol=1e-5)
