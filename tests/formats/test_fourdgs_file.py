"""4dgs: exact for straight paths up to the format's own bounds, pieces within the stated error for curved ones."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import fourdgs_file
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.to_moving import moving_gaussians
from fourdgs_ns.representation.parts.spherical_harmonics import sh_from_rgb
from fourdgs_ns.representation.types import GaussiansAtTime
from tests.formats import scenes


def test_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fourdgs", None)
    with pytest.raises(UserError, match="pip install fourdgs"):
        fourdgs_file.write(tmp_path / "a.4dgs", scenes.freetime(), ExportOptions())


def test_pieces_stay_within_the_stated_error():
    moving = moving_gaussians(scenes.spacetime(), "test", False, [])
    pieces, start, stop, worst = fourdgs_file.straight_pieces(moving)
    assert len(pieces) > len(moving)
    for t in scenes.random_times(6):
        here = torch.nonzero((start <= t) & (t < stop)).squeeze(1)
        part, originals = pieces.select(here), moving.select(torch.searchsorted(moving.ids, pieces.ids[here]))
        times = torch.full((len(here),), t)
        found, expected = fourdgs_file._at(part, times), fourdgs_file._at(originals, times)
        seen = originals.visible(t, t)
        assert seen.sum() > 30
        distance = (found[0] - expected[0]).norm(dim=1)[seen]
        finest = start.new_tensor(2.0**-fourdgs_file.MAX_LEVEL) * 1.01
        allowed = fourdgs_file.PATH_ERROR * originals.log_scales.min(1).values.exp()[seen]
        cut_enough = (stop - start)[here][seen] > finest
        assert (distance <= allowed + 1e-5)[cut_enough].all() and float(distance.max()) <= worst + 1e-5
        angle = 2 * torch.acos((found[1] * expected[1]).sum(1).abs().clamp_max(1.0))[seen]
        assert (angle <= fourdgs_file.ANGLE_ERROR + 2e-3)[cut_enough].all()
        # No row twice, and none that is visible missing.
        assert len(part.ids.unique()) == len(part.ids)
        assert set(moving.ids[moving.visible(t, t)].tolist()) <= set(part.ids.tolist())


fourdgs = pytest.importorskip("fourdgs", reason="the optional package fourdgs is not installed")


def rendered_from_the_file(scene, t, cameras):
    """State as the package defines it, rendered by our rasterizer."""
    g, state = scene.gaussians, scene.state_at(t * scene.duration_sec)
    ids = state["indices"]
    colors = torch.from_numpy(g.colors[ids, :3]).float()
    features = colors
    if g.sh is not None:
        rest = torch.from_numpy(fourdgs.quantization.sh_coefficient(g.sh[ids])).float().reshape(len(ids), 3, -1)
        features = torch.cat([sh_from_rgb(colors)[:, None], rest.transpose(1, 2)], dim=1)
    means = torch.from_numpy(state["centers"]).float()
    return scenes.image_of(
        GaussiansAtTime(
            torch.arange(len(ids)), means, torch.from_numpy(state["orientations"][:, [3, 0, 1, 2]]).float(),
            torch.from_numpy(g.scales[ids]).float(), torch.from_numpy(state["opacity"]).float(), features.contiguous(),
            torch.zeros_like(means), torch.ones(len(ids)),
        ),
        cameras,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "bar"), [("freetime", 45), ("freetime-sh", 38), ("lite", 34)])
def test_round_trip_against_the_renderer(name, bar, tmp_path):
    scene = {
        "freetime": lambda: scenes.freetime(sh_degree=0),
        "freetime-sh": scenes.freetime,
        "lite": scenes.spacetime,
    }[name]()
    scene.parameters["features_dc"].clamp_(-1.7 if name != "lite" else 0.0, 1.7)  # base colours in [0, 1]
    notes = fourdgs_file.write(tmp_path / "a.4dgs", scene, ExportOptions())
    assert not any("clamps" in note for note in notes)
    back = fourdgs_file.read(tmp_path / "a.4dgs")
    cameras = scenes.capture_camera(scenes.scene_camera(), scene.world_from_capture)
    for t in [0.0, 1.0, *scenes.random_times()]:
        expected = scenes.truth(scene, t, scenes.scene_camera())
        score = scenes.psnr(rendered_from_the_file(back, t, cameras), expected)
        assert score > bar, (t, score)


def test_other_windows_are_refused_and_damage_is_named(tmp_path):
    with pytest.raises(UserError, match="windows"):
        fourdgs_file.write(tmp_path / "a.4dgs", scenes.freetime("gated"), ExportOptions())
    fourdgs_file.write(tmp_path / "a.4dgs", scenes.freetime("gated"), ExportOptions(approximate=True))
    data = (tmp_path / "a.4dgs").read_bytes()
    for content in (b"", b"nonsense", data[: len(data) // 2]):
        (tmp_path / "b.4dgs").write_bytes(content)
        with pytest.raises(UserError, match=r"no readable \.4dgs"):
            fourdgs_file.read(tmp_path / "b.4dgs")
