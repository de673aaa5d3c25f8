"""Frames come in order, in RGB, and damaged sources are named."""

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from fourdgs_ns.capture.capture import ImageFrames, VideoFrames
from fourdgs_ns.capture.decoding import check_constant_rate, read_frames, read_masks
from fourdgs_ns.common.errors import UserError

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


def test_images_of_every_kind(tmp_path):
    rng = np.random.default_rng(0)
    rgb, rgba = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8), rng.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    gray = rgb[:, :, 0]
    deep = rng.integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([gray, rgb[:, :, 1]]), "LA").save(tmp_path / "gray_alpha.png")
    Image.fromarray(gray > 99).save(tmp_path / "bits.png")
    cv2.imwrite(str(tmp_path / "deep.png"), deep[:, :, ::-1])
    expected = {
        "rgb": rgb,
        "rgba": rgba,
        "gray": np.dstack([gray] * 3),
        "gray_alpha": np.dstack([gray, gray, gray, rgb[:, :, 1]]),
        "bits": np.dstack([(gray > 99) * np.uint8(255)] * 3),
        "deep": np.rint(deep / 257.0).astype(np.uint8),
    }
    found = read_frames(ImageFrames(tuple(tmp_path / f"{name}.png" for name in expected)))
    for name, image in zip(expected, found, strict=True):
        np.testing.assert_array_equal(image, expected[name], err_msg=name)
    assert len(list(read_frames(ImageFrames((tmp_path / "rgb.png",) * 3), start=1))) == 2


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=exif)
    assert next(read_frames(ImageFrames((tmp_path / "turned.jpg",)))).shape == (16, 32, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_images_are_errors(tmp_path, suffix, capfd):
    path = tmp_path / f"0001.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    assert next(read_frames(ImageFrames((path,)))).shape == (64, 64, 3)
    if suffix == "jpg":  # data appended by the camera is no damage
        path.write_bytes(whole + b"SEFT of a phone")
        assert next(read_frames(ImageFrames((path,)))).shape == (64, 64, 3)
    for rest in (whole[: len(whole) // 2], b""):
        path.write_bytes(rest)
        with pytest.raises(UserError, match=rf"0001\.{suffix} cannot be decoded as an image"):
            list(read_frames(ImageFrames((path,))))


def test_floating_point_images_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "hdr.tiff"), np.zeros((4, 4, 3), np.float32))
    with pytest.raises(UserError, match=r"hdr\.tiff holds float32 values"):
        list(read_frames(ImageFrames((tmp_path / "hdr.tiff",))))


def test_masks_of_every_kind(tmp_path):
    subject = np.zeros((6, 8), bool)
    subject[1:4, 2:7] = True
    white = subject * np.uint8(255)
    opaque = np.full_like(white, 255)
    kinds = {
        "gray": white,
        "bits": subject,
        "zero_one": subject.astype(np.uint8),
        "deep": (subject * 65535).astype(np.uint16),
        "deep_zero_one": subject.astype(np.uint16),
        "colour": np.dstack([white, 0 * white, 0 * white]),
        "opaque_rgba": np.dstack([white, white, white, opaque]),
        "cutout": np.dstack([opaque, 0 * white, 0 * white, white]),
    }
    for name, image in kinds.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    found = read_masks(ImageFrames(tuple(tmp_path / f"{name}.png" for name in kinds)))
    for name, mask in zip(kinds, found, strict=True):
        np.testing.assert_array_equal(mask, white, err_msg=name)


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
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 4_000_000
        for i, image in enumerate(numbered_frames(40)[::2]):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts = i if i < 10 else i + 3
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    notes = []
    frames = list(read_frames(VideoFrames(path, tuple(range(20))), notes=notes))
    np.testing.assert_allclose(numbers(frames), 2 * np.arange(20), atol=1)
    assert len(notes) == 1 and "phone.mp4 has a variable frame rate" in notes[0] and "fps=25 " in notes[0]
