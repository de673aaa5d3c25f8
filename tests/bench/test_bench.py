"""The benchmarks measure what they say: real slices, real steps, the same in every run."""

from __future__ import annotations

import pytest
import torch

from fourdgs_ns.bench import data, export, render, step, timing
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.cli.main import entry_point
from tests.plugin.tiny import make_config, write_capture

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", list(render.REPRESENTATIONS))
@pytest.mark.parametrize("share", [1.0, 0.3, 0.08])
def test_the_share_alive_is_the_one_asked_for(name, share):
    representation, params, _ = render.make_scene(render.REPRESENTATIONS[name](), 20_000, share, (64, 48), CPU)
    for t in (0.0, 0.37, 1.0):
        assert abs(len(representation.active(params, t)) / 20_000 - share) < 0.02


def test_render_times_are_those_of_both_paths():
    times = render.measure("freetime SH 3", 500, 0.3, (64, 48), CPU, repeats=2)
    assert times.rows == 500 and 100 < times.alive < 200
    assert min(times.floor, times.ours, times.floor_both, times.ours_both) > 0
    assert times.pixel_pairs is not None and times.pixel_pairs % 16 == 0 < times.nanoseconds_per_pair(times.floor)


def test_the_median_of_the_work_itself():
    calls = []
    assert timing.median_ms(lambda: calls.append(1), CPU, 7) < 5
    assert len(calls) == 14, "warmed up first"


@pytest.mark.parametrize("method", ["freetime", "fourd", "lite"])
def test_a_step_is_taken_apart(method, tmp_path):
    config = make_config(write_capture(tmp_path / "capture"), tmp_path / "out", 10_000, method)
    trainer = step.make_trainer(config, tmp_path / "capture", tmp_path / "out", "cpu", 0.3)
    times = step.measure(trainer, 3)
    assert times.rows == 300 and 60 < times.alive < 140, "as many as asked for, at any t"
    assert set(times.parts) == {
        "framework",
        "data",
        "slice",
        "rasterize",
        "loss",
        "backward",
        "optimizer",
        "statistics",
    }
    assert all(ms > 0 for ms in times.parts.values()) and times.whole > 0 < times.floor
    assert times.frames_per_second > 0 < times.frames_needed


def test_an_export_is_that_of_the_writer(tmp_path):
    times = export.measure(2_000, 0.3, 3, 2, tmp_path)
    assert 500 < times.alive < 700, "what is alive at t, not every row"
    assert times.megabytes * 1e6 == pytest.approx(times.alive * 62 * 4, rel=0.02)
    assert 0 < times.ours < 5 and times.ours_cpu > 0
    assert times.stock is None or times.stock > times.ours_cpu / 10
    assert not list(tmp_path.iterdir())


def test_an_export_is_reported_with_and_without_harmonics(capsys):
    entry_point(["bench", "export", "--rows", "500", "--repeats", "2"])
    told = capsys.readouterr().out
    assert "SH degree 3, 500 Gaussians in a frame" in told and "SH degree 0, 500 Gaussians" in told
    assert told.count("Nerfstudio's writer") == 2


def test_bad_requests_end_in_one_line(capsys):
    for words, complaint in ((["bench", "step"], "--data"), (["bench", "--repeats", "0"], "at least 1")):
        with pytest.raises(SystemExit) as stop:
            entry_point([*words, "--device", "cpu"])
        assert stop.value.code == 1
        assert complaint in capsys.readouterr().err


def test_recordings_are_what_was_asked_for_and_are_stored_once(tmp_path):
    root = data.make_recordings(tmp_path / "rig", 3, 5, (64, 48))
    capture = read_capture(root)
    assert [len(camera.frames) for camera in capture.cameras] == [5, 5, 5]
    assert {(camera.width, camera.height) for camera in capture.cameras} == {(64, 48)}
    assert len({path.stat().st_ino for path in root.glob("*.mp4")}) == 1
    assert data.decoding_rate(capture) > 0


@pytest.mark.slow
def test_the_data_path_is_measured_and_its_store_is_kept(tmp_path):
    root = data.make_recordings(tmp_path / "rig", 3, 5, (64, 48))
    trainer = step.make_trainer(make_config(root, tmp_path / "out", 10_000), root, tmp_path / "out", "cpu", 1.0)
    rates = data.measure(trainer, 2)
    assert (rates.cameras, rates.frames) == (3, 15)
    assert min(rates.decoding, rates.building, rates.served, rates.needed) > 0
    assert rates.peak >= rates.peak_building > 50e6
    assert len(list((root / ".fourdgs" / "frames").glob("*.rgb"))) == 3
    assert (root / ".fourdgs" / "frames").is_dir()


def test_the_table_of_memory_is_printed(capsys):
    entry_point(["bench", "memory", "--rows", "1000000", "--device", "cpu"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "1,000,000" in printed and "2,576" in printed and "2.40" in printed
