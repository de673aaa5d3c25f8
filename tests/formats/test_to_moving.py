"""The view that exporters share is exactly what each method renders."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.to_moving import moving_gaussians, plain_windows, refuse_unless
from tests.formats import scenes

MODELS = {
    "spacetime": scenes.spacetime,
    "freetime": scenes.freetime,
    "gated": lambda: scenes.freetime("gated"),
    "flat-top": lambda: scenes.freetime("flat-top", 1),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("world", ["scene", "capture"])
def test_renders_as_the_method(name, world):
    scene = MODELS[name]()
    moving = moving_gaussians(scene, "test", False, [])
    cameras = scenes.scene_camera()
    seen = cameras
    if world == "capture":
        moving, seen = (
            moving.in_capture(scene.world_from_capture),
            scenes.capture_camera(cameras, scene.world_from_capture),
        )
    for t in [0.0, 1.0, *scenes.random_times()]:
        expected = scenes.truth(scene, t, cameras)
        assert expected.max() > 0.2
        # The worst pixel may lose a Gaussian that lies at the threshold of 1/255.
        torch.testing.assert_close(scenes.image_of(moving.at(t), seen), expected, atol=6e-3, rtol=0)
        assert scenes.psnr(scenes.image_of(moving.at(t), seen), expected) > 65


@pytest.mark.parametrize("world", ["scene", "capture"])
def test_4d_gaussians_render_as_the_method(world):
    scene = scenes.fourd()
    moving = moving_gaussians(scene, "test", False, [])
    cameras = seen = scenes.scene_camera()
    if world == "capture":
        moving, seen = (
            moving.in_capture(scene.world_from_capture),
            scenes.capture_camera(cameras, scene.world_from_capture),
        )
    for t in [0.0, 1.0, *scenes.random_times()]:
        assert scenes.psnr(scenes.image_of(moving.at(t), seen), scenes.truth(scene, t, cameras)) > 60


def test_colours_that_vary_over_time_are_refused_unless_agreed_to():
    with pytest.raises(UserError, match=r"vary over time.*--approximate"):
        moving_gaussians(scenes.fourd(2), "test", False, [])
    assert len(moving_gaussians(scenes.fourd(2), "test", True, [])) > 100


@pytest.mark.parametrize("name", MODELS)
def test_slices_agree_row_by_row(name):
    scene = MODELS[name]()
    moving = moving_gaussians(scene, "test", False, [])
    for t in scenes.random_times():
        mine, ids = moving.at(t), scene.representation.active(scene.parameters, t)
        theirs = scene.representation.at(scene.parameters, t, ids)
        torch.testing.assert_close(moving.ids[mine.ids], ids)
        for field in ("means", "scales", "opacities", "velocities", "weights", "features"):
            torch.testing.assert_close(getattr(mine, field), getattr(theirs, field), atol=2e-5, rtol=1e-4, msg=field)
        # A quaternion that passes through zero while it turns has no direction to compare.
        alike = (mine.quats * theirs.quats).sum(1).abs()
        assert (alike > 1 - 1e-5).float().mean() > 0.98


def test_stretching_time_moves_every_instant():
    moving = moving_gaussians(scenes.freetime("flat-top", 0), "test", False, [])
    slow = moving.stretched(0.8)
    for t in scenes.random_times():
        a, b = moving.at(t), slow.at(0.8 * t)
        torch.testing.assert_close(a.means, b.means, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.opacities, b.opacities, atol=1e-5, rtol=1e-5)


def test_rows_that_are_never_visible_are_left_out():
    scene = scenes.spacetime()
    scene.parameters["opacities"][:10] = -20
    scene.parameters["temporal_centers"][10:20] = 50.0
    notes: list[str] = []
    moving = moving_gaussians(scene, "test", False, notes)
    assert not set(range(20)) & set(moving.ids.tolist())
    assert any("never visible" in note for note in notes)
    scene.parameters["opacities"][:] = -20
    with pytest.raises(UserError, match="none of the 150 Gaussians is visible"):
        moving_gaussians(scene, "test", False, [])


def test_a_decoder_is_refused_unless_agreed_to():
    with pytest.raises(UserError, match=r"decoder.*--approximate"):
        moving_gaussians(scenes.spacetime("full"), "test", False, [])
    notes: list[str] = []
    moving = moving_gaussians(scenes.spacetime("full"), "test", True, notes)
    assert moving.colors.shape[1:] == (3,)
    assert moving.colors.min() >= 0 and moving.colors.max() <= 1
    assert any("approximate" in note for note in notes)


@pytest.mark.parametrize("window", ["gated", "flat-top"])
def test_other_windows_keep_their_area(window):
    moving = moving_gaussians(scenes.freetime(window, 0), "test", False, [])
    losses: list = []
    plain = plain_windows(moving, losses)
    assert plain.has_plain_window()
    with pytest.raises(UserError, match="window"):
        refuse_unless(False, losses, "test", [])
    if window == "flat-top":
        t = torch.linspace(-20, 20, 8001)[:, None]

        def area(m):
            beyond = ((t - m.centers).abs() - m.plateaus).clamp_min(0) / m.log_durations.exp()
            return torch.exp(-(beyond**2)).sum(0)

        torch.testing.assert_close(area(plain), area(moving), rtol=1e-3, atol=0)
