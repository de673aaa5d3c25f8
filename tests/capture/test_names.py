"""Names of cameras become names of files: what cannot be one is refused where the capture is read."""

from __future__ import annotations

import json

import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.probe import find_videos

from . import writers

REFUSED = [
    *(
        "../../escape",
        "/etc/x",
        "a/b",
        "a\\b",
        "..",
        ".",
        " ",
        "it's",
        'a"b',
        "`id`",
        "a\nb",
        "a\tb",
        "a\x00b",
        "\x1b[31mred",
    ),
    *("\u202egnp", "\ud800", "x" * 200),
]
ACCEPTED = ["cam 1", "C0014_03", "Kamera-ü", "日本", "GoPro.left", "[red]", "-1", "$x", "a,b", "x" * 100]


def labelled(root, label):
    writers.write_transforms(root)
    content = json.loads((root / "transforms.json").read_text())
    content["frames"][1]["camera_label"] = label
    (root / "transforms.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("label", REFUSED)
def test_what_cannot_be_a_name_is_refused_and_shown(tmp_path, label):
    with pytest.raises(UserError, match="cannot be the name of a file") as caught:
        read_capture(labelled(tmp_path, label))
    assert str(caught.value).isprintable() and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("label", ACCEPTED)
def test_other_names_stay_as_they_are(tmp_path, label):
    assert label in [camera.name for camera in read_capture(labelled(tmp_path, label)).cameras]


@pytest.mark.parametrize("name", ["it's", "..", "a\x1bb", "a/b"])
def test_names_of_videos_follow_the_same_rule(tmp_path, name):
    for stem in ("a", "b"):
        writers.write_video(tmp_path / f"{stem}.mp4")
    with pytest.raises(UserError, match="is no name for a camera"):
        find_videos([tmp_path], [name, "b"])
