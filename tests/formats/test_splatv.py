"""splatv: byte by byte as specified, round trip against the renderer, refusals, real-world quirks, hostile files."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import splatv
from fourdgs_ns.formats.export_options import ExportOptions
from tests.formats import scenes


def parts(path):
    data = path.read_bytes()
    magic, length = struct.unpack("<II", data[:8])
    return magic, json.loads(data[8 : 8 + length]), data[8 + length :]


def test_bytes_are_those_of_the_specification(tmp_path):
    """Every word of every row, packed again value by value with struct."""
    scene = scenes.spacetime(framed=False, n=40)
    for name in ("opacities", "log_durations"):
        scene.parameters[name] += 1.0  # all of them visible
    splatv.write(tmp_path / "a.splatv", scene, ExportOptions())
    magic, header, payload = parts(tmp_path / "a.splatv")
    assert magic == 0x674B and isinstance(header, list) and len(header) == 1
    assert {k: header[0][k] for k in ("type", "size", "texwidth", "texheight")} == {
        "type": "splat", "size": 65536, "texwidth": 4096, "texheight": 1,
    }  # fmt: skip
    assert len(payload) == 65536 and not any(payload[40 * 64 :])
    p = {k: v.numpy().astype(np.float64) for k, v in scene.parameters.items()}
    sigma = 1 / (1 + np.exp(-p["opacities"][:, 0]))
    order = np.argsort(-np.exp(p["scales"].sum(1)) * sigma, kind="stable")
    for place, i in enumerate(order):
        row = payload[64 * place : 64 * place + 64]
        scale = np.exp(p["scales"][i])
        halves = [*p["quats"][i], *scale, 0.0]
        later = [*p["motion"][i], 0.0, *p["omegas"][i], p["temporal_centers"][i, 0], np.exp(p["log_durations"][i, 0])]
        expected = (
            struct.pack("<3f", *p["means"][i]),
            np.array(halves, "<f2").tobytes(),
            bytes(np.rint(255 * np.clip([*p["features_dc"][i], sigma[i]], 0, 1)).astype(np.uint8)),
            np.array(later, "<f2").tobytes(),
        )
        # float32 before the rounding to half: the last bit may differ in exp and sigmoid.
        found = row[:12], row[12:28], row[28:32], row[32:]
        assert found[0] == expected[0]
        for a, b in ((found[1], expected[1]), (found[3], expected[3])):
            assert np.abs(np.frombuffer(a, "<i2").astype(int) - np.frombuffer(b, "<i2")).max() <= 1
        assert np.abs(np.frombuffer(found[2], "u1").astype(int) - np.frombuffer(expected[2], "u1")).max() <= 1
        assert row[26:28] == b"\0\0" and row[50:52] == b"\0\0"


def test_cameras_are_those_of_3dgs(tmp_path):
    splatv.write(tmp_path / "a.splatv", scenes.spacetime(), ExportOptions())
    camera = parts(tmp_path / "a.splatv")[1][0]["cameras"][0]
    rotation, position = np.array(camera["rotation"]), np.array(camera["position"])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    back = splatv.read(tmp_path / "a.splatv")
    middle = np.median(back.parameters["means"].numpy(), axis=0)
    seen = rotation.T @ (middle - position)
    np.testing.assert_allclose(back.camera_centers[0], position, rtol=1e-5)
    assert seen[2] > 0 and np.abs(seen[:2] / seen[2]).max() < 0.5  # in front of the camera, near its axis


@pytest.mark.parametrize("name", ["lite", "freetime"])
def test_round_trip_against_the_renderer(name, tmp_path):
    scene = scenes.spacetime() if name == "lite" else scenes.freetime(sh_degree=0)
    if name == "freetime":
        scene.parameters["features_dc"].clamp_(-1.5, 1.5)  # colours in [0, 1]
    splatv.write(tmp_path / "a.splatv", scene, ExportOptions())
    back = splatv.read(tmp_path / "a.splatv")
    assert back.clip == scene.clip
    cameras = scenes.scene_camera()
    for t in scenes.random_times():
        rendered = scenes.truth(back, t, scenes.capture_camera(cameras, scene.world_from_capture))
        assert scenes.psnr(rendered, scenes.truth(scene, t, cameras)) > 45  # 8-bit colours and opacities


def test_refusals_name_the_reason(tmp_path):
    for scene, reason in [
        (scenes.spacetime("full"), "decoder"),
        (scenes.freetime("gated", 0), "windows"),
        (scenes.freetime(sh_degree=1), "direction"),
    ]:
        with pytest.raises(UserError, match=reason):
            splatv.write(tmp_path / "a.splatv", scene, ExportOptions())
    notes = splatv.write(tmp_path / "a.splatv", scenes.freetime(sh_degree=1), ExportOptions(approximate=True))
    assert any("outside [0, 1]" in note for note in notes) and any("approximate" in note for note in notes)


def rebuild(header, payload) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<II", 0x674B, len(text)) + text + payload


def test_quirks_of_real_files(tmp_path):
    """Padding missing, no count, zero quaternions, s overflowed to infinity: all seen in published files."""
    scene = scenes.spacetime(n=60, framed=False)
    scene.parameters["opacities"] += 2.0
    splatv.write(tmp_path / "a.splatv", scene, ExportOptions())
    _, header, payload = parts(tmp_path / "a.splatv")
    count = header[0]["count"]
    rows = bytearray(payload[: count * 64])
    rows[12:20] = bytes(8)
    rows[62:64] = np.array([np.inf], "<f2").tobytes()
    bare = [{k: header[0][k] for k in ("type", "size", "texwidth", "texheight", "cameras")}]
    (tmp_path / "b.splatv").write_bytes(rebuild(bare, bytes(rows)))
    back = splatv.read(tmp_path / "b.splatv")
    assert back.num_gaussians == count
    torch.testing.assert_close(back.parameters["quats"][0], torch.tensor([1.0, 0, 0, 0]))
    assert back.parameters["log_durations"].isfinite().all()
    assert any("50 frames" in note for note in back.notes)


def test_chunks_of_other_types_are_skipped(tmp_path):
    splatv.write(tmp_path / "a.splatv", scenes.spacetime(), ExportOptions())
    _, header, payload = parts(tmp_path / "a.splatv")
    extra = [{"type": "note", "size": 5}, *header]
    (tmp_path / "b.splatv").write_bytes(rebuild(extra, b"hello" + payload))
    a, b = splatv.read(tmp_path / "a.splatv"), splatv.read(tmp_path / "b.splatv")
    torch.testing.assert_close(a.parameters["means"], b.parameters["means"])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no .splatv"),
        (b"ply\n" * 10, "no .splatv"),
        (struct.pack("<II", 0x674B, 0xFFFFFFFF) + b"[]", "announces 4294967295"),
        (struct.pack("<II", 0x674B, 2) + b"{}", "no chunk"),
        (struct.pack("<II", 0x674B, 2) + b"[1", "damaged header"),
        (rebuild([{"type": "splat", "size": 1 << 40}], b"1234"), "truncated"),
        (rebuild([{"type": "splat", "size": -5}], b"1234"), "damaged header"),
        (rebuild([{"type": "splat", "size": "big"}], b"1234"), "damaged header"),
        (rebuild([{"type": "other", "size": 1 << 62}, {"type": "splat", "size": 64}], b"1234"), "holds no Gaussians"),
        (rebuild([{"type": "splat", "size": 64, "frames": "many"}], bytes(64)), "damaged"),
        (struct.pack("<II", 0x674B, 100000) + b"[" * 100000, "damaged header"),
    ],
)
def test_hostile_files(tmp_path, content, match):
    (tmp_path / "bad.splatv").write_bytes(content)
    with pytest.raises(UserError, match=match):
        splatv.read(tmp_path / "bad.splatv")
