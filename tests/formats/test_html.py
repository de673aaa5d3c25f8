"""The page: unpacks to what was packed, says its errors, needs no network; and plays in a browser what our renderer shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats import html
from fourdgs_ns.formats.export_options import ExportOptions
from fourdgs_ns.formats.to_moving import moving_gaussians
from tests.formats import scenes

MODELS = {
    "4d": scenes.fourd,
    "lite": scenes.spacetime,
    "freetime": scenes.freetime,
    "gated": lambda: scenes.freetime("gated", 1),
    "flat-top": lambda: scenes.freetime("flat-top", 0),
}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("compressed", [False, True])
def test_unpacks_to_what_the_renderer_shows(name, compressed, tmp_path):
    scene = MODELS[name]()
    notes = html.write(tmp_path / "a.html", scene, ExportOptions(compressed=compressed))
    header, back = html.read(tmp_path / "a.html")
    assert header["count"] == len(back) and header["seconds"] == scene.clip.duration_seconds
    original = moving_gaussians(scene, "html", False, []).in_capture(scene.world_from_capture)
    for field, column in header["columns"].items():
        if field in ("colors", "harmonics", "motion", "quats"):
            continue  # other shapes, or normalised
        difference = (getattr(back, field) - getattr(original, field).reshape(getattr(back, field).shape)).abs().max()
        assert float(difference) <= column["error"] * (1 + 1e-6)
    cameras = scenes.capture_camera(scenes.scene_camera(), scene.world_from_capture)
    for t in scenes.random_times():
        expected = scenes.truth(scene, t, scenes.scene_camera())
        assert scenes.psnr(scenes.image_of(back.at(t), cameras), expected) > (38 if compressed else 55)
    assert any("dB" in note for note in notes)


def test_page_refers_to_nothing_outside_itself(tmp_path):
    html.write(tmp_path / "a.html", scenes.freetime(), ExportOptions())
    text = (tmp_path / "a.html").read_text()
    assert not re.search(r"https?:|src=|@import|import\(|fetch\(", text)
    assert "{{" not in text


def test_lower_degree_and_compression_make_it_smaller(tmp_path):
    scene = scenes.freetime(n=3000)
    sizes = []
    for i, options in enumerate(
        [ExportOptions(), ExportOptions(compressed=True), ExportOptions(sh_degree=0, compressed=True)]
    ):
        html.write(tmp_path / f"{i}.html", scene, options)
        sizes.append((tmp_path / f"{i}.html").stat().st_size)
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


def test_full_is_refused_unless_agreed_to(tmp_path):
    with pytest.raises(UserError, match=r"decoder.*--approximate"):
        html.write(tmp_path / "a.html", scenes.spacetime("full"), ExportOptions())
    html.write(tmp_path / "a.html", scenes.spacetime("full"), ExportOptions(approximate=True))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda h: h.update(format="x"), "no page"),
        (lambda h: h.update(count=2**40), "no page"),
        (lambda h: h.update(count=10**8), "more than the page can hold"),
        (lambda h: h["columns"]["means"].update(offset=10**9), "lies beyond"),
        (lambda h: h["columns"]["means"].update(codec="exe"), "damaged"),
        (lambda h: h["columns"]["means"].update(components=7), "damaged"),
    ],
)
def test_hostile_pages(tmp_path, change, match):
    html.write(tmp_path / "a.html", scenes.freetime(sh_degree=0, n=20), ExportOptions())
    text = (tmp_path / "a.html").read_text()
    found = re.search(r'json">(.*?)</script>', text)
    header = json.loads(found[1])
    change(header)
    (tmp_path / "b.html").write_text(text.replace(found[1], json.dumps(header)))
    with pytest.raises(UserError, match=match):
        html.read(tmp_path / "b.html")
    (tmp_path / "c.html").write_text("<html></html>")
    with pytest.raises(UserError, match="no page"):
        html.read(tmp_path / "c.html")


# ------------------------------------------------------------------ in a browser

SIZE = (240, 180)


def screenshot(page, fragment, folder, seconds=5) -> np.ndarray:
    """[h, w, 3] of what headless Chromium shows."""
    target = folder / "shot.png"
    subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader", "--force-device-scale-factor=1", f"--user-data-dir={folder / 'profile'}",
            f"--screenshot={target}", "--window-size=640,480", f"--virtual-time-budget={1000 * seconds:.0f}",
            f"{page.as_uri()}#{fragment}",
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return np.asarray(Image.open(target).convert("RGB")).astype(np.float32) / 255


def from_renderer(scene, t):
    """The same image by our own rasterizer, and the page's camera."""
    width, height = SIZE
    cameras = scenes.capture_camera(scenes.scene_camera(), scene.world_from_capture)
    focal = 1.25 * height
    k = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    cameras = replace(cameras, intrinsics=k[None], width=width, height=height)
    moving = moving_gaussians(scene, "test", False, []).in_capture(scene.world_from_capture)
    pose = ",".join(f"{v:.9g}" for v in cameras.camera_from_world[0, :3].flatten().tolist())
    return scenes.image_of(moving.at(t), cameras).clamp(0, 1), f"pose={pose}&focal={focal}&size={width}x{height}&ui=0"


