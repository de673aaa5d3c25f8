"""Published checkpoints: what is read shows at every instant what the file's own formulas say."""

from __future__ import annotations

import math

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.fudan import read_fudan
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.formats.trained_scene import TrainedScene
from fourdgs_ns.geometry.rotations import rotation_matrices
from fourdgs_ns.representation.parts.rotations4d import rotation_matrices_4d
from fourdgs_ns.representation.types import Clip, GaussiansAtTime

from .fudan_writer import capture_tuple, gaussians, save, static_tuple

D_NERF = Clip(50, 1.0)
N3V = Clip(300, 299 / 30)


def at(model: TrainedScene, t: float) -> GaussiansAtTime:
    representation = model.representation
    return representation.at(model.parameters, t, torch.arange(len(model.parameters["means"])))


def expected(raw: dict[str, torch.Tensor], time: float, period: float) -> tuple[torch.Tensor, ...]:
    """Mean, covariance, opacity and harmonics at ``time`` in the file's units, by the 4 x 4 Schur complement."""
    r = {name: value.double() for name, value in raw.items()}
    rotation = rotation_matrices_4d(r["rotation"], r["rotation_r"])
    sizes = torch.exp(torch.cat([r["scaling"], r["scaling_t"]], dim=-1))
    sigma = rotation @ torch.diag_embed(sizes**2) @ rotation.transpose(1, 2)
    cross, variance = sigma[:, :3, 3], sigma[:, 3, 3:]
    dt = time - r["t"]
    waves = torch.stack([torch.cos(2 * math.pi * n * dt / period) for n in range(3)], dim=1)
    return (
        r["xyz"] + cross / variance * dt,
        sigma[:, :3, :3] - cross[:, :, None] * cross[:, None, :] / variance[:, :, None],
        (torch.sigmoid(r["opacity"]) * torch.exp(-0.5 * dt**2 / variance))[:, 0],
        (r["features"].reshape(-1, 3, 16, 3) * waves[:, :, :, None]).sum(dim=1),
    )


def assert_shows(model: TrainedScene, raw: dict[str, torch.Tensor], t: float, time: float, period: float) -> None:
    g = at(model, t)
    found = (g.means, g.covariances, g.opacities, g.features)
    for a, b in zip(found, expected(raw, time, period)):
        assert a is not None
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("convention", ["auto", "said"])
@pytest.mark.parametrize("old", [False, True])
def test_both_conventions_show_the_same_gaussians(tmp_path, old, convention):
    raw = gaussians()
    path = save(tmp_path / "chkpnt.pth", capture_tuple(raw, old=old))
    options = ImportOptions(duration=1.0)
    if convention == "said":
        options.convention = "old" if old else "new"
    model = read_fudan(path, options, D_NERF)
    assert model.method == "4dgs-4dsh" and model.clip == D_NERF
    assert convention == "said" or any(f"the {'old' if old else 'new'} order" in note for note in model.notes)
    for t in (0.0, 0.3, 1.0):
        assert_shows(model, raw, t, t, 1.0)


def test_seconds_become_shares_of_the_clip_and_keep_the_period(tmp_path):
    raw = gaussians(duration=10.0)
    model = read_fudan(save(tmp_path / "chkpnt.pth", capture_tuple(raw)), ImportOptions(), N3V)
    assert any("0 to 10" in note for note in model.notes)
    for frame in (0, 77, 299):
        assert_shows(model, raw, frame / 299, frame / 30, 10.0)
    without_capture = read_fudan(tmp_path / "chkpnt.pth", ImportOptions(duration=10.0, frames=300), None)
    assert without_capture.clip.num_frames == 300
    assert without_capture.clip.duration_seconds == pytest.approx(299 / 30)


def test_a_window_that_starts_elsewhere(tmp_path):
    raw = gaussians()
    shifted = {**raw, "t": raw["t"] - 0.5}
    path = save(tmp_path / "chkpnt.pth", capture_tuple(shifted))
    model = read_fudan(path, ImportOptions(duration=1.0, start=-0.5), D_NERF)
    assert_shows(model, raw, 0.25, 0.25, 1.0)


def test_enormous_lives_keep_their_velocities(tmp_path):
    raw = gaussians()
    raw["scaling_t"][:10] = math.log(1e4)
    model = read_fudan(save(tmp_path / "chkpnt.pth", capture_tuple(raw)), ImportOptions(duration=1.0), D_NERF)
    means, _, opacities, _ = expected(raw, 0.9, 1.0)
    g = at(model, 0.9)
    torch.testing.assert_close(g.means[:10].double(), means[:10], rtol=1e-2, atol=5e-3)
    torch.testing.assert_close(g.opacities[:10].double(), opacities[:10], rtol=1e-3, atol=1e-3)
    representation = model.representation
    assert not representation.is_static(model.parameters).any()


