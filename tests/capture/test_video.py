"""Videos are read alike for training and by process: in order, upright, in RGB of standard range, damage is named."""

import os

import av
import cv2
import numpy as np
import pytest

from fourdgs_ns.capture.capture import VideoFrames
from fourdgs_ns.capture.layouts import read_capture
from fourdgs_ns.capture.sources import read_frames, read_masks
from fourdgs_ns.capture.video import as_rgb, decode
from fourdgs_ns.capture.video_header import check_constant_rate, frame_times, opened, probe_video
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.process.extract import extract_camera
from fourdgs_ns.process.probe import probe
from tests.capture import writers
from tests.process.clips import number_of, numbered, turn, write_clip, write_hdr

FPS = 25


def write_video(path, frames, codec="mp4v"):
    """``frames`` in RGB."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), FPS, (width, height))
    for frame in frames:
        writer.write(frame[:, :, ::-1])
    writer.release()
    return path


def numbered_frames(n):
    """Reddish frames whose blue channel tells their number."""
    frames = np.empty((n, 48, 64, 3), np.uint8)
    frames[...] = np.stack([np.full(n, 200), np.full(n, 40), 6 * np.arange(n)], -1)[:, None, None]
    return list(frames)


def numbers(frames):
    return [round((float(frame[:, :, 2].mean())) / 6) for frame in frames]


def test_video_frames_in_order_and_in_rgb(tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(40))
    wanted = (0, 3, 4, 17, 39)
    notes = []
    frames = list(read_frames(VideoFrames(path, wanted), notes=notes))
    assert numbers(frames) == list(wanted) and notes == []
    assert abs(float(frames[0][:, :, 0].mean()) - 200) < 8 and frames[0].dtype == np.uint8
    later = list(read_frames(VideoFrames(path, wanted), start=3))
    np.testing.assert_array_equal(later, frames[3:])
    assert list(read_frames(VideoFrames(path, wanted), start=5)) == []


def test_truncated_video(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    path = write_video(tmp_path / "clip.avi", noise, codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = []
    with pytest.raises(
        UserError, match=r"clip\.avi ends after \d+( of \d+)? frames, but frame 19 is wanted.*--frames 0:"
    ):
        for frame in read_frames(VideoFrames(path, tuple(range(20)))):
            frames.append(frame)
    assert 5 <= len(frames) < 15


def test_a_frame_beyond_the_end(tmp_path):
    path = write_video(tmp_path / "clip.mp4", numbered_frames(10))
    with pytest.raises(UserError, match="ends after 10 of 10 frames, but frame 12 is wanted"):
        list(read_frames(VideoFrames(path, (2, 12))))


def test_missing_and_undecodable_videos(tmp_path, capfd):
    with pytest.raises(UserError, match=r"clip\.mp4 does not exist"):
        list(read_frames(VideoFrames(tmp_path / "clip.mp4", (0,))))
    path = write_video(tmp_path / "clip.mp4", numbered_frames(10))
    path.write_bytes(path.read_bytes()[:-300])  # the index at the end is lost
    with pytest.raises(UserError, match=r"clip\.mp4 cannot be decoded as a video"):
        list(read_frames(VideoFrames(path, (0,))))


def test_masks_of_a_video(tmp_path):
    frames = [np.full((48, 64, 3), value, np.uint8) for value in (0, 0, 255, 255)]
    path = write_video(tmp_path / "masks.mp4", frames)
    masks = list(read_masks(VideoFrames(path, (0, 1, 2, 3)), start=1))
    assert [mask.shape for mask in masks] == [(48, 64)] * 3
    assert masks[0].max() < 10 and masks[1].min() > 245


def test_constant_rates_pass_and_uneven_ones_are_named(tmp_path):
    path = tmp_path / "clip.mp4"
    steady = np.arange(100) * 40.0
    jitter = np.random.default_rng(0).uniform(-8, 8, 100)
    assert check_constant_rate(steady, 25.0, path) is None
    assert check_constant_rate(steady + jitter, 25.0, path) is None
    assert check_constant_rate(steady + 1234.0, 25.0, path) is None  # a clip may start late
    assert check_constant_rate(np.zeros(100), 25.0, path) is None  # no time stamps at all
    assert check_constant_rate([0.0], 25.0, path) is None
    dropped = np.delete(steady, 30)
    assert "clip.mp4 has a variable frame rate: frame 30 comes +1.0 frames" in check_constant_rate(dropped, 25.0, path)
    slow = np.arange(100) * 41.0  # every interval is nearly right, the sum is not
    assert "frame 21 comes +0.5 frames" in check_constant_rate(slow, 25.0, path)


def test_variable_frame_rate_video_is_noted_while_decoding(tmp_path):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000
        for i, image in enumerate(numbered_frames(40)[::2]):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = 4 * i if i < 14 else 4 * i + 2 * (i % 2)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    notes = []
    frames = list(read_frames(VideoFrames(path, tuple(range(20))), notes=notes))
    np.testing.assert_allclose(numbers(frames), 2 * np.arange(20), atol=1)
    assert len(notes) == 1 and "phone.mp4 has a variable frame rate" in notes[0] and "fps=25 " in notes[0]


def read_all(path):
    return list(read_frames(VideoFrames(path, tuple(range(probe_video(path).frame_count)))))


def extracted(path, folder):
    """What ``process`` makes of all frames, and the facts it found."""
    (facts,) = probe({"a": path})
    extract_camera(facts, range(facts.frames), (facts.width, facts.height), folder)
    return facts, [cv2.imread(str(image))[:, :, ::-1] for image in sorted(folder.iterdir())]


@pytest.mark.parametrize("size", [(64, 48), (130, 98), (854, 480)])
@pytest.mark.parametrize("chroma", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p"])
def test_eight_bit_frames_are_those_of_opencv(tmp_path, size, chroma):
    """Bit for bit: swscale with bicubic chroma."""
    rng = np.random.default_rng(0)
    noise = [np.kron(rng.integers(0, 256, (size[1] // 2, size[0] // 2, 3)), np.ones((2, 2, 1))) for _ in range(3)]
    path = write_clip(tmp_path / "a.mp4", [image.astype(np.uint8) for image in noise], pix_fmt=chroma)
    reader = cv2.VideoCapture(str(path))
    expected = [cv2.cvtColor(reader.read()[1], cv2.COLOR_BGR2RGB) for _ in noise]
    np.testing.assert_array_equal(read_all(path), expected)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_the_same_for_training_and_process(tmp_path, degrees):
    path = turn(write_clip(tmp_path / "a.mp4", numbered(3)), degrees)
    header = probe_video(path)
    frames = read_all(path)
    facts, images = extracted(path, tmp_path / "out")
    assert frames[0].shape == (header.height, header.width, 3) and frames[0].flags.c_contiguous
    assert (header.width, header.height) == (facts.width, facts.height) == ((64, 48) if degrees == 180 else (48, 64))
    upright = np.rot90(numbered(3)[2], -degrees // 90)  # players turn clockwise
    assert np.abs(frames[2].astype(float) - upright).mean() < 6
    assert np.abs(frames[2].astype(float) - images[2]).mean() < 2


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_the_same_for_training_and_process(tmp_path, transfer):
    path = write_hdr(tmp_path / "a.mp4", transfer)
    facts, images = extracted(path, tmp_path / "out")
    assert facts.hdr and probe_video(path).hdr and probe_video(path).bits == 10
    assert np.abs(np.array(read_all(path), float) - np.array(images)).mean() < 2


def test_times_are_those_of_process_and_of_decoding(tmp_path):
    times = [i / 30 + (0.2 if i > 5 else 0.0) for i in range(12)]
    path = write_clip(tmp_path / "a.mp4", numbered(12), times=times)
    with opened(path) as container:
        decoded = [frame.seconds for frame in decode(container, path)]
    (facts,) = probe({"a": path})
    np.testing.assert_allclose(frame_times(path), decoded)
    np.testing.assert_allclose(facts.local_times(), decoded - np.min(decoded))
    np.testing.assert_allclose(facts.local_times(), times, atol=1e-3)


def trimmed(source, path, skip):
    """Without encoding again: the first ``skip`` frames stay in the file and an edit list hides them."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as out:
        stream = whole.streams.video[0]
        copy = out.add_stream_from_template(stream)
        late = round(skip / stream.average_rate / stream.time_base)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - late, packet.dts - late, copy
                out.mux(packet)
    return path


