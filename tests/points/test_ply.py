from __future__ import annotations

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.points.ply import read_points_ply, write_points_ply
from fourdgs_ns.representation.parts.spherical_harmonics import SH_C0

HEADER = "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n{}end_header\n"


def write_vertices(path, fields, rows, text=True):
    vertex = np.array([tuple(r) for r in rows], dtype=fields)
    PlyData([PlyElement.describe(vertex, "vertex")], text=text).write(str(path))


XYZ = [("x", "f4"), ("y", "f4"), ("z", "f4")]


@pytest.mark.parametrize("timed", [True, False])
def test_round_trip_is_exact(tmp_path, timed):
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(100, 3)).astype(np.float32)
    colors = rng.integers(0, 256, (100, 3)).astype(np.uint8)
    times = rng.random(100).astype(np.float32) if timed else None
    write_points_ply(tmp_path / "a.ply", positions, colors, times)
    got = read_points_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(got.positions, positions)
    np.testing.assert_array_equal(got.colors, colors)
    if timed:
        np.testing.assert_array_equal(got.times, times)
    else:
        assert got.times is None
    assert got.velocities is None and got.static is None
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_velocities_and_rest_survive_and_broken_velocities_are_left_out(tmp_path):
    velocities = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0], [0.0, 0.0, 0.0]])
    static = np.array([False, False, True])
    path = tmp_path / "a.ply"
    write_points_ply(path, np.eye(3), np.zeros((3, 3), np.uint8), np.array([0.0, 0.5, 1.0]), velocities, static)
    notes: list[str] = []
    got = read_points_ply(path, notes)
    assert got.velocities.tolist() == [[1, 2, 3], [0, 0, 0]] and got.static.tolist() == [False, True]
    assert got.times.tolist() == [0, 1] and "1 of 3 points" in notes[0]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize(
    ("names", "kind", "row", "expected"),
    [
        (("red", "green", "blue"), "u1", (1, 2, 255), (1, 2, 255)),
        (("r", "g", "b"), "f4", (0.0, 0.5, 1.0), (0, 128, 255)),
        (("r", "g", "b"), "f4", (0.0, 64.0, 300.0), (0, 64, 255)),
        (("red", "green", "blue"), "u2", (0, 257, 65535), (0, 1, 255)),
        (("f_dc_0", "f_dc_1", "f_dc_2"), "f4", (0.0, 0.5 / SH_C0, -9.0), (128, 255, 0)),
    ],
)
def test_colours_of_other_programs(tmp_path, text, names, kind, row, expected):
    fields = [*XYZ, *((n, kind) for n in names), ("t", "f8")]
    write_vertices(tmp_path / "a.ply", fields, [(1, 2, 3, *row, 0.25)], text)
    got = read_points_ply(tmp_path / "a.ply")
    assert got.positions.tolist() == [[1, 2, 3]] and tuple(got.colors[0]) == expected and got.times.tolist() == [0.25]


def test_points_that_are_not_finite_are_left_out_and_said(tmp_path):
    rows = [(0, 0, 0, 0.0), (np.nan, 0, 0, 0.0), (1, np.inf, 0, 0.5), (2, 0, 0, np.nan), (3, 0, 0, 1.0)]
    write_vertices(tmp_path / "a.ply", [*XYZ, ("time", "f4")], rows, text=False)
    notes: list[str] = []
    got = read_points_ply(tmp_path / "a.ply", notes)
    assert got.positions[:, 0].tolist() == [0, 3] and got.times.tolist() == [0, 1] and (got.colors == 128).all()
    assert any("3 of 5 points" in note for note in notes) and any("grey" in note for note in notes)


def test_bad_files_are_named_with_a_way_out(tmp_path):
    path = tmp_path / "cloud.ply"

    def message(content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            read_points_ply(path)
        assert str(path) in str(error.value)
        return str(error.value)

    binary = "binary_little_endian"
    assert "no PLY" in message(b"")
    assert "no PLY" in message(b"\x89PNG\r\n")
    assert "no PLY" in message(b"plywood\n")
    assert "truncated" in message(b"ply\nformat ascii 1.0\nelement vertex 3\n")
    assert "no points" in message(HEADER.format("ascii", 0, "").encode())
    assert "announces 99999999999" in message(HEADER.format(binary, 99999999999, "").encode())
    assert "announces 9999999999" in message(HEADER.format("ascii", "9" * 6000, "").encode())
    assert "counts nothing" in message(HEADER.format("ascii", "-3", "").encode())
    assert "cannot be read" in message(HEADER.format(binary, 20, "").encode() + bytes(30))
    assert "cannot be read" in message(HEADER.format("ascii", 2, "").encode() + b"1 2 3\n")
    assert "cannot be read" in message(HEADER.format("ascii", 1, "").encode() + b"1 2 apple\n")
    assert "cannot be read" in message(HEADER.format("sideways", 1, "").encode() + b"1 2 3\n")
    assert "without z" in message(HEADER.format("ascii", 1, "").replace("property float z\n", "").encode() + b"1 2\n")
    assert "no element 'vertex'" in message(
        HEADER.format("ascii", 1, "").replace("vertex", "face").encode() + b"1 2 3\n"
    )
    assert "none of them" in message(HEADER.format("ascii", 1, "").encode() + b"nan 2 3\n")
    assert "times from 0 to 59" in message(
        HEADER.format("ascii", 2, "property float time\n").encode() + b"1 2 3 0\n1 2 3 59\n"
    )
    assert "lists" in message(HEADER.format("ascii", 1, "property list uchar int q\n").encode() + b"1 2 3 2 5 6\n")
    path.unlink()
    with pytest.raises(UserError, match="does not exist"):
        read_points_ply(path)


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.ply"
    write_points_ply(path, np.zeros((1, 3)), np.zeros((1, 3), np.uint8), None)
    before = path.read_bytes()

    def full(self, stream):
        raise OSError("no space")

    monkeypatch.setattr(PlyData, "write", full)
    with pytest.raises(UserError, match="cannot be written"):
        write_points_ply(path, np.ones((5, 3)), np.zeros((5, 3), np.uint8), None)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
