"""Options of an export that a format has no use for are told, not swallowed."""

from __future__ import annotations

import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.registry import FORMATS, check_options, load_scene, writable, write_scene
from tests.formats import scenes


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("ply", ExportOptions(compressed=True), "--compressed changes nothing in ply; .* html or 4dgs or npz"),
        ("html", ExportOptions(time=0.5), "--time changes nothing in html; leave it away, or choose ply"),
        ("ply", ExportOptions(frames=(0, 2, None)), "--frames changes nothing in ply; .* ply-sequence"),
        ("npz", ExportOptions(sh_degree=0), "--sh-degree changes nothing in npz"),
        ("obj", ExportOptions(), "'obj' is unknown; choose one of ply, "),
    ],
)
def test_what_changes_nothing_is_refused(name, options, told, tmp_path):
    with pytest.raises(UserError, match=told):
        write_scene(tmp_path / "a", scenes.freetime(), name, options)
    assert not list(tmp_path.iterdir())


def test_what_changes_the_file_is_accepted():
    values = {"time": 0.5, "frames": (0, 2, None), "sh_degree": 1, "compressed": True}
    for name in writable():
        options = {option: values[option] for option in FORMATS[name].uses}
        check_options(scenes.freetime(), name, ExportOptions(**options))


@pytest.mark.parametrize("name", ["splatv", "spacetime-ply"])
def test_degree_0_asked_for_is_no_loss(name, tmp_path):
    scene = scenes.freetime(sh_degree=2)
    with pytest.raises(UserError, match="SH degree 2"):
        write_scene(tmp_path / "a", scene, name, ExportOptions())
    assert write_scene(tmp_path / "a", scene, name, ExportOptions(sh_degree=0))


def test_a_file_is_no_run(tmp_path):
    file = tmp_path / "a.splatv"
    write_scene(file, scenes.spacetime(), "splatv", ExportOptions())
    with pytest.raises(UserError, match="fourdgs-ns convert"):
        load_scene(file)
