"""Files of 3D Gaussians that are not read: named by what they hold or by their names, with what makes a PLY of them."""

from __future__ import annotations

import gzip
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import npz
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.gaussian_ply import read
from fourdgs_ns.formats.identify import describe
from fourdgs_ns.formats.other_splats import named_like, not_written
from tests.cli.run import assert_one_line_error, fourdgs

from . import scenes


def spz(path: Path) -> None:
    path.write_bytes(gzip.compress(b"NGSP" + bytes(60)))


def spz4(path: Path) -> None:
    path.write_bytes(b"NGSP" + bytes(60))


def sog(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", "{}")
        archive.writestr("means_l.webp", b"")


def compressed_ply(path: Path) -> None:
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 1", "property float min_x", "element vertex 2"]
    lines += [f"property uint packed_{name}" for name in ("position", "rotation", "scale", "color")]
    path.write_bytes(("\n".join([*lines, "end_header"]) + "\n").encode() + bytes(4 + 32))


def numbers(path: Path) -> None:
    path.write_bytes(np.ones(16, "<f4").tobytes())


MADE = {
    "a b.spz": (spz, ".spz"), "new.spz": (spz4, ".spz"), "a.sog": (sog, ".sog"), "a.splat": (numbers, ".splat"),
    "a.ksplat": (numbers, ".ksplat"), "a.compressed.ply": (compressed_ply, ".compressed.ply"),
    "plain.ply": (compressed_ply, ".compressed.ply"), "noname": (sog, ".sog"), "A.SPLAT": (numbers, ".splat"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MADE))
def test_info_and_convert_name_it_and_what_converts_it(name, tmp_path):
    path = tmp_path / name
    write, suffix = MADE[name]
    write(path)
    lines = describe(path)
    assert f"a {suffix} file" in lines["what"] and "does not read" in lines["what"]
    npx, tool, source, target = shlex.split(lines["to read it"])
    assert (npx, tool, source) == ("npx", "@playcanvas/splat-transform", str(path))
    assert target.endswith(".ply") and not target.endswith(".compressed.ply") and target != source
    told = fourdgs("convert", path, tmp_path / "out.npz")
    assert_one_line_error(told, name, f"a {suffix} file", "does not read", lines["to read it"])
    assert not (tmp_path / "out.npz").exists()


def test_what_is_read_is_not_taken_for_it(tmp_path):
    npz.write(tmp_path / "scene", scenes.freetime(n=5, sh_degree=0), ExportOptions())
    assert "npz" in describe(tmp_path / "scene")["what"]
    compressed_ply(tmp_path / "b.ply")
    with pytest.raises(UserError, match="splat-transform"):
        read(tmp_path / "b.ply")


@pytest.mark.parametrize("name", ["out.spz", "out.sog", "out.splat", "out.ksplat", "out.compressed.ply"])
def test_they_are_not_written(name, tmp_path):
    npz.write(tmp_path / "scene.npz", scenes.freetime(n=5, sh_degree=0), ExportOptions())
    told = fourdgs("convert", tmp_path / "scene.npz", tmp_path / name)
    assert_one_line_error(told, name, "does not write", "--to ply")
    known = named_like(tmp_path / name)
    assert ("splat-transform" in str(not_written(tmp_path / name, known))) == (
        name in ("out.sog", "out.compressed.ply")
    )


def test_a_file_of_no_known_kind(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\x1b[31mhello")
    assert_one_line_error(fourdgs("info", tmp_path / "x.bin"), "x.bin", "none of the formats", ".spz", "capture")
