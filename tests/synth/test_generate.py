"""Whole captures: every layout reads back as the rig that was rendered, twice the same, or not at all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from plyfile import PlyData

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.synth.generate import build_renderer, build_rig, generate
from fourdgs_ns.synth.ground_truth import DEPTH_UNIT_METRES
from fourdgs_ns.synth.rigs import late_frames
from fourdgs_ns.synth.writers import dnerf_splits, llff_row, num_views


def _generate(recipe, out, overwrite=False):
    count = []
    generate(recipe, out, overwrite, lambda: count.append(1))
    assert len(count) == num_views(recipe.layout, recipe.cameras, recipe.frames)
    return out


def read_depth(path):
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return np.where(raw > 0, raw * DEPTH_UNIT_METRES, np.inf)


def _psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


def _video(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate, [f.to_ndarray(format="rgb24") for f in container.decode(stream)]


@pytest.fixture(scope="module")
def small(recipe):
    return replace(recipe, cameras=3, frames=5, width=64, height=48)


@pytest.fixture(scope="module")
def n3dv(small, tmp_path_factory):
    return _generate(small, tmp_path_factory.mktemp("n3dv") / "capture")


def _same_rig(capture, cameras, atol=1e-9):
    assert [c.name for c in capture.cameras] == [c.name for c in cameras]
    for read, made in zip(capture.cameras, cameras, strict=True):
        assert (read.width, read.height) == (made.width, made.height)
        np.testing.assert_allclose(read.camera.intrinsics, made.intrinsics, atol=atol)
        np.testing.assert_allclose(read.at(0).world_from_camera, made.world_from_camera, atol=atol)


def test_n3dv_reads_back_as_the_rig(n3dv, small):
    cameras = build_rig(small, build_renderer(small))
    capture = read_capture(n3dv)
    assert capture.layout == "n3dv" and capture.num_frames == 5
    assert capture.duration_seconds == pytest.approx(4 / 30)
    _same_rig(capture, cameras)


def test_llff_row_states_down_right_backwards(small):
    camera = build_rig(small, build_renderer(small))[1]
    row = llff_row(camera, 1.0, 9.0)
    matrix = row[:15].reshape(3, 5)
    rotation = np.stack([matrix[:, 1], matrix[:, 0], -matrix[:, 2]], axis=1)
    np.testing.assert_array_equal(rotation, camera.world_from_camera[:3, :3])
    np.testing.assert_array_equal(matrix[:, 3], camera.world_from_camera[:3, 3])
    np.testing.assert_array_equal(matrix[:, 4], [48, 64, camera.intrinsics[0, 0]])
    np.testing.assert_array_equal(row[15:], [1, 9])


def test_depth_bounds_enclose_the_depths(n3dv):
    rows = np.load(n3dv / "poses_bounds.npy")
    assert rows.shape == (3, 17) and rows.dtype == np.float64
    for index, row in enumerate(rows):
        for frame in (0, 4):
            depth = read_depth(n3dv / "ground_truth" / "depth" / f"cam{index:02d}" / f"{frame:06d}.png")
            assert row[15] < depth.min() and depth.max() < row[16]


@pytest.mark.parametrize(("chroma", "least"), [("444", 38.0), ("420", 24.0)])
def test_video_has_every_frame_at_the_exact_rate_and_close_to_the_render(recipe, tmp_path, chroma, least):
    fine = replace(recipe, cameras=2, frames=4, width=256, height=192, fps=25.0, chroma=chroma, ground_truth=False)
    out = _generate(fine, tmp_path / "capture")
    renderer = build_renderer(fine)
    view = renderer.for_camera(build_rig(fine, renderer)[0])
    rate, frames = _video(out / "cam00.mp4")
    assert rate == 25 and len(frames) == 4
    quality = [_psnr(view.render(i).image, frame) for i, frame in enumerate(frames)]
    assert min(quality) > least
    reader = cv2.VideoCapture(str(out / "cam00.mp4"))
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 4 and reader.get(cv2.CAP_PROP_FPS) == 25
    assert _psnr(view.render(0).image, reader.read()[1][..., ::-1]) > least


def test_ground_truth_files(n3dv, small):
    truth = n3dv / "ground_truth"
    renderer = build_renderer(small)
    cameras = build_rig(small, renderer)
    stated = json.loads((truth / "cameras.json").read_text())
    scene = json.loads((truth / "scene.json").read_text())
    assert list(stated) == ["cam00", "cam01", "cam02"]
    assert scene["views"] == {name: [0, 1, 2, 3, 4] for name in stated}
    for camera in cameras:
        np.testing.assert_array_equal(stated[camera.name]["world_from_camera"], camera.world_from_camera)
        exact = renderer.ground_truth(camera, 2)
        depth = read_depth(truth / "depth" / camera.name / "000002.png")
        assert np.abs(depth - exact.depth).max() <= 0.51 * scene["depth_unit_metres"]
        objects = cv2.imread(str(truth / "objects" / camera.name / "000002.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(objects, exact.objects)
        assert set(np.unique(objects)) <= {thing["id"] for thing in scene["objects"]}
    points = np.load(truth / "points.npz")
    assert points["positions"].shape == points["velocities"].shape == points["colors"].shape
    assert points["positions"].shape[0] == len(points["times"]) == 5
    np.testing.assert_allclose(points["times"], np.linspace(0, 1, 5))
    moving = {thing["id"] for thing in scene["objects"] if thing["moves"]}
    assert set(np.unique(points["objects"])) == moving
    assert all(np.sum(points["objects"] == number) == 2000 for number in moving)


@pytest.mark.parametrize("images", [False, True])
def test_easyvolcap_reads_back_and_masks_are_the_actors(small, tmp_path, images):
    recipe = replace(small, layout="easyvolcap", scene="studio", images=images, points=True)
    out = _generate(recipe, tmp_path / "capture")
    renderer = build_renderer(recipe)
    cameras = build_rig(recipe, renderer)
    capture = read_capture(out)
    assert capture.layout == "easyvolcap" and capture.num_frames == 5
    assert capture.duration_seconds == pytest.approx(4 / 30)
    _same_rig(capture, cameras, atol=1e-7)
    actors = [i for i, thing in enumerate(renderer.scene.things, start=1) if thing.moves]
    for camera in cameras:
        files = sorted((out / "masks" / camera.name).iterdir())
        assert [f.name for f in files] == [f"{i:06d}.png" for i in range(5)]
        mask = cv2.imread(str(files[3]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (48, 64)
        inside = np.isin(renderer.ground_truth(camera, 3).objects, actors)
        assert inside.mean() > 0.05
        # Masks are shares of a pixel, ids are of its centre: they can differ only where both sides are in the pixel.
        assert inside[mask == 255].all() and not inside[mask == 0].any()
        assert np.mean((mask > 0) & (mask < 255)) < 0.2
    if images:
        image = cv2.imread(str(out / "images" / "01" / "000004.jpg"))[..., ::-1]
        assert _psnr(image, renderer.for_camera(cameras[1]).render(4).image) > 36
    cloud = PlyData.read(str(out / "points3d.ply"))["vertex"]
    assert [p.name for p in cloud.properties] == ["x", "y", "z", "red", "green", "blue", "time"]
    assert cloud["time"].min() == 0 and cloud["time"].max() == 1
    assert capture.point_files == (out / "points3d.ply",)


def test_transforms_reads_back(small, tmp_path):
    recipe = replace(small, layout="transforms")
    out = _generate(recipe, tmp_path / "capture")
    content = json.loads((out / "transforms.json").read_text())
    assert len(content["frames"]) == 15
    assert [f["time"] for f in content["frames"][:5]] == [0, 0.25, 0.5, 0.75, 1]
    assert all((out / f["file_path"]).is_file() for f in content["frames"])
    opengl = np.array(content["frames"][0]["transform_matrix"])
    renderer = build_renderer(recipe)
    cameras = build_rig(recipe, renderer)
    np.testing.assert_array_equal(opengl[:3, 2], -cameras[0].world_from_camera[:3, 2])
    capture = read_capture(out)
    assert capture.num_frames == 5 and capture.duration_seconds == pytest.approx(4 / 30)
    _same_rig(capture, cameras)
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata == {"fps": 30.0, "num_frames": 5, "cameras": ["cam00", "cam01", "cam02"]}


def test_dnerf_is_one_moving_camera_over_nothing(small, tmp_path):
    recipe = replace(small, layout="dnerf", cameras=3)
    out = _generate(recipe, tmp_path / "capture")
    renderer = build_renderer(recipe)
    for split in dnerf_splits(renderer, 3, 64, 48):
        content = json.loads((out / f"transforms_{split.name}.json").read_text())
        assert len(content["frames"]) == (5 if split.name == "train" else 3)
        assert 0.5 * 64 / np.tan(content["camera_angle_x"] / 2) == pytest.approx(split.cameras[0].intrinsics[0, 0])
        for entry, camera, frame in zip(content["frames"], split.cameras, split.frames, strict=True):
            assert entry["time"] == frame / 4
            matrix = np.array(entry["transform_matrix"]) @ np.diag([1, -1, -1, 1])
            np.testing.assert_allclose(matrix, camera.world_from_camera, atol=1e-12)
            rgba = cv2.imread(str(out / f"{entry['file_path']}.png"), cv2.IMREAD_UNCHANGED)
            seen = renderer.ground_truth(camera, frame).objects > 0
            assert rgba.shape == (48, 64, 4) and seen.mean() > 0.05
            assert seen[rgba[..., 3] == 255].all() and not seen[rgba[..., 3] == 0].any()
            assert np.all(rgba[rgba[..., 3] == 0] == 0)
    capture = read_capture(out)
    assert capture.layout == "dnerf" and capture.num_frames == 5
    assert capture.duration_seconds == pytest.approx(4 / 30)


def _contents(root: Path):
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


def test_same_recipe_gives_the_same_bytes_and_another_seed_does_not(n3dv, small, tmp_path):
    again = _contents(_generate(small, tmp_path / "again"))
    assert again == _contents(n3dv)
    other = _contents(_generate(replace(small, seed=1), tmp_path / "other"))
    assert other.keys() == again.keys()
    assert all(other[name] != again[name] for name in ("cam00.mp4", "poses_bounds.npy", "ground_truth/points.npz"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"width": 65}, "--size 65 48 .*give --size 66 48"),
        ({"height": 47}, "--size 64 47 .*give --size 64 48"),
        ({"width": 4}, "out of range"),
        ({"frames": 1}, "--frames 1"),
        ({"fps": 0.0}, "--fps"),
        ({"fps": float("nan")}, "--fps"),
        ({"seed": -1}, "--seed"),
        ({"samples": 6}, "--samples"),
        ({"images": True}, "--layout easyvolcap"),
        ({"layout": "dnerf", "cameras": 0}, "--cameras 0"),
    ],
)
def test_impossible_recipes_are_refused_before_anything_is_written(small, tmp_path, change, says):
    with pytest.raises(UserError, match=says):
        generate(replace(small, **change), tmp_path / "capture", False, lambda: None)
    assert not any(tmp_path.iterdir())


def test_folders_in_use_are_kept(small, tmp_path):
    tiny = replace(small, frames=2, cameras=2, ground_truth=False, layout="transforms")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("do not lose")
    for overwrite, says in ((False, "--overwrite"), (True, "not written by this command")):
        with pytest.raises(UserError, match=says):
            generate(tiny, precious, overwrite, lambda: None)
    assert (precious / "thesis.txt").read_text() == "do not lose"
    with pytest.raises(UserError, match="is a file"):
        generate(tiny, precious / "thesis.txt", False, lambda: None)
    out = _generate(tiny, tmp_path / "capture")
    with pytest.raises(UserError, match="already holds files"):
        generate(tiny, out, False, lambda: None)
    (out / "stale.txt").write_text("")
    _generate(replace(tiny, seed=2), out, overwrite=True)
    assert json.loads((out / "synth.json").read_text())["seed"] == 2
    assert not (out / "stale.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["capture", "precious"]


@pytest.mark.parametrize("layout", ["n3dv", "easyvolcap", "dnerf"])
def test_an_interrupt_leaves_nothing_behind(small, tmp_path, layout):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(replace(small, layout=layout), tmp_path / "capture", False, interrupt)
    assert not any(tmp_path.iterdir())


def test_without_pyav_the_error_names_the_remedy(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install av.*--layout easyvolcap --images"):
        generate(small, tmp_path / "capture", False, lambda: None)
    _generate(replace(small, layout="easyvolcap", images=True, frames=2, ground_truth=False), tmp_path / "images")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]


def test_a_late_camera_shows_later_instants(small):
    renderer = build_renderer(small)
    plain = build_rig(small, renderer)
    late = build_rig(replace(small, late=(f"{plain[1].name}=2",)), renderer)
    assert [late_frames(camera, small.fps) for camera in late] == [0.0, 2.0, 0.0]
    np.testing.assert_array_equal(
        renderer.for_camera(late[1]).render(1).image, renderer.for_camera(plain[1]).render(3).image
    )
    half = replace(late[1], time_offset_seconds=0.5 / small.fps)
    between = renderer.for_camera(half).render(1).image
    assert not np.array_equal(between, renderer.for_camera(plain[1]).render(1).image)
    assert not np.array_equal(between, renderer.for_camera(plain[1]).render(2).image)


@pytest.mark.parametrize(("word", "complaint"), [("cam01", "says no number"), ("cam9=1", "names no camera")])
def test_lateness_that_means_nothing(small, word, complaint):
    with pytest.raises(UserError, match=complaint):
        build_rig(replace(small, late=(word,)), build_renderer(small))
