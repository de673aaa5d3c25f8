"""3DGS PLY: what the file renders is the slice, in the capture's world; sequences; static models from files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plyfile import PlyData, PlyElement

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import gaussian_ply, ply_sequence
from fourdgs_ns.formats.export_options import ExportOptions
from tests.formats import scenes

MODELS = {
    "4d": lambda: scenes.fourd(2),
    "lite": scenes.spacetime,
    "freetime": scenes.freetime,
    "flat-top": lambda: scenes.freetime("flat-top", 2),
}


def static_image(static, cameras):
    return scenes.truth(static, 0.5, cameras)


@pytest.mark.parametrize("name", MODELS)
def test_file_renders_the_slice_in_the_world_of_the_capture(name, tmp_path):
    scene = MODELS[name]()
    cameras = scenes.scene_camera()
    for t in scenes.random_times():
        path = tmp_path / f"{t}.ply"
        gaussian_ply.write(path, scene, ExportOptions(time=t))
        static = gaussian_ply.read(path)
        rendered = static_image(static, scenes.capture_camera(cameras, scene.world_from_capture))
        # Plain colours of lite outside [0, 1] do not occur here; everything else is float32.
        assert scenes.psnr(rendered, scenes.truth(scene, t, cameras)) > 60


def test_columns_are_those_of_3dgs(tmp_path):
    gaussian_ply.write(tmp_path / "a.ply", scenes.freetime(), ExportOptions(time=0.5))
    ply = PlyData.read(tmp_path / "a.ply")
    names = [p.name for p in ply["vertex"].properties]
    assert len(names) == 62
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[54:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    # All coefficients of red come first: 15 of them at degree 3.
    moving_red = ply["vertex"]["f_rest_0"], ply["vertex"]["f_rest_15"]
    assert not np.allclose(*moving_red)


def test_lower_degree_of_harmonics(tmp_path):
    scene = scenes.freetime()
    gaussian_ply.write(tmp_path / "full.ply", scene, ExportOptions(time=0.5))
    gaussian_ply.write(tmp_path / "one.ply", scene, ExportOptions(time=0.5, sh_degree=1))
    full, one = gaussian_ply.read(tmp_path / "full.ply"), gaussian_ply.read(tmp_path / "one.ply")
    torch.testing.assert_close(full.parameters["features_rest"][:, :3], one.parameters["features_rest"])


def test_sequence_is_one_slice_per_frame(tmp_path):
    scene = scenes.freetime(sh_degree=0)
    notes = ply_sequence.write(tmp_path / "seq", scene, ExportOptions(frames=(1, 10, 4)))
    assert sorted(p.name for p in (tmp_path / "seq").iterdir()) == [f"frame_{i:05d}.ply" for i in (1, 5, 9)]
    assert "3 frames" in notes[-1]
    cameras = scenes.scene_camera()
    for frame, file in ply_sequence.frames_of(tmp_path / "seq").items():
        rendered = static_image(gaussian_ply.read(file), scenes.capture_camera(cameras, scene.world_from_capture))
        assert scenes.psnr(rendered, scenes.truth(scene, frame / 11, cameras)) > 60


def test_full_is_refused_unless_agreed_to(tmp_path):
    for module, out in ((gaussian_ply, "a.ply"), (ply_sequence, "seq")):
        with pytest.raises(UserError, match=r"decoder.*--approximate"):
            module.write(tmp_path / out, scenes.spacetime("full"), ExportOptions(time=0.5))
        notes = module.write(tmp_path / out, scenes.spacetime("full"), ExportOptions(time=0.5, approximate=True))
        assert "base colours" in notes[0]


def test_nothing_visible_is_said_and_not_written(tmp_path):
    scene = scenes.spacetime()
    scene.parameters["opacities"].fill_(-20.0)
    with pytest.raises(UserError, match=r"visible at t = 0\.5"):
        gaussian_ply.write(tmp_path / "a.ply", scene, ExportOptions(time=0.5))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_an_interrupted_sequence(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ply_sequence.write(tmp_path / "seq", scenes.freetime(), ExportOptions(advance=interrupt))
    assert list(tmp_path.iterdir()) == []


def test_overwrite_is_asked_for(tmp_path):
    scene = scenes.spacetime(n=5)
    gaussian_ply.write(tmp_path / "a.ply", scene, ExportOptions(time=0.5))
    with pytest.raises(UserError, match="--overwrite"):
        gaussian_ply.write(tmp_path / "a.ply", scene, ExportOptions(time=0.5))
    gaussian_ply.write(tmp_path / "a.ply", scene, ExportOptions(time=0.5, overwrite=True))
    with pytest.raises(UserError, match="is a file"):
        ply_sequence.write(tmp_path / "a.ply", scene, ExportOptions(overwrite=True))


@pytest.mark.parametrize("time", [-0.1, 1.5, float("nan")])
def test_times_outside_the_clip(time):
    with pytest.raises(UserError, match=r"the time is .*from 0 .*to 1"):
        ExportOptions(time=time).check(scenes.spacetime(n=5))


@pytest.mark.parametrize("frames", [(0, 13, None), (20, None, None), (5, 5, None)])
def test_frames_outside_the_clip(frames):
    with pytest.raises(UserError, match="--frames"):
        ExportOptions(frames=frames).check(scenes.spacetime(n=5))


def written(tmp_path, change):
    """A PLY whose vertex table a test has changed."""
    gaussian_ply.write(tmp_path / "a.ply", scenes.freetime(sh_degree=1), ExportOptions(time=0.5))
    table = np.array(PlyData.read(tmp_path / "a.ply")["vertex"].data)
    table = change(table)
    PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(str(tmp_path / "b.ply"))
    return tmp_path / "b.ply"


def test_zero_quaternions_and_broken_rows_are_repaired_and_said(tmp_path):
    def spoil(table):
        for i in range(4):
            table[f"rot_{i}"][2] = 0
        table["x"][3] = np.nan
        table["opacity"][4] = np.inf
        return table

    path = written(tmp_path, spoil)
    whole, static = gaussian_ply.read(tmp_path / "a.ply"), gaussian_ply.read(path)
    assert static.num_gaussians == whole.num_gaussians - 1
    torch.testing.assert_close(static.parameters["quats"][2], torch.tensor([1.0, 0, 0, 0]))
    assert any("zero quaternion" in note for note in static.notes)
    assert any("1 of" in note and "not finite" in note for note in static.notes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t[:0], "holds no Gaussians"),
        (lambda t: t[[n for n in t.dtype.names if n != "rot_3"]].copy(), "no property 'rot_3'"),
        (lambda t: t[[n for n in t.dtype.names if n != "f_rest_8"]].copy(), "8 f_rest"),
    ],
)
def test_bad_tables(tmp_path, change, match):
    from numpy.lib import recfunctions

    path = written(tmp_path, lambda t: recfunctions.repack_fields(change(t)))
    with pytest.raises(UserError, match=match):
        gaussian_ply.read(path)


def test_most_rows_broken_is_divergence(tmp_path):
    def spoil(table):
        table["y"][: int(0.6 * len(table))] = np.nan
        return table

    with pytest.raises(UserError, match="diverged"):
        gaussian_ply.read(written(tmp_path, spoil))


def test_truncated_and_hostile_files(tmp_path):
    gaussian_ply.write(tmp_path / "a.ply", scenes.freetime(), ExportOptions(time=0.5))
    data = (tmp_path / "a.ply").read_bytes()
    bad = tmp_path / "bad.ply"
    for content, match in [
        (data[:-100], "is only .* bytes long"),
        (data[:200], "truncated"),
        (data.replace(b"element vertex", b"element vertex 9999"), "announces|counts nothing"),
        (b"\x00" * 100, "no PLY"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(UserError, match=match):
            gaussian_ply.read(bad)


def test_overwriting_a_sequence_takes_nothing_else_along(tmp_path):
    scene, folder = scenes.spacetime(n=5), tmp_path / "exports"
    ply_sequence.write(folder, scene, ExportOptions(frames=(0, 3, None)))
    ply_sequence.write(folder, scene, ExportOptions(frames=(0, 1, None), overwrite=True))
    assert [p.name for p in folder.iterdir()] == ["frame_00000.ply"]
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"exports holds thesis\.txt, which is no frame"):
        ply_sequence.write(folder, scene, ExportOptions(overwrite=True))
    assert (folder / "thesis.txt").read_text() == "mine"
