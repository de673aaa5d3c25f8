"""Frames are matched by their time stamps, in any unit, and by their numbers otherwise."""

import fractions

import av
import numpy as np
import pytest

from fourdgs_ns.capture import stamps
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.capture.video_header import probe_video
from tests.capture import writers
from tests.capture.refusals import refused
from tests.capture.test_layouts_transforms import write_timed

MILLISECONDS = [0, 33, 67, 100, 133, 167, 200]


def stamps_of(unit, count=7, start=0.0, fps=30.0):
    return [round((start + i / fps) / unit) for i in range(count)]


@pytest.mark.parametrize("fps", [24.0, 29.97, 30.0, 50.0, 240.0])
@pytest.mark.parametrize(("unit", "name"), [(1e-3, "milliseconds"), (1e-6, "microseconds"), (1e-9, "nanoseconds")])
def test_units_are_told_by_the_period_of_a_camera(unit, name, fps):
    assert stamps.unit_of(stamps.period_of(np.array(stamps_of(unit, 20, fps=fps), float))) == name


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (MILLISECONDS, True),
        ([0, 33, 100, 133, 167, 200, 300], True),  # some were dropped
        ([1_638_000_000_000 + 40 * i for i in range(5)], True),
        ([0, 16_667, 33_333], True),
        ([0, 1, 2, 3], False),
        ([5, 6, 8, 20], False),
        ([0, 5, 10, 20], False),
        ([0, 10, 20, 30], False),
        ([3, 900, 1500, 7000], False),  # irregular
    ],
)
def test_stamps_and_numbers(numbers, expected):
    assert stamps.are_stamps(np.array(numbers, float)) is expected


