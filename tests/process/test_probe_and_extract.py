"""Videos as cameras write them: rotation flags, ten bits, sound, copies, damage."""

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process import extract, probe, synchronise
from tests.process.clips import number_of, numbered, raw_video, turn, write_clip


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "in" / "a.mp4", numbered(12))


def _facts(path):
    (video,) = probe.probe({"a": path})
    return video


def test_plain_video(clip):
    video = _facts(clip)
    assert (video.width, video.height, video.frames, video.bits, video.audio) == (64, 48, 12, 8, False)
    assert video.fps == pytest.approx(30) and not video.variable_rate and video.codec == "h264"
    np.testing.assert_allclose(video.local_times(), np.arange(12) / 30, atol=1e-4)


def test_variable_rate_is_noticed(tmp_path):
    times = [i / 30 + (0.2 if i > 5 else 0.0) for i in range(12)]
    video = _facts(write_clip(tmp_path / "v.mp4", numbered(12), times=times))
    assert video.variable_rate and video.fps == pytest.approx(30, rel=0.05)
    np.testing.assert_allclose(video.local_times(), times, atol=1e-3)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_flag_is_applied(tmp_path, degrees):
    video = _facts(turn(write_clip(tmp_path / "v.mp4", numbered(3)), degrees))
    assert (video.width, video.height) == ((64, 48) if degrees == 180 else (48, 64))
    extract.extract_camera(video, [0, 2], (video.width, video.height), tmp_path / "out")
    image = cv2.imread(str(tmp_path / "out" / "000001.jpg"))
    upright = cv2.cvtColor(numbered(3)[2], cv2.COLOR_RGB2BGR)
    turned = np.rot90(upright, -degrees // 90)  # players turn clockwise
    assert image.shape == turned.shape
    assert np.abs(image.astype(float) - turned).mean() < 6


def test_ten_bits_become_eight(tmp_path):
    video = _facts(write_clip(tmp_path / "v.mp4", numbered(4), pix_fmt="yuv420p10le"))
    assert video.bits == 10 and "10 bits" in probe.notes_of([video])[0]
    extract.extract_camera(video, range(4), (64, 48), tmp_path / "out")
    assert [number_of(cv2.imread(str(p))) for p in sorted((tmp_path / "out").iterdir())] == [0, 1, 2, 3]


def test_frames_are_the_asked_ones_and_repeats_are_written(clip, tmp_path):
    picks = [1, 3, 3, 4, 11]
    extract.extract_camera(_facts(clip), picks, (32, 24), tmp_path / "out")
    images = [cv2.imread(str(p)) for p in sorted((tmp_path / "out").iterdir())]
    assert [number_of(image) for image in images] == picks
    assert images[0].shape == (24, 32, 3)


def test_full_disk_leaves_nothing(clip, tmp_path, monkeypatch):
    real = Path.write_bytes

    def full(self, data):
        if self.name == "000002.jpg":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="is full; free some space"):
        extract.extract_camera(_facts(clip), range(6), (64, 48), tmp_path / "frames" / "a")
    assert list((tmp_path / "frames").iterdir()) == []


def test_ctrl_c_leaves_nothing(clip, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract.extract_camera(_facts(clip), range(12), (64, 48), tmp_path / "frames" / "a", interrupt)
    assert list((tmp_path / "frames").iterdir()) == []


def test_space_is_asked_for_first(tmp_path):
    with pytest.raises(UserError, match="--downscale, --every or --end"):
        extract.require_space(tmp_path, [(16000, 16000)] * 1000, 10_000_000)


@pytest.mark.parametrize(
    ("resize", "downscale", "says"),
    [((64, 64), 1.0, "would distort"), (None, 0.5, "--downscale 0.5"), ((0, 0), 1.0, "out of range")],
)
def test_sizes_that_are_refused(resize, downscale, says):
    with pytest.raises(UserError, match=says):
        extract.target_size(raw_video("a", [0, 1]), resize, downscale)


def test_not_a_video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("no video at all")
    with pytest.raises(UserError, match="is not a video"):
        _facts(path)


def test_truncated_video(clip):
    clip.write_bytes(clip.read_bytes()[:-400])
    with pytest.raises(UserError, match=str(clip)):
        _facts(clip)


def test_same_recording_twice(clip):
    copy = clip.with_name("b.mp4")
    copy.write_bytes(clip.read_bytes())
    with pytest.raises(UserError, match="cameras 'a' and 'b' are the same recording"):
        probe.probe(probe.find_videos([clip.parent]))


def test_a_single_video_is_no_rig(clip):
    with pytest.raises(UserError, match="at least 2 cameras"):
        probe.find_videos([clip])


def test_names(clip):
    write_clip(clip.with_name("b.mp4"), numbered(5))
    assert list(probe.find_videos([clip.parent], ("left", "right"))) == ["left", "right"]
    with pytest.raises(UserError, match="3 names for 2 videos"):
        probe.find_videos([clip.parent], ("x", "y", "z"))
    with pytest.raises(UserError, match="would both be camera 'a'"):
        probe.find_videos([clip, clip])


def _sounding(path, sound):
    return write_clip(path, numbered(12), sound=sound)


def test_no_and_silent_sound(tmp_path):
    noise = 0.3 * np.random.default_rng(0).standard_normal(48_000)
    loud = _sounding(tmp_path / "loud.mp4", (noise, 48_000))
    mute = write_clip(tmp_path / "mute.mp4", numbered(11))
    silent = _sounding(tmp_path / "silent.mp4", (np.zeros(48_000), 48_000))
    with pytest.raises(UserError, match="camera mute has no audio track"):
        synchronise.synchronise(probe.probe({"loud": loud, "mute": mute}), "audio", {})
    both = probe.probe({"loud": loud, "silent": silent})
    with pytest.raises(UserError, match=r"camera 'silent' .* is silent"):
        synchronise.synchronise(both, "audio", {})
    fallback = synchronise.synchronise(both, "auto", {})
    assert fallback["method"] == "none" and "silent" in fallback["notes"][0]


def test_flash(tmp_path):
    def lit(first, count=40):
        return [np.full((48, 64, 3), 200 if i >= first else 60, np.uint8) for i in range(count)]

    videos = probe.probe({"a": write_clip(tmp_path / "a.mp4", lit(20)), "b": write_clip(tmp_path / "b.mp4", lit(13))})
    result = synchronise.synchronise(videos, "flash", {})
    # The lamp goes on at frame 20 of a and 13 of b: b started 7 frames later.
    assert result["offsets"]["b"] == pytest.approx(7 / 30, abs=0.5 / 30)
    dark = probe.probe({"a": videos[0].path, "c": write_clip(tmp_path / "c.mp4", lit(99))})
    with pytest.raises(UserError, match=r"camera 'c' .* shows no flash"):
        synchronise.synchronise(dark, "flash", {})


@pytest.mark.parametrize(
    ("words", "says"),
    [(("b=soon",), "says no seconds"), (("x=1",), "names no camera"), (("b=nan",), "says no seconds")],
)
def test_offsets_that_are_refused(words, says):
    with pytest.raises(UserError, match=says):
        synchronise.parse_offsets(words, ["a", "b"])
