"""SpacetimeGaussian PLY: layout, time convention, round trips of both variants, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plyfile import PlyData

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import gaussian_ply, spacetime_ply
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.rasterization import rasterize
from tests.formats import scenes

LITE = [
    *("x", "y", "z", "trbf_center", "trbf_scale", "nx", "ny", "nz"), *(f"motion_{i}" for i in range(9)),
    *("f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    *("omega_0", "omega_1", "omega_2", "omega_3"),
]  # fmt: skip


def test_lite_is_32_floats_that_evaluate_by_the_published_formulas(tmp_path):
    """Independent of our reader: the columns, put into the published equations at the published time stamps."""
    scene = scenes.spacetime(framed=False)
    spacetime_ply.write(tmp_path / "a.ply", scene, ExportOptions())
    vertex = PlyData.read(tmp_path / "a.ply")["vertex"]
    assert [p.name for p in vertex.properties] == LITE
    assert all(p.val_dtype == "f4" for p in vertex.properties)
    lines = (tmp_path / "a.ply").read_bytes().split(b"\n")
    assert lines[2].startswith(b"element vertex ")  # viewers that read by position look there
    for frame in (0, 5, 11):
        dt = frame / 12 - vertex["trbf_center"]
        alpha = 1 / (1 + np.exp(-vertex["opacity"])) * np.exp(-((dt / np.exp(vertex["trbf_scale"])) ** 2))
        x = vertex["x"] + vertex["motion_0"] * dt + vertex["motion_3"] * dt**2 + vertex["motion_6"] * dt**3
        live = alpha > 1.01 / 255
        ids = scene.representation.active(scene.parameters, frame / 11)
        part = scene.representation.at(scene.parameters, frame / 11, ids)
        keep = part.opacities > 1.01 / 255
        np.testing.assert_allclose(x[live], part.means[keep, 0], atol=1e-4)
        np.testing.assert_allclose(alpha[live], part.opacities[keep], atol=1e-5)
        np.testing.assert_allclose(vertex["f_dc_1"][live], part.features[keep, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["lite", "freetime"])
def test_round_trip_in_the_world_of_the_capture(name, tmp_path):
    scene = scenes.spacetime() if name == "lite" else scenes.freetime(sh_degree=0)
    spacetime_ply.write(tmp_path / "a.ply", scene, ExportOptions())
    back = spacetime_ply.read(tmp_path / "a.ply")
    assert back.method == "spacetime-gaussian" and back.clip == scene.clip and back.world_from_capture is None
    cameras = scenes.scene_camera()
    for t in scenes.random_times():
        rendered = scenes.truth(back, t, scenes.capture_camera(cameras, scene.world_from_capture))
        assert scenes.psnr(rendered, scenes.truth(scene, t, cameras)) > 60


def decoded(scene, t, cameras):
    representation = scene.representation
    decoder = representation.make_decoder()
    decoder.load_state_dict(scene.decoder)
    gaussians = representation.at(scene.parameters, t, representation.active(scene.parameters, t))
    with torch.no_grad():
        return decoder(rasterize(gaussians, cameras).features, cameras.rays())[0]


def test_full_has_38_floats_and_its_decoder_and_comes_back(tmp_path):
    scene = scenes.spacetime("full")
    spacetime_ply.write(tmp_path / "point_cloud.ply", scene, ExportOptions())
    names = [p.name for p in PlyData.read(tmp_path / "point_cloud.ply")["vertex"].properties]
    assert len(names) == 38 and names[17:24] == [f"f_dc_{i}" for i in range(6)] + ["opacity"]
    assert names[35:] == ["f_t_0", "f_t_1", "f_t_2"]
    weights = torch.load(tmp_path / "point_cloud.pt", weights_only=True)
    assert {k: tuple(v.shape) for k, v in weights.items()} == {
        "mlp1.weight": (6, 12, 1, 1),
        "mlp2.weight": (3, 6, 1, 1),
    }
    back = spacetime_ply.read(tmp_path / "point_cloud.ply")
    np.testing.assert_allclose(back.world_from_capture.as_matrix(), scene.world_from_capture.as_matrix(), atol=1e-6)
    for t in scenes.random_times():
        a, b = decoded(back, t, scenes.scene_camera()), decoded(scene, t, scenes.scene_camera())
        assert scenes.psnr(a, b) > 60


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (lambda: scenes.freetime("gated", 0), "windows"),
        (lambda: scenes.freetime("flat-top", 0), "windows"),
        (lambda: scenes.freetime(sh_degree=2), "depend on the direction"),
    ],
)
def test_what_it_cannot_hold_is_refused_with_the_reason(scene, reason, tmp_path):
    with pytest.raises(UserError, match=f"{reason}.*--approximate"):
        spacetime_ply.write(tmp_path / "a.ply", scene(), ExportOptions())
    assert list(tmp_path.iterdir()) == []
    notes = spacetime_ply.write(tmp_path / "a.ply", scene(), ExportOptions(approximate=True))
    assert any(note.startswith("approximate") for note in notes)


def test_files_of_other_programs_are_taken_as_published(tmp_path):
    spacetime_ply.write(tmp_path / "a.ply", scenes.spacetime(framed=False), ExportOptions())
    data = (tmp_path / "a.ply").read_bytes()
    lines = [line for line in data[: data.index(b"end_header")].split(b"\n") if not line.startswith(b"comment")]
    (tmp_path / "b.ply").write_bytes(b"\n".join(lines) + data[data.index(b"end_header") :])
    plain = spacetime_ply.read(tmp_path / "b.ply")
    assert plain.clip.num_frames == 50 and plain.clip.duration_seconds == pytest.approx(49 / 30)
    assert sum("else give --f" in note for note in plain.notes) == 2
    timed = spacetime_ply.read(tmp_path / "b.ply", frames=12, fps=25)
    seen = spacetime_ply.read(tmp_path / "a.ply")
    torch.testing.assert_close(timed.parameters["motion"], seen.parameters["motion"])
    torch.testing.assert_close(
        plain.parameters["motion"][:, :3] / (49 / 50),
        seen.parameters["motion"][:, :3] / (11 / 12),
        atol=1e-5,
        rtol=1e-5,
    )
    assert timed.clip.duration_seconds == pytest.approx(11 / 25)


def test_confused_files_are_named(tmp_path):
    spacetime_ply.write(tmp_path / "full.ply", scenes.spacetime("full"), ExportOptions())
    (tmp_path / "full.pt").unlink()
    with pytest.raises(UserError, match=r"full SpacetimeGaussian model and its decoder full\.pt"):
        spacetime_ply.read(tmp_path / "full.ply")
    torch.save({"something": torch.zeros(3)}, tmp_path / "full.pt")
    with pytest.raises(UserError, match=r"mlp1\.weight"):
        spacetime_ply.read(tmp_path / "full.ply")
    gaussian_ply.write(tmp_path / "static.ply", scenes.spacetime(), ExportOptions(time=0.5))
    with pytest.raises(UserError, match="static 3DGS PLY; use --from ply"):
        spacetime_ply.read(tmp_path / "static.ply")
    with pytest.raises(UserError, match=r"SpacetimeGaussian PLY.*--from spacetime-ply"):
        gaussian_ply.read(tmp_path / "full.ply")


def test_zero_quaternions_of_guided_sampling_are_repaired(tmp_path):
    scene = scenes.spacetime(framed=False)
    scene.parameters["quats"][:5] = 0
    spacetime_ply.write(tmp_path / "a.ply", scene, ExportOptions())
    back = spacetime_ply.read(tmp_path / "a.ply")
    assert (back.parameters["quats"].norm(dim=1) > 0).all()
    assert any("zero quaternion" in note for note in back.notes)


def test_a_refused_export_leaves_no_decoder_beside_another_ply(tmp_path):
    """It would be taken for that file's own by the next one who reads it."""
    path = tmp_path / "scene.ply"
    spacetime_ply.write(path, scenes.spacetime("lite", n=5), ExportOptions())
    with pytest.raises(UserError, match="--overwrite"):
        spacetime_ply.write(path, scenes.spacetime("full", n=5), ExportOptions())
    assert [p.name for p in tmp_path.iterdir()] == ["scene.ply"]
    spacetime_ply.write(path, scenes.spacetime("full", n=5), ExportOptions(overwrite=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.ply", "scene.pt"]
