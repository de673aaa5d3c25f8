from collections import Counter

import pytest

from fourdgs_ns.capture.capture import VideoFrames
from fourdgs_ns.capture.frames import building as frame_building
from fourdgs_ns.capture.sources import read_frames
from tests.capture.small_captures import N, make_camera, make_capture, write_images, write_video


@pytest.fixture
def capture(tmp_path):
    """A video with some of its frames wanted, a distorted video, and an image sequence."""
    wanted = tuple(range(1, N, 2))
    return make_capture(
        tmp_path,
        make_camera("a/0", VideoFrames(write_video(tmp_path / "a.mp4", 0), wanted)),
        make_camera("b", VideoFrames(write_video(tmp_path / "b.mp4", 1), tuple(range(N))), distortion=(-0.2, 0.05)),
        make_camera("c", write_images(tmp_path / "c", 2)),
    )


@pytest.fixture
def decoded(monkeypatch):
    """Counts the frames that come out of the decoder, by the source's name."""
    counts = Counter()

    def counting(source, **options):
        for frame in read_frames(source, **options):
            counts[getattr(source, "path", source).name if isinstance(source, VideoFrames) else "images"] += 1
            yield frame

    monkeypatch.setattr(frame_building, "read_frames", counting)
    return counts