@pytest.mark.parametrize("unit", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("start", [0.0, 1_764_000_000.25])
@pytest.mark.parametrize("top", [{}, {"fps": 30}])
def test_times_in_any_unit(unit, start, top, tmp_path):
    write_timed(tmp_path, "time", stamps_of(unit, start=start), **top)
    capture = read_capture(tmp_path)
    assert capture.duration_seconds == pytest.approx(0.2, abs=1e-3)
    np.testing.assert_allclose(np.diff(capture.times_seconds), 1 / 30, atol=1.1e-3)


def test_times_that_may_be_either_are_asked_for(tmp_path):
    write_timed(tmp_path, "time", [0, 40, 80, 120])
    refused(lambda: read_capture(tmp_path), "0, 40", "milliseconds or numbers of frames", "metadata.json")
    writers.write_json(tmp_path / "metadata.json", {"fps": 25})
    assert read_capture(tmp_path).duration_seconds == pytest.approx(0.12)


def test_times_that_contradict_the_rate(tmp_path):
    write_timed(tmp_path, "time", MILLISECONDS, fps=24)
    refused(lambda: read_capture(tmp_path), "milliseconds", "30 frames per second", "24 are stated")


def test_whole_frames_at_a_stated_rate_are_no_seconds(tmp_path):
    write_timed(tmp_path, "time", [0, 1, 2, 3], fps=30)
    assert read_capture(tmp_path).duration_seconds == pytest.approx(0.1)


def test_cameras_with_clocks_of_their_own(tmp_path):
    """cam01 dropped a frame and cam02 is a third of a frame late: both stay in step to the end."""
    entries = []
    for c, drop, late in zip(writers.rig(), (None, 3, None), (0, 1, 11)):
        for i in range(8):
            if i != drop:
                writers.write_image(tmp_path / "images" / c.name / f"{i}.png")
                entries.append(writers.entry(c, f"images/{c.name}/{i}.png", time=round(1000 * i / 30) + late))
    lens = {"fl_x": 40.0, "w": writers.WIDTH, "h": writers.HEIGHT}
    writers.write_json(tmp_path / "transforms.json", {**lens, "frames": entries})
    capture = read_capture(tmp_path)
    assert capture.num_frames == 8
    assert [c.frame_ids.tolist() for c in capture.cameras] == [[*range(8)], [0, 1, 2, 4, 5, 6, 7], [*range(8)]]
    offsets = [c.time_offset_seconds for c in capture.cameras]
    assert offsets[2] - offsets[0] == pytest.approx(0.011, abs=1e-3)


@pytest.mark.parametrize("digits", ["{:06d}", "1638{:09d}"])
def test_names_that_are_stamps(digits, tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, writers.rig(("00", "01")))
    for camera, drop in (("00", None), ("01", 3)):
        for i in range(8):
            if i != drop:
                writers.write_image(tmp_path / "images" / camera / f"{digits.format(round(1000 * i / 30))}.png")
    capture = read_capture(tmp_path)
    assert capture.numbers().tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert [p.stem for p in capture.camera("00").frames.paths] == [p.stem for p in capture.camera("01").frames.paths]
    np.testing.assert_allclose(capture.duration_seconds, 7 / 30, atol=2e-3)


def test_names_of_which_only_some_are_stamps(tmp_path):
    writers.write_easyvolcap_calibration(tmp_path, writers.rig(("00", "01")))
    for i in range(5):
        writers.write_image(tmp_path / "images" / "00" / f"{round(1000 * i / 30):06d}.png")
        writers.write_image(tmp_path / "images" / "01" / f"{i:06d}.png")
    refused(lambda: read_capture(tmp_path), "camera '00'", "time stamps", "camera '01'")


def write_dropping(path, drop=(), frames=20):
    """Frame i has the brightness 10 i; those of ``drop`` are missing, as phones and grabbers leave them out."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = writers.WIDTH, writers.HEIGHT, "yuv420p"
        stream.options = {"bf": "2", "g": "10"}
        stream.codec_context.time_base = fractions.Fraction(1, 30)
        for i in range(frames):
            if i not in drop:
                image = np.full((writers.HEIGHT, writers.WIDTH, 3), 10 * i, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = i, fractions.Fraction(1, 30)
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_dropped_frames_is_in_step_to_the_end(suffix, tmp_path):
    cameras = writers.rig()
    writers.write_poses_bounds(tmp_path, cameras)
    for c in cameras:
        write_dropping(tmp_path / f"{c.name}{suffix}", (7, 13) if c.name == "cam01" else ())
    assert probe_video(tmp_path / f"cam00{suffix}").numbers is None
    capture = read_capture(tmp_path)
    assert capture.numbers().tolist() == [i for i in range(20) if i not in (7, 13)]
    assert "cam01" in capture.camera("cam01").frames.describe(0)
    notes: list[str] = []
    brightness = [
        [frame.mean() for frame in read_frames(capture.camera(name).frames, notes=notes)] for name in ("cam00", "cam01")
    ]
    np.testing.assert_allclose(*brightness, atol=4)
    assert notes == [] and capture.duration_seconds == pytest.approx(19 / 30)


def test_masks_of_a_video_that_dropped_frames_count_its_frames(tmp_path):
    cameras = writers.rig()
    writers.write_poses_bounds(tmp_path, cameras)
    for c in cameras:
        write_dropping(tmp_path / f"{c.name}.mp4", (7,) if c.name == "cam01" else ())
        writers.write_images(tmp_path / "masks" / c.name, range(19 if c.name == "cam01" else 20), channels=1)
    masks = read_capture(tmp_path).camera("cam01").masks
    assert [p.stem for p in masks.paths] == [f"{i:06d}" for i in range(19)]


def test_a_losslessly_trimmed_video_has_the_frames_that_it_shows(tmp_path):
    """As ``ffmpeg -ss 0.1 -c copy``: packets from before the cut stay in the file, an edit list hides them."""
    cameras = writers.rig()
    writers.write_poses_bounds(tmp_path, cameras)
    for c in cameras:
        whole = write_dropping(tmp_path / "whole.mp4", frames=12)
        with av.open(str(whole)) as source, av.open(str(tmp_path / f"{c.name}.mp4"), "w") as cut:
            stream = source.streams.video[0]
            copied, late = cut.add_stream_from_template(stream), round(0.1 / stream.time_base)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts - late, packet.dts - late, copied
                    cut.mux(packet)
        whole.unlink()
    capture = read_capture(tmp_path)
    assert capture.numbers().tolist() == list(range(9)) and "edit list" in " ".join(capture.notes)
    brightness = [frame.mean() for frame in read_frames(capture.cameras[0].frames)]
    np.testing.assert_allclose(brightness, 10 * np.arange(3, 12), atol=4)
