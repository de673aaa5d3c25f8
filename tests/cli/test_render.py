"""ns-render: images in files against the model rendered at the same t."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.camera_paths import get_path_from_json

from tests.cli.run import assert_one_line_error, files, typed
from tests.plugin.tiny import FRAMES, HEIGHT, WIDTH

STEP = 1 / 255


@pytest.fixture(autouse=True)
def no_encoder_needed(monkeypatch):
    """ns-render asks for ffmpeg even where it writes images only."""
    if shutil.which("ffmpeg") is None:
        monkeypatch.setattr("nerfstudio.utils.install_checks.check_ffmpeg_installed", lambda: None)


def read(path) -> np.ndarray:
    """RGB or RGBA in [0, 1]."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    order = [2, 1, 0, 3][: image.shape[-1]]
    return image[..., order].astype(np.float32) / 255


def rendered(pipeline, camera, name="rgb") -> np.ndarray:
    return pipeline.model.get_outputs_for_camera(camera)[name].cpu().numpy()


@pytest.fixture(scope="module")
def path_json(pipeline):
    """A camera path as the viewer saves it, from a held-out camera; ``times`` None leaves them away."""
    pose = np.eye(4)
    pose[:3] = pipeline.datamanager.eval_dataset.cameras[0].camera_to_worlds.numpy()

    def write(folder, times, count=2, **top):
        steps = [{"camera_to_world": pose.flatten().tolist(), "fov": 60.0, "aspect": 1.5} for _ in range(count)]
        for step, t in zip(steps, times or ()):
            step["render_time"] = t
        record = {"render_height": 40, "render_width": 60, "seconds": 1.0, "fps": 2, "camera_type": "perspective"}
        path = folder / "path.json"
        path.write_text(json.dumps({**record, "camera_path": steps, **top}))
        return path

    return write


def render_path(run, path, folder, *options):
    return typed(
        *("ns-render", "camera-path", "--load-config", run.config, "--camera-path-filename", path),
        *("--output-path", folder / "frames", "--output-format", "images", "--image-format", "png", *options),
    )


# ---------------------------------------------------------------------- dataset


def test_dataset_renders_every_held_out_view_at_its_time(run, pipeline, tmp_path):
    names = ("rgb", "gt-rgb", "depth", "rgba", "accumulation")
    told = typed(
        *("ns-render", "dataset", "--load-config", run.config, "--output-path", tmp_path, "--image-format", "png"),
        *("--rendered-output-names", *names),
    )
    assert told.code == 0, told.text
    dataset = pipeline.datamanager.eval_dataset
    views = [f"{dataset.camera_name(v)}/{dataset.frame_number(v):06d}.png" for v in range(len(dataset))]
    assert files(tmp_path / "test") == sorted(f"{name}/{view}" for name in names for view in views)
    for view, file in enumerate(views):
        camera = dataset.cameras[view : view + 1]
        rgb = read(tmp_path / "test" / "rgb" / file)
        np.testing.assert_allclose(rgb, rendered(pipeline, camera), atol=STEP)
        np.testing.assert_array_equal(read(tmp_path / "test" / "gt-rgb" / file), read(run.capture / "ims" / file))
        assert read(tmp_path / "test" / "depth" / file).shape == (HEIGHT, WIDTH, 3)
    first, last = (read(tmp_path / "test" / "rgb" / f"0/{frame:06d}.png") for frame in (0, FRAMES - 1))
    assert np.abs(first - last).max() > 3 * STEP


def test_dataset_renders_training_views(run, pipeline, tmp_path):
    told = typed(
        *("ns-render", "dataset", "--load-config", run.config, "--output-path", tmp_path, "--image-format", "png"),
        *("--split", "train", "--rendered-output-names", "rgb"),
    )
    assert told.code == 0, told.text
    dataset = pipeline.datamanager.train_dataset
    assert files(tmp_path) == [
        f"train/rgb/{camera}/{frame:06d}.png" for camera in ("1", "2") for frame in range(FRAMES)
    ]
    for view in (0, 5):
        file = f"{dataset.camera_name(view)}/{dataset.frame_number(view):06d}.png"
        image = read(tmp_path / "train" / "rgb" / file)
        np.testing.assert_allclose(image, rendered(pipeline, dataset.cameras[view : view + 1]), atol=STEP)


def test_dataset_without_names_writes_every_output(run, tmp_path):
    told = typed("ns-render", "dataset", "--load-config", run.config, "--output-path", tmp_path)
    assert told.code == 0, told.text
    assert {path.name for path in (tmp_path / "test").iterdir()} == {
        "gt-rgb",
        "rgb",
        "depth",
        "accumulation",
        "background",
    }


