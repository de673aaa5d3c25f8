"""Folders, videos and images that cannot be used end in one sentence that names the file or camera and says what to do."""

from contextlib import nullcontext
from types import SimpleNamespace

import av
import numpy as np
import pytest

from fourdgs_ns.capture import video_header
from fourdgs_ns.capture.images import probe_image
from fourdgs_ns.capture.layouts import capture_layouts, read_capture
from fourdgs_ns.capture.video_header import probe_video
from tests.capture import writers
from tests.capture.refusals import refused, truncate

# Folders


def test_missing_folder(tmp_path):
    refused(lambda: read_capture(tmp_path / "nowhere"), "nowhere", "does not exist")


def test_file_instead_of_folder(tmp_path):
    video = writers.write_video(tmp_path / "cam00.mp4")
    refused(lambda: read_capture(video), "cam00.mp4", "not a folder")


def test_empty_folder(tmp_path):
    refused(
        lambda: read_capture(tmp_path), tmp_path, "holds nothing", "poses_bounds.npy", "intri.yml", "transforms.json"
    )


def test_folder_of_no_layout(tmp_path):
    writers.write_image(tmp_path / "holiday.png")
    refused(lambda: read_capture(tmp_path), "holds holiday.png")


def test_folder_above_the_capture(tmp_path):
    writers.write_n3dv(tmp_path / "scene")
    refused(lambda: read_capture(tmp_path), f"did you mean {tmp_path / 'scene'}?")


def test_unknown_layout(tmp_path):
    refused(lambda: read_capture(tmp_path, "llff"), "llff", *capture_layouts())


@pytest.mark.parametrize("layout", capture_layouts())
def test_layout_by_name_on_an_empty_folder(layout, tmp_path):
    refused(lambda: read_capture(tmp_path, layout), tmp_path)


# Videos


def test_no_videos(tmp_path):
    writers.write_poses_bounds(tmp_path, writers.rig())
    refused(lambda: read_capture(tmp_path), tmp_path, "cam*.mp4")


def test_text_named_mp4(tmp_path):
    writers.write_n3dv(tmp_path)
    (tmp_path / "cam01.mp4").write_text("this is no video\n" * 50)
    refused(lambda: read_capture(tmp_path), tmp_path / "cam01.mp4", "not a video", "ffmpeg")


def test_empty_mp4(tmp_path):
    writers.write_n3dv(tmp_path)
    (tmp_path / "cam01.mp4").write_bytes(b"")
    refused(lambda: read_capture(tmp_path), tmp_path / "cam01.mp4", "0 bytes")


def test_truncated_mp4(tmp_path, capfd):
    writers.write_n3dv(tmp_path, frames=30)
    truncate(tmp_path / "cam02.mp4", 1000)
    refused(lambda: read_capture(tmp_path), tmp_path / "cam02.mp4", "cut off")
    assert "moov" not in capfd.readouterr().err  # FFmpeg's own words stay away


def test_download_that_stopped_early(tmp_path):
    """With its index in front (as for streaming) a cut file still opens and promises every frame."""
    with av.open(str(tmp_path / "cam00.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = writers.WIDTH, writers.HEIGHT, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 255, (20, writers.HEIGHT, writers.WIDTH, 3), np.uint8)
        for image in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    path = tmp_path / "cam00.mp4"
    assert probe_video(path).frame_count == 20
    truncate(path, path.stat().st_size * 2 // 3)
    refused(lambda: probe_video(path), path, "ends before its last frame")


class Liar:
    """``truth`` except for what ``lies`` say."""

    def __init__(self, truth, **lies):
        self.truth = truth
        vars(self).update(lies)

    def __getattr__(self, name):
        return getattr(self.truth, name)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"index_entries": []}, "0 frames"),
        ({"frames": -2562047788015215}, "frames, so the file is truncated"),
        ({"frames": 20_000_000}, "20000000 frames"),
        ({"guessed_rate": 0.0}, "0 frames per second"),
        ({"guessed_rate": float("nan")}, "nan frames per second"),
        ({"width": 100_000}, "100000x24"),
        ({"height": 0}, "32x0"),
    ],
)
def test_header_that_claims_the_impossible(header, found, tmp_path, monkeypatch):
    path = writers.write_video(tmp_path / "cam00.mp4")
    container = av.open(str(path))
    stream = container.streams.video[0]
    liar = Liar(stream, codec_context=Liar(stream.codec_context, **header), **header)
    lying = nullcontext(Liar(container, streams=SimpleNamespace(video=[liar])))
    monkeypatch.setattr(video_header, "opened", lambda _: lying)
    refused(lambda: probe_video(path), path, found)