@pytest.mark.parametrize(
    ("channels", "degrees"), [(48, (3, 2)), (32, (3, 1)), (16, (3, 0)), (33, (3, 0)), (27, (2, 2))]
)
def test_degrees_are_told_from_the_number_of_harmonics(tmp_path, channels, degrees):
    raw = gaussians()
    raw["features"] = raw["features"][:, :channels].contiguous()
    path = save(tmp_path / "chkpnt.pth", capture_tuple(raw, active=degrees))
    config = read_fudan(path, ImportOptions(duration=1.0), D_NERF).config
    assert (config.sh_degree, config.temporal_degree) == degrees


def test_harmonics_that_training_never_reached_are_left_out(tmp_path):
    raw = gaussians()
    model = read_fudan(
        save(tmp_path / "chkpnt.pth", capture_tuple(raw, active=(1, 0))), ImportOptions(duration=1.0), D_NERF
    )
    assert "features_time" not in model.parameters
    features = at(model, 0.4).features
    torch.testing.assert_close(features[:, :4], raw["features"][:, :4])
    assert not features[:, 4:].any()


def test_without_rotation_in_time_nothing_moves_and_the_number_is_a_variance(tmp_path):
    raw = gaussians()
    path = save(tmp_path / "chkpnt.pth", capture_tuple(raw, rot_4d=False))
    g = at(read_fudan(path, ImportOptions(duration=1.0), D_NERF), 0.6)
    axes = rotation_matrices(raw["rotation"]) * torch.exp(raw["scaling"])[:, None]
    torch.testing.assert_close(g.means, raw["xyz"])
    torch.testing.assert_close(g.covariances, axes @ axes.transpose(1, 2), rtol=1e-4, atol=1e-7)
    weight = torch.exp(-0.5 * (0.6 - raw["t"]) ** 2 / torch.exp(raw["scaling_t"]))
    torch.testing.assert_close(g.opacities, (torch.sigmoid(raw["opacity"]) * weight)[:, 0])


def test_three_dimensions_become_a_scene_that_stands_still(tmp_path):
    raw = gaussians()
    raw["features"] = raw["features"][:, :16].contiguous()
    path = save(tmp_path / "chkpnt.pth", static_tuple(raw))
    with pytest.raises(UserError, match=r"without time.*--dimensions 3"):
        read_fudan(path, ImportOptions(), D_NERF)
    model = read_fudan(path, ImportOptions(dimensions=3), D_NERF)
    early, late = at(model, 0.0), at(model, 1.0)
    axes = rotation_matrices(raw["rotation"]) * torch.exp(raw["scaling"])[:, None]
    for g in (early, late):
        torch.testing.assert_close(g.means, raw["xyz"])
        torch.testing.assert_close(g.covariances, axes @ axes.transpose(1, 2), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(g.opacities, torch.sigmoid(raw["opacity"])[:, 0])


def test_broken_rows_are_left_out_and_counted(tmp_path):
    raw = gaussians()
    raw["xyz"][3, 1], raw["features"][5, 40, 2], raw["scaling_t"][8] = math.nan, math.inf, math.nan
    raw["rotation_r"][9] = 0.0
    model = read_fudan(save(tmp_path / "chkpnt.pth", capture_tuple(raw)), ImportOptions(duration=1.0), D_NERF)
    assert "4 of 200 Gaussians are not finite and were left out" in model.notes
    assert len(model.parameters["means"]) == 196
    assert all(bool(torch.isfinite(value).all()) for value in model.parameters.values())


def test_an_environment_map_is_mentioned(tmp_path):
    values = capture_tuple(gaussians())
    values[17] = torch.zeros(3, 8, 8)
    model = read_fudan(save(tmp_path / "chkpnt.pth", values), ImportOptions(duration=1.0), D_NERF)
    assert any("environment map" in note for note in model.notes)


@pytest.mark.parametrize("empty", [None, torch.empty(0), torch.zeros(3, 0, 0)])
def test_an_empty_environment_map_is_none(tmp_path, empty):
    """The published program saves an empty tensor where it learned none."""
    values = capture_tuple(gaussians())
    values[17] = empty
    model = read_fudan(save(tmp_path / "chkpnt.pth", values), ImportOptions(duration=1.0), D_NERF)
    assert not any("environment map" in note for note in model.notes)
