"""Headers of our own files, damaged so that the file around them is still intact: one line for the user, no traceback."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import html, npz, spacetime_ply
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.identify import describe
from fourdgs_ns.formats.run import load_checkpoint
from tests.formats import scenes

HUGE = 10**400
"""JSON allows it; a float does not."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("npz") / "scene.npz"
    npz.write(path, scenes.freetime(n=20, sh_degree=1), ExportOptions())
    return path


def rewrite(archive: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    with np.load(archive) as stored:
        arrays = {name: stored[name] for name in stored.files}
    header = json.loads(arrays["header"].tobytes())
    change(header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(out, **arrays)
    return out


@pytest.mark.parametrize(
    "keys, value",
    [
        *((("columns",), None), (("columns", "means"), 3)),
        *((("duration_seconds",), HUGE), (("num_frames",), float("inf")), (("gaussians",), float("inf"))),
        *((("version",), float("inf")), (("options", "sh_degree"), "x")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_npz_headers_with_wrong_values(archive, tmp_path, keys, value):
    def change(header: dict[str, Any]) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    path = rewrite(archive, tmp_path / "odd.npz", change)
    with pytest.raises(UserError, match=r"odd\.npz is"):
        describe(path)


@pytest.mark.parametrize("key", ["near", "world_from_capture", "camera_centers"])
def test_npz_numbers_beyond_a_float(archive, tmp_path, key):
    def change(header: dict[str, Any]) -> None:
        header[key] = (
            {**header[key], "scale": HUGE} if key == "world_from_capture" else [HUGE] * 3 if "c" in key else HUGE
        )

    with pytest.raises(UserError, match=r"odd\.npz is damaged"):
        npz.read(rewrite(archive, tmp_path / "odd.npz", change))


@pytest.mark.parametrize("member", ["header.npy", "means.npy"])
def test_npz_array_headers_that_are_no_literal(archive, tmp_path, member):
    """NumPy tokenizes such a header, and what it raises is no ValueError."""
    path = tmp_path / "odd.npz"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"}", b"(", 1) if name == member else data)
    with pytest.raises(UserError, match=r"odd\.npz is"):
        npz.read(path)


@pytest.mark.parametrize(
    "key, value",
    [("frames", None), ("seconds", HUGE), ("count", 1e999), ("harmonics", 1e999)],
    ids=lambda value: str(value)[:30],
)
def test_html_headers_with_wrong_values(tmp_path, key, value):
    path = tmp_path / "odd.html"
    html.write(path, scenes.freetime(n=20, sh_degree=0), ExportOptions())
    header, _ = html.read_header(path)
    page = path.read_text("utf8")
    path.write_text(page.replace(json.dumps(header), json.dumps({**header, key: value})), "utf8")
    assert path.read_text("utf8") != page
    with pytest.raises(UserError, match=r"odd\.html is"):
        describe(path)


def damage_everywhere(path: Path, read: Callable[[], Any]) -> None:
    """Each of the first and last bytes of a file made a line break, one at a time: read, or refused in one line."""
    good = path.read_bytes()
    for place in (*range(0, 700, 3), *range(len(good) - 400, len(good), 7)):
        path.write_bytes(good[:place] + b"\n" + good[place + 1 :])
        try:
            read()
        except UserError as error:
            assert path.name in str(error)
    path.write_bytes(good)


def test_damaged_decoders(tmp_path):
    path = tmp_path / "full.ply"
    spacetime_ply.write(path, scenes.spacetime("full", n=5), ExportOptions())
    damage_everywhere(path.with_suffix(".pt"), lambda: spacetime_ply.read(path))


def test_damaged_checkpoints(tmp_path):
    path = tmp_path / "step-000000001.ckpt"
    extra = {"method": "freetime", "variant": "", "options": {}, "world_from_capture": None}
    torch.save({"step": 1, "pipeline": {"_model._extra_state": extra, "_model.x": torch.zeros(3)}}, path)
    damage_everywhere(path, lambda: load_checkpoint(path))