def test_frames_that_an_edit_list_hides_do_not_count(tmp_path):
    path = trimmed(write_clip(tmp_path / "whole.mp4", numbered(10)), tmp_path / "a.mp4", 3)
    header = probe_video(path)
    assert (header.frame_count, header.hidden_frames) == (7, 3)
    assert [number_of(frame) for frame in read_all(path)] == list(range(3, 10))
    facts, images = extracted(path, tmp_path / "out")
    assert facts.frames == 7 and [number_of(image) for image in images] == list(range(3, 10))
    np.testing.assert_allclose(facts.local_times(), np.arange(7) / 30, atol=1e-3)


def test_an_edit_list_that_ends_early(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(10))
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    content[at : at + 4] = (200).to_bytes(4, "big")  # of 333 ms
    path.write_bytes(content)
    assert probe_video(path).frame_count == len(frame_times(path)) == len(read_all(path)) == 6


@pytest.mark.parametrize("container", ["mkv", "webm", "fragmented.mp4"])
def test_containers_that_do_not_count_their_frames(tmp_path, container):
    path = tmp_path / f"a.{container}"
    options = {"movflags": "frag_keyframe+empty_moov"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as out:
        video = out.add_stream("libvpx-vp9" if container == "webm" else "libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for image in numbered(9):
            out.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(video.encode())
    assert probe_video(path).frame_count == 9 and probe_video(path).fps == 30
    assert [number_of(frame) for frame in read_all(path)] == list(range(9))


def test_ten_bits_and_full_range(tmp_path):
    for i, chroma in enumerate(("yuv420p10le", "yuvj420p")):
        path = write_clip(tmp_path / f"{i}.mp4", numbered(4), pix_fmt=chroma)
        assert probe_video(path).bits == (10 if i == 0 else 8)
        assert [number_of(frame) for frame in read_all(path)] == [0, 1, 2, 3]


def test_odd_size(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(3, 61, 47), pix_fmt="yuv444p")
    assert [frame.shape for frame in read_all(path)] == [(47, 61, 3)] * 3


def test_concealed_damage_is_noted(tmp_path):
    rng = np.random.default_rng(0)
    path = write_clip(tmp_path / "a.mp4", [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(4)])
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + 4000
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    notes = []
    try:
        list(read_frames(VideoFrames(path, (0, 1, 2, 3)), notes=notes))
    except UserError as error:  # where FFmpeg gives up
        notes.append(str(error))
    assert len(notes) == 1 and f"{path}, frame " in notes[0] and "copy the video again" in notes[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_only_regular_local_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", tmp_path):
        with pytest.raises(UserError, match="is not a regular file"):
            probe_video(path)
        with pytest.raises(UserError, match="is not a regular file"):
            list(read_frames(VideoFrames(path, (0,))))
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://localhost:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(UserError, match="cannot be decoded as a video"):
        probe_video(playlist)


def test_a_name_is_no_address(tmp_path):
    path = write_clip(tmp_path / "http:" / "cam 0%d:1.mp4", numbered(2))
    assert probe_video(path).frame_count == 2 and len(read_all(path)) == 2


def test_converting_alone_and_in_a_row_agree(tmp_path):
    path = write_clip(tmp_path / "a.mp4", numbered(2), pix_fmt="yuv444p")
    with opened(path) as container:
        single = [as_rgb(decoded.frame) for decoded in decode(container, path)]
    np.testing.assert_array_equal(single, read_all(path))


def test_a_capture_of_trimmed_videos_says_what_it_leaves_out(tmp_path):
    writers.write_n3dv(tmp_path)
    for path in sorted(tmp_path.glob("*.mp4")):
        size = (probe_video(path).width, probe_video(path).height)
        trimmed(write_clip(tmp_path / "whole" / "a.mp4", numbered(10, *size)), path, 3)
    capture = read_capture(tmp_path)
    assert {len(camera.frames) for camera in capture.cameras} == {7}
    (note,) = (note for note in capture.notes if "edit list" in note)
    assert "cam00 stores 3 more" in note