def test_what_stands_in_the_page_is_data(tmp_path, monkeypatch):
    """A method's name comes from whichever package brings it."""
    hostile = "</script><script>alert(1)</script><!--<title>"
    monkeypatch.setattr(type(scenes.freetime(n=5)), "method", property(lambda scene: hostile))
    html.write(tmp_path / "a.html", scenes.freetime(n=5, sh_degree=0), ExportOptions())
    page = (tmp_path / "a.html").read_text("utf8")
    assert "alert(1)</script>" not in page and "<!--<title>" not in page and page.count("<title>") == 1
    assert html.read(tmp_path / "a.html")[0]["method"] == hostile


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed (Debian: apt-get install chromium)")
def test_the_bar_can_be_hidden(tmp_path):
    html.write(tmp_path / "a.html", scenes.freetime(n=20, sh_degree=0), ExportOptions())
    away = "&pose=1,0,0,0,0,1,0,0,0,0,1,-1000"  # all Gaussians are behind the camera
    shown, hidden = (screenshot(tmp_path / "a.html", f"t=0.5{away}{ui}", tmp_path) for ui in ("", "&ui=0"))
    assert shown[:300].max() == 0 and shown[300:].max() > 0.3
    assert hidden.max() == 0


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed (Debian: apt-get install chromium)")
@pytest.mark.parametrize("name", ["lite", "freetime", "flat-top"])
def test_a_browser_shows_what_our_renderer_shows(name, tmp_path):
    scene = {**MODELS, "freetime": lambda: scenes.freetime(n=400)}[name]()
    html.write(tmp_path / "a.html", scene, ExportOptions())
    shots = []
    for t in (0.15, 0.5, 0.85):
        expected, camera = from_renderer(scene, t)
        shot = screenshot(tmp_path / "a.html", f"t={t}&{camera}", tmp_path)[: SIZE[1], : SIZE[0]]
        shots.append(shot)
        score = scenes.psnr(torch.from_numpy(shot.copy()), expected)
        assert expected.std() > 0.05 and score > 50, (t, score)
    assert np.abs(shots[0] - shots[1]).mean() > 0.005 and np.abs(shots[1] - shots[2]).mean() > 0.005
    # By itself, without a fragment, it plays from the camera of the header: something moves on the screen. The clip of 0.44 s
    # comes again and again, and when the page begins to play is the browser's affair: two shots may show the same instant.
    first, *later = (screenshot(tmp_path / "a.html", "", tmp_path, seconds) for seconds in (1, 1.3, 2.2, 3))
    assert first[:400].std() > 0.02 and max(np.abs(first - shot).mean() for shot in later) > 1e-3