# ---------------------------------------------------------------------- camera paths


def test_camera_path_takes_the_time_of_each_step(run, pipeline, path_json, tmp_path):
    path = path_json(tmp_path, [0.0, 0.9])
    told = render_path(run, path, tmp_path)
    assert told.code == 0, told.text
    assert "carry no time" not in told.text
    cameras = get_path_from_json(json.loads(path.read_text()))
    images = [read(tmp_path / "frames" / f"{i:05d}.png") for i in range(2)]
    for i, image in enumerate(images):
        assert image.shape == (40, 60, 3)
        np.testing.assert_allclose(image, rendered(pipeline, cameras[i : i + 1]), atol=STEP)
    assert np.abs(images[0] - images[1]).max() > 3 * STEP


def test_times_outside_the_clip_are_its_ends(run, path_json, tmp_path):
    """The viewer's splines overshoot."""
    assert render_path(run, path_json(tmp_path, [-0.2, 1.3, 0.0, 1.0], count=4), tmp_path).code == 0
    a, b, first, last = (read(tmp_path / "frames" / f"{i:05d}.png") for i in range(4))
    np.testing.assert_array_equal(a, first)
    np.testing.assert_array_equal(b, last)


@pytest.mark.parametrize("variable, t", [(None, 0.0), ("60%", 0.6)])
def test_camera_path_without_times_shows_the_default_time_and_says_so_once(
    run, pipeline, path_json, tmp_path, monkeypatch, variable, t
):
    if variable is not None:
        monkeypatch.setenv("FOURDGS_TIME", variable)
    path = path_json(tmp_path, None, count=3)
    told = render_path(run, path, tmp_path)
    assert told.code == 0, told.text
    assert told.text.count("carry no time") == 1
    assert f"rendering t = {t:g}" in told.text
    camera = get_path_from_json(json.loads(path.read_text()))[0:1]
    camera.times = torch.tensor([[t]])
    for i in range(3):
        np.testing.assert_allclose(read(tmp_path / "frames" / f"{i:05d}.png"), rendered(pipeline, camera), atol=STEP)


def test_rgba_has_straight_alpha(run, pipeline, path_json, tmp_path):
    """Laid over any background it equals the scene rendered over that background."""
    path = path_json(tmp_path, [0.3], count=1)
    assert render_path(run, path, tmp_path, "--rendered-output-names", "rgba").code == 0
    image = read(tmp_path / "frames" / "00000.png")
    assert image.shape == (40, 60, 4)
    color, alpha = image[..., :3], image[..., 3:]
    assert 0.05 < alpha.mean() < 0.99
    camera = get_path_from_json(json.loads(path.read_text()))[0:1]
    green = torch.tensor([0.1, 0.9, 0.2])
    pipeline.model.set_background(green)
    # Colour and alpha were rounded to 1/255 each.
    np.testing.assert_allclose(color * alpha + (1 - alpha) * green.numpy(), rendered(pipeline, camera), atol=2 * STEP)


def test_depth_and_rgb_side_by_side(run, path_json, tmp_path):
    told = render_path(run, path_json(tmp_path, [0.0, 1.0]), tmp_path, "--rendered-output-names", "rgb", "depth")
    assert told.code == 0, told.text
    assert read(tmp_path / "frames" / "00000.png").shape == (40, 120, 3)


def test_crop_of_a_camera_path_brings_its_background(run, path_json, tmp_path):
    """A box that holds nothing leaves the colour that the viewer wrote beside it."""
    crop = {
        "crop_center": [50.0, 0.0, 0.0], "crop_scale": [1.0, 1.0, 1.0], "crop_rot": [0.0, 0.0, 0.0],
        "crop_bg_color": {"r": 255, "g": 51, "b": 0},
    }  # fmt: skip
    assert render_path(run, path_json(tmp_path, [0.0], count=1, crop=crop), tmp_path).code == 0
    image = read(tmp_path / "frames" / "00000.png")
    np.testing.assert_allclose(image, np.broadcast_to([1.0, 0.2, 0.0], image.shape), atol=STEP)


@pytest.mark.parametrize("kind", ["fisheye", "equirectangular"])
def test_cameras_that_are_no_pinholes_are_refused(run, path_json, tmp_path, kind):
    told = render_path(run, path_json(tmp_path, [0.0], count=1, camera_type=kind), tmp_path)
    assert_one_line_error(told, "perspective cameras only", kind)


