"""Splatfacto, which has no way without a GPU, trains on our dataparser: on videos, started from our points."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.run import typed, without_lpips

SAMPLE = Path(__file__).parents[2] / "data" / "stage"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


def test_splatfacto_trains_on_one_frame_of_videos(tmp_path, monkeypatch):
    without_lpips(monkeypatch)
    parser = ("multiview-video-data", "--data", SAMPLE, "--frames", "0:1")
    words = ("--output-dir", tmp_path, "--max-num-iterations", 300, "--vis", "tensorboard", "--steps-per-save", 300)
    told = typed("ns-train", "splatfacto", *words, *parser)
    assert told.code == 0, told.text
    (checkpoint,) = tmp_path.rglob("step-*.ckpt")
    assert checkpoint.stat().st_size > 1e6
