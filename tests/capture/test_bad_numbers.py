"""Numbers in calibration files that are none, in layouts that keep them in lists: one line that names the file."""

import json

import pytest

from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.common.errors import UserError
from tests.capture import test_layouts_named_rigs as named_rigs
from tests.capture import writers

NOT_NUMBERS = ["x", ["x", 0], {}, [10**400]]


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda value: str(value)[:10])
@pytest.mark.parametrize("key", ["radial_distortion", "tangential_distortion"])
def test_nerfies_distortion(tmp_path, key, value):
    named_rigs.test_nerfies_camera_that_moves(tmp_path)
    first = sorted((tmp_path / "camera").iterdir())[0]
    edit(first, lambda content: content.update({key: value}))
    with pytest.raises(UserError, match=rf"{key} in .*{first.name} is .* instead of a list of numbers"):
        read_capture(tmp_path)


def test_nerfies_distortion_that_would_be_dropped(tmp_path):
    named_rigs.test_nerfies_camera_that_moves(tmp_path)
    first = sorted((tmp_path / "camera").iterdir())[0]
    edit(first, lambda content: content.update(radial_distortion=[0.1, 0.0, 0.0, 0.2]))
    with pytest.raises(UserError, match=r"radial_distortion .* has 4 numbers; only 3 are known"):
        read_capture(tmp_path)
    edit(first, lambda content: content.update(radial_distortion=[0.1, 0.0, 0.0, 0.0]))
    assert read_capture(tmp_path).cameras[0].camera.distortion[0] == 0.1


def test_nerfies_that_holds_nothing_out(tmp_path):
    named_rigs.test_nerfies_camera_that_moves(tmp_path)
    edit(tmp_path / "dataset.json", lambda content: content.update(val_ids=None))
    assert read_capture(tmp_path).eval_cameras == ()
    edit(tmp_path / "dataset.json", lambda content: content.update(val_ids=7))
    with pytest.raises(UserError, match=r"val_ids of .* is no list"):
        read_capture(tmp_path)


@pytest.mark.parametrize("value", [*NOT_NUMBERS, [0.1, 0.2, 0.3, 0.4, 0.5]], ids=lambda value: str(value)[:10])
def test_immersive_distortion(tmp_path, value):
    named_rigs.test_immersive(tmp_path)
    edit(tmp_path / "models.json", lambda content: content[0].update(radial_distortion=value))
    with pytest.raises(UserError, match=r"distortion of camera|radial_distortion of|distortion coefficients"):
        read_capture(tmp_path)


@pytest.mark.parametrize("old, new", [(b"'shape': (", b"'shape': ["), (b"}", b"("), (b"(3, ", b"(0, ")])
def test_npy_with_a_damaged_header(tmp_path, old, new):
    writers.write_n3dv(tmp_path)
    file = tmp_path / "poses_bounds.npy"
    good = file.read_bytes()
    file.write_bytes(good.replace(old, new, 1))
    assert file.read_bytes() != good
    with pytest.raises(UserError, match=r"poses_bounds\.npy is not a readable|poses_bounds\.npy has"):
        read_capture(tmp_path)