def test_different_rates(tmp_path):
    writers.write_n3dv(tmp_path)
    writers.write_video(tmp_path / "cam01.mp4", 5, fps=25.0)
    refused(lambda: read_capture(tmp_path), "cam01", "25", "30", "ffmpeg -i INPUT -r 30")


def test_rates_that_drift_apart_over_a_long_clip(tmp_path):
    writers.write_n3dv(tmp_path, frames=600)
    writers.write_video(tmp_path / "cam01.mp4", 600, fps=29.97)
    refused(lambda: read_capture(tmp_path), "cam01", "29.97", "ffmpeg")


def test_unequal_lengths(tmp_path):
    writers.write_n3dv(tmp_path, frames=20)
    writers.write_video(tmp_path / "cam02.mp4", 10)
    refused(lambda: read_capture(tmp_path), "cam02", "has 10 frames", "20", "cut all cameras")


# Images


def test_gap_in_the_numbering(tmp_path):
    writers.write_easyvolcap(tmp_path, frames=range(10))
    (tmp_path / "images/01/000004.png").unlink()
    refused(lambda: read_capture(tmp_path), "camera '01'", "lacks frame 4", "000003.png", "000005.png")


def test_gap_in_steps_of_ten(tmp_path):
    writers.write_easyvolcap(tmp_path, frames=range(0, 80, 10))
    (tmp_path / "images/01/000040.png").unlink()
    refused(lambda: read_capture(tmp_path), "camera '01'", "lacks frame 40")


def test_two_files_for_one_frame(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_image(tmp_path / "images/01/000002.jpg")
    refused(lambda: read_capture(tmp_path), "camera '01'", "two files for frame 2", "000002.jpg")


def test_sizes_inside_a_camera(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_image(tmp_path / "images/01/000003.png", 16, 12)
    refused(lambda: read_capture(tmp_path), "camera '01'", "000003.png", "16x12", "32x24")


def test_text_named_png(tmp_path):
    writers.write_easyvolcap(tmp_path)
    (tmp_path / "images/01/000000.png").write_text("no image")
    refused(lambda: read_capture(tmp_path), tmp_path / "images/01/000000.png", "not an image")


def test_image_header_that_claims_the_impossible(tmp_path):
    """A PNG header of 100000x100000 pixels must be refused without allocating them."""
    path = writers.write_image(tmp_path / "bomb.png")
    content = bytearray(path.read_bytes())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    path.write_bytes(content)
    refused(lambda: probe_image(path), path)


def test_frame_numbers_that_do_not_meet(tmp_path):
    cameras = writers.rig(("00", "01"))
    writers.write_easyvolcap_calibration(tmp_path, cameras)
    writers.write_images(tmp_path / "images/00", range(5))
    writers.write_images(tmp_path / "images/01", range(100, 105))
    refused(lambda: read_capture(tmp_path), "'00' has frames 0 to 4", "'01' has 100 to 104")


def test_frame_without_mask(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_images(tmp_path / "masks/01", range(3), channels=1)
    refused(lambda: read_capture(tmp_path), "frame 3 of camera '01'", "masks")


def test_masks_of_another_size(tmp_path):
    writers.write_easyvolcap(tmp_path)
    writers.write_images(tmp_path / "masks/01", range(4), 16, 12, channels=1)
    refused(lambda: read_capture(tmp_path), "camera '01'", "16x12", "32x24")
