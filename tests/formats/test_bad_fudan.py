"""Files that are no checkpoint of 4D Gaussians, or a hostile one: one clear line each, and nothing is run."""

from __future__ import annotations

import math
import os
import pickle

import pytest
import torch

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.formats.fudan import read_fudan
from fourdgs_ns.formats.import_options import ImportOptions
from fourdgs_ns.representation.types import Clip

from .fudan_writer import capture_tuple, gaussians, save

CLIP = Clip(50, 1.0)


def refused(path, match: str, **options) -> None:
    with pytest.raises(UserError, match=match) as caught:
        read_fudan(path, ImportOptions(**{"duration": 1.0, **options}), CLIP)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or "--" in str(caught.value)


class Malicious:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder / 'executed'}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["instead", "inside"])
def test_code_is_refused_named_and_not_run(tmp_path, zipped, place):
    path = tmp_path / "chkpnt.pth"
    values = capture_tuple(gaussians(10))
    values[11] = {"state": Malicious(tmp_path)}
    content = (tuple(values), 1) if place == "inside" else Malicious(tmp_path)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    refused(path, r"asks to run (posix|nt|os)\.system")
    assert not (tmp_path / "executed").exists()


def test_a_bare_pickle_is_not_run_either(tmp_path):
    path = tmp_path / "chkpnt.pth"
    path.write_bytes(pickle.dumps(Malicious(tmp_path)))
    refused(path, "asks to run|no readable checkpoint")
    assert not (tmp_path / "executed").exists()


def test_classes_of_the_program_itself_are_refused_and_named(tmp_path):
    path = tmp_path / "chkpnt.pth"
    torch.save(((CLIP,), 1), path)
    refused(path, r"asks to run fourdgs_ns\.representation\.types\.Clip")


def test_no_file(tmp_path):
    refused(tmp_path / "nowhere.pth", "is no file")
    refused(tmp_path, "is no file")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken", b"\x80\x02" + b"\xff" * 40])
def test_no_checkpoint_at_all(tmp_path, content):
    path = tmp_path / "chkpnt.pth"
    path.write_bytes(content)
    refused(path, "no readable checkpoint")


def test_truncated(tmp_path):
    path = save(tmp_path / "chkpnt.pth", capture_tuple(gaussians()))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "no readable checkpoint")


@pytest.mark.parametrize("content", [{"state_dict": 1}, [1, 2], ((1, 2, 3), 5), torch.zeros(3)])
def test_another_content(tmp_path, content):
    path = tmp_path / "chkpnt.pth"
    torch.save(content, path)
    refused(path, "instead of the 19 values")


def test_four_dimensions_given_as_three(tmp_path):
    refused(save(tmp_path / "chkpnt.pth", capture_tuple(gaussians())), "four dimensions", dimensions=3)


@pytest.mark.parametrize(
    ("index", "value", "told"),
    [
        (13, None, "tensor t but is a NoneType"),
        (15, torch.empty(0), r"rotation_r has shape \(0,\)"),
        (4, torch.zeros(200, 2), r"scaling has shape \(200, 2\).*N x 3"),
        (1, torch.zeros(200, 3, dtype=torch.int64), "xyz has shape"),
        (6, torch.zeros(199, 1), "200 positions but 199 rows of opacity"),
        (3, torch.zeros(200, 20, 3), "21 harmonics per Gaussian fit no degree"),
        (3, torch.zeros(199, 47, 3), r"features_rest is \(199, 47, 3\)"),
        (3, "text", "features_rest is str"),
    ],
)
def test_missing_tensors_and_wrong_shapes_are_named(tmp_path, index, value, told):
    values = capture_tuple(gaussians())
    values[index] = value
    refused(save(tmp_path / "chkpnt.pth", values), told)


def test_nothing_finite(tmp_path):
    raw = gaussians()
    raw["opacity"][:] = math.nan
    refused(save(tmp_path / "chkpnt.pth", capture_tuple(raw)), "no Gaussian whose values are all finite")


def test_unknown_window_asks_for_it(tmp_path):
    path = save(tmp_path / "chkpnt.pth", capture_tuple(gaussians(duration=40.0)))
    refused(path, "add --duration", duration=None)
    refused(path, "--duration is -1", duration=-1.0)


def test_undecidable_convention_asks_for_it(tmp_path):
    raw = gaussians(n=400)
    raw["rotation_r"] = torch.randn(400, 4, generator=torch.Generator().manual_seed(7))
    refused(save(tmp_path / "chkpnt.pth", capture_tuple(raw)), "--convention new")
