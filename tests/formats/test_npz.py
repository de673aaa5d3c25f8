"""The archive: exact round trips of every model, compression within its stated bounds, hostile files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import npz
from fourdgs_ns.formats.columns import decode, encode
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.to_moving import moving_gaussians
from tests.formats import scenes

MODELS = {
    "4d": scenes.fourd,
    "lite": scenes.spacetime,
    "full": lambda: scenes.spacetime("full"),
    "freetime": scenes.freetime,
    "flat-top": lambda: scenes.freetime("flat-top", 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_is_exact(name, tmp_path):
    scene = MODELS[name]()
    npz.write(tmp_path / "a.npz", scene, ExportOptions())
    back = npz.read(tmp_path / "a.npz")
    assert back.method == scene.method and back.config == scene.config and back.clip == scene.clip
    np.testing.assert_array_equal(back.world_from_capture.as_matrix(), scene.world_from_capture.as_matrix())
    assert set(back.parameters) == set(scene.parameters)
    for key, value in scene.parameters.items():
        assert torch.equal(back.parameters[key], value)
    for key, value in (scene.decoder or {}).items():
        assert torch.equal(back.decoder[key], value)


def test_numpy_alone_reads_it(tmp_path):
    scene = scenes.freetime()
    npz.write(tmp_path / "a.npz", scene, ExportOptions())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        header = json.loads(bytes(file["header"]))
        assert file["features_rest"].shape == (150, 15, 3)
        assert header["units"]["velocities"].startswith("scene units per length of the clip")
        assert header["duration_seconds"] == scene.clip.duration_seconds


@pytest.mark.parametrize("name", MODELS)
def test_compression_keeps_its_bounds_and_its_images(name, tmp_path):
    scene = MODELS[name]()
    notes = npz.write(tmp_path / "a.npz", scene, ExportOptions(compressed=True))
    header = npz.read_header(tmp_path / "a.npz")
    back = npz.read(tmp_path / "a.npz")
    for key, value in scene.parameters.items():
        bound = header["columns"][key]["error"]
        assert float((back.parameters[key] - value).abs().max()) <= bound * (1 + 1e-6)
    a, b = (moving_gaussians(s, "test", True, []) for s in (scene, back))
    for t in scenes.random_times():
        cameras = scenes.scene_camera()
        assert scenes.psnr(scenes.image_of(a.at(t), cameras), scenes.image_of(b.at(t), cameras)) > 40
    assert any("times smaller" in note and "dB" in note for note in notes)


def test_codecs_are_as_precise_as_they_say():
    rng = np.random.default_rng(0)
    values = rng.standard_cauchy((5000, 3)).astype(np.float32)
    half, logs, book = (encode(values, codec) for codec in ("f16", "log16", "book8"))
    # A half has 11 significant bits; a step of log16 is the range of the logarithm over 65535.
    assert (np.abs(decode(half) - values) <= np.abs(values) * 2**-11 + 2**-24).all()
    span = np.log1p(np.abs(values)).max() * 2 / 65535
    assert (np.abs(decode(logs) - values) <= (1 + np.abs(values)) * span).all()
    spread = values.max() - values.min()
    assert book.error <= spread / 127  # half of the entries start on a uniform grid
    assert np.abs(decode(book) - values).mean() < 0.005 * spread
    smooth = encode(rng.random((5000, 1), np.float32), "book8")
    assert smooth.error < 1 / 150
    np.testing.assert_array_equal(decode(encode(np.full((7, 2), 0.25, np.float32), "log16")), 0.25)


def rewritten(tmp_path, change):
    npz.write(tmp_path / "a.npz", scenes.spacetime(n=20), ExportOptions())
    with np.load(tmp_path / "a.npz") as file:
        arrays = dict(file)
    header = json.loads(bytes(arrays["header"]))
    change(arrays, header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "b.npz", **arrays)
    return tmp_path / "b.npz"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda a, h: h.update(format="other"), "no scene of fourdgs-ns"),
        (lambda a, h: h.update(version=99), "no scene of fourdgs-ns"),
        (lambda a, h: h.update(method="os.system"), "which nothing that is installed here brings"),
        (lambda a, h: h["options"].update(evil=1), "'evil' is unknown"),
        (lambda a, h: h.update(num_frames=-4), "a clip of -4 frames"),
        (lambda a, h: h.update(world_from_capture={"rotation": [[1]], "translation": [0], "scale": 1}), "damaged"),
        (lambda a, h: a.pop("motion"), "motion"),
        (lambda a, h: a.update(motion=a["motion"][:7]), "motion"),
        (lambda a, h: a.update(motion=a["motion"].astype("f8")), "stored as float64"),
        (lambda a, h: a["means"].fill(np.nan), "diverged"),
    ],
)
def test_damaged_archives(tmp_path, change, match):
    with pytest.raises(UserError, match=match):
        npz.read(rewritten(tmp_path, change))


def test_hostile_archives(tmp_path):
    npz.write(tmp_path / "a.npz", scenes.spacetime(n=20), ExportOptions())
    data = (tmp_path / "a.npz").read_bytes()
    bad = tmp_path / "bad.npz"
    bad.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"no readable \.npz"):
        npz.read(bad)
    # A member that unpacks to far more than the file could honestly hold, and an array that announces more than its member.
    for header, body in [
        (b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 3), }", bytes(120)),
        (None, bytes(10**8)),
    ]:
        with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as target, zipfile.ZipFile(tmp_path / "a.npz") as source:
            for name in source.namelist():
                if name != "means.npy":
                    target.writestr(name, source.read(name))
            head = b"" if header is None else b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
            target.writestr("means.npy", head + body)
        with pytest.raises(UserError, match="means announces"):
            npz.read(bad)