def test_nearest_camera_needs_rays(run, path_json, tmp_path):
    told = render_path(run, path_json(tmp_path, [0.0]), tmp_path, "--render-nearest-camera", "True")
    assert_one_line_error(told, "asks for rays", "leave --render-nearest-camera away")


def test_wrong_time_variable_is_one_line(run, path_json, tmp_path, monkeypatch):
    monkeypatch.setenv("FOURDGS_TIME", "half")
    assert_one_line_error(render_path(run, path_json(tmp_path, None), tmp_path), "FOURDGS_TIME is 'half'")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ns-render writes videos with the program ffmpeg")
def test_video_is_what_camera_path_writes_by_default(run, path_json, tmp_path):
    told = typed(
        *("ns-render", "camera-path", "--load-config", run.config, "--output-path", tmp_path / "film.mp4"),
        *("--camera-path-filename", path_json(tmp_path, [0.0, 0.5, 1.0, 0.5], count=4)),
    )
    assert told.code == 0, told.text
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    shapes = []
    while (got := video.read())[0]:
        shapes.append(got[1].shape)
    assert shapes == [(40, 60, 3)] * 4


# ---------------------------------------------------------------------- interpolate


@pytest.mark.parametrize("order", [False, True])
def test_interpolate_carries_the_times_of_the_cameras(run, pipeline, tmp_path, order):
    """Nerfstudio 1.1.5 alone drops them. Each link between two views goes from the t of one to that of the other."""
    told = typed(
        *("ns-render", "interpolate", "--load-config", run.config, "--output-path", tmp_path / "frames"),
        *("--output-format", "images", "--image-format", "png", "--interpolation-steps", 2, "--pose-source", "train"),
        *("--order-poses", order),
    )
    assert told.code == 0, told.text
    assert "carry no time" not in told.text
    assert len(files(tmp_path / "frames")) == 2 * (2 * FRAMES - 1)
    cameras = pipeline.datamanager.train_dataset.cameras
    # Both orders start with the frames of one camera, the first view at t = 0 and the fourth at t = 1.
    for index, view in ((0, 0), (1, 1), (5, 3)):
        np.testing.assert_allclose(
            read(tmp_path / "frames" / f"{index:05d}.png"), rendered(pipeline, cameras[view : view + 1]), atol=STEP
        )


def test_times_interpolate_linearly(pipeline):
    from nerfstudio.cameras.camera_paths import get_interpolated_camera_path

    from fourdgs_ns.plugin.compat import carrying_times

    cameras = pipeline.datamanager.train_dataset.cameras[torch.tensor([0, 3])]
    path = carrying_times(get_interpolated_camera_path)(cameras, 5, False)
    torch.testing.assert_close(path.times, torch.linspace(0, 1, 5)[:, None])
    stock = get_interpolated_camera_path(cameras, 5, False)
    assert stock.times is None
    for name in ("camera_to_worlds", "fx", "fy", "cx", "cy"):
        torch.testing.assert_close(getattr(path, name), getattr(stock, name))


# ---------------------------------------------------------------------- spiral


def test_spiral_runs_through_the_clip(run, pipeline, tmp_path):
    told = typed(
        *("ns-render", "spiral", "--load-config", run.config, "--output-path", tmp_path / "frames"),
        *("--output-format", "images", "--image-format", "png", "--seconds", 0.25, "--frame-rate", 12),
    )
    assert told.code == 0, told.text
    assert "carry no time" not in told.text
    from nerfstudio.cameras.camera_paths import get_spiral_path

    from fourdgs_ns.plugin.compat import upright

    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    path, stock = upright(get_spiral_path)(camera, steps=3, radius=0.1), get_spiral_path(camera, steps=3, radius=0.1)
    # Nerfstudio's own places and directions, but not its roll.
    torch.testing.assert_close(path.camera_to_worlds[..., 2:], stock.camera_to_worlds[..., 2:])
    turned = path.camera_to_worlds[:, :, :3]
    torch.testing.assert_close(turned @ turned.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)
    assert torch.linalg.det(turned).min() > 0
    assert (path.camera_to_worlds[:, :, 1] @ camera.camera_to_worlds[0, :, 1]).min() > 0.95
    assert path.times[:, 0].tolist() == [0.0, 0.5, 1.0]
    for i in range(3):
        np.testing.assert_allclose(
            read(tmp_path / "frames" / f"{i:05d}.png"), rendered(pipeline, path[i : i + 1]), atol=STEP
        )
