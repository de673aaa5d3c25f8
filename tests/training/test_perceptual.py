"""LPIPS without its weights: said once, in one line, soon."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch

from fourdgs_ns.training import perceptual
from fourdgs_ns.training.perceptual import Perceptual


@pytest.mark.parametrize("backbone, file", [("alex", "alexnet-"), ("vgg", "vgg16-")])
def test_without_a_network_it_is_left_out_in_one_line(monkeypatch, tmp_path, capfd, backbone, file):
    asked = []

    def nobody_answers(request, timeout):
        asked.append((request.full_url, request.get_method(), timeout))
        raise URLError("no network")

    monkeypatch.setattr(perceptual, "urlopen", nobody_answers)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    measure = Perceptual(backbone)
    image = torch.zeros(1, 32, 32, 3)
    assert measure.distance(image, image) is None and not measure.available(image.device)
    ((url, method, timeout),) = asked
    assert file in url and method == "HEAD" and timeout <= 10
    told = capfd.readouterr()
    assert told.err == "" and told.out.count("\n") == 1 and "LPIPS is left out" in told.out
