"""Building the store survives whatever stops it, and says what it cannot decode or store."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fourdgs_ns.capture.capture import VideoFrames
from fourdgs_ns.capture.frames import building as frame_building
from fourdgs_ns.capture.sources import read_frames
from fourdgs_ns.common.errors import UserError
from tests.capture.small_captures import (
    HEIGHT,
    WIDTH,
    N,
    file_bytes,
    make_camera,
    make_capture,
    open_store,
    write_images,
    write_video,
)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("after", [0, 5, 37])
def test_an_interrupted_build_continues(capture, tmp_path, monkeypatch, interruption, after):
    reference = tmp_path / "reference"
    open_store(capture, directory=reference)

    def failing(source, *, start=0, **options):
        for i, frame in enumerate(read_frames(source, start=start, **options)):
            if i == after and len(source) > 1:
                raise interruption("stopped")
            yield frame

    monkeypatch.setattr(frame_building, "read_frames", failing)
    directory = tmp_path / "store"
    with pytest.raises(interruption):
        open_store(capture, directory=directory)
    assert list(directory.glob("*.part"))

    starts = []

    def watching(source, *, start=0, **options):
        if len(source) > 1:
            starts.append(start)
        return read_frames(source, start=start, **options)

    monkeypatch.setattr(frame_building, "read_frames", watching)
    open_store(capture, directory=directory)
    # The first camera to fail had written exactly `after` frames; those it stopped may have less.
    assert max(starts) == after
    assert file_bytes(directory) == file_bytes(reference)


def test_a_killed_build_continues_from_its_last_record(capture, tmp_path, decoded):
    capture = capture.only_cameras(["b"])
    reference, directory = tmp_path / "reference", tmp_path / "store"
    open_store(capture, directory=reference)
    # What a kill leaves: frames after the last record, the last one half written, and one frame that never reached
    # the disk although the record counts it.
    (data,), (sidecar,) = reference.glob("*.rgb"), reference.glob("*.json")
    directory.mkdir()
    facts = json.loads(sidecar.read_text())
    frame_bytes = WIDTH * HEIGHT * 3
    part = bytearray(data.read_bytes()[: int(35.5 * frame_bytes)])
    part[30 * frame_bytes : 31 * frame_bytes] = bytes(frame_bytes)
    (directory / f"{data.stem}.part").write_bytes(part)
    (directory / f"{data.stem}.part.json").write_text(json.dumps({**facts, "crc32": facts["crc32"][:32]}))
    decoded.clear()
    open_store(capture, directory=directory)
    assert decoded["b.mp4"] == N - 30
    assert file_bytes(directory) == file_bytes(reference)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_process_ended_while_building_is_continued(tmp_path, ending):
    """The same with a real kill, and a real Ctrl-C, of another process."""
    capture = make_capture(
        tmp_path, make_camera("b", VideoFrames(write_video(tmp_path / "b.mp4", 3, 90), tuple(range(90))))
    )
    directory = tmp_path / "store"
    (tmp_path / "capture.pickle").write_bytes(pickle.dumps(capture))
    code = f"""
import os, pickle, sys, time
from pathlib import Path
from fourdgs_ns.capture.frames import building as frame_building
from fourdgs_ns.capture.frames.store import open_frame_store
write = frame_building.write_at
def ending(fd, pixels, offset):
    write(fd, pixels, offset)
    if offset == 70 * pixels.nbytes:
        os.kill(os.getpid(), {int(ending)})
        time.sleep(0.5)
frame_building.write_at = ending
capture = pickle.loads(Path(sys.argv[1]).read_bytes())
open_frame_store(capture, 1.0, masks=False, directory=Path(sys.argv[2]), progress=False)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "capture.pickle"), str(directory)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -ending
    progress = json.loads(next(directory.glob("*.part.json")).read_text())
    # Killed: the last record. Interrupted: also the frame at hand.
    assert len(progress["crc32"]) == (64 if ending == signal.SIGKILL else 71)
    store = open_store(capture, directory=directory)
    np.testing.assert_array_equal(store.memmap("b"), list(read_frames(capture.cameras[0].frames)))


def test_a_full_disk_is_reported_and_continued(capture, tmp_path, monkeypatch, decoded):
    capture = capture.only_cameras(["b"])
    reference, directory = tmp_path / "reference", tmp_path / "store"
    open_store(capture, directory=reference)
    decoded.clear()
    write = os.pwrite

    def full(fd, data, offset):
        room = 20 * WIDTH * HEIGHT * 3 + 1000 - offset
        if room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:room], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"full; 20 of 40 frames of camera 'b'.*--downscale-factor.*--frames"):
        open_store(capture, directory=directory)
    assert next(directory.glob("*.part")).stat().st_size == 20 * WIDTH * HEIGHT * 3
    monkeypatch.setattr(os, "pwrite", write)
    decoded.clear()
    open_store(capture, directory=directory)
    assert decoded["b.mp4"] == 20
    assert file_bytes(directory) == file_bytes(reference)


def test_too_little_space_is_found_before_decoding(capture, monkeypatch, decoded):
    usage = shutil.disk_usage(capture.root)._replace(free=300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    capture = capture.only_cameras(["b"])
    with pytest.raises(
        UserError, match=r"40 frames of 1 camera\(s\) needs 368\.6 kB.*has 300\.0 kB free.*--downscale-factor"
    ):
        open_store(capture)
    assert not decoded
    open_store(capture, downscale=2.0)


def test_undecodable_sources_name_camera_and_frame(tmp_path):
    truncated = write_video(tmp_path / "cut.avi", 0, codec="MJPG")
    os.truncate(truncated, truncated.stat().st_size // 2)
    bad_video = make_capture(tmp_path, make_camera("left", VideoFrames(truncated, tuple(range(N)))))
    with pytest.raises(UserError, match=r"camera 'left': .*cut\.avi ends after \d+.* frame 39 is wanted"):
        open_store(bad_video)

    images = write_images(tmp_path / "images", 0)
    os.truncate(images.paths[7], 100)
    with pytest.raises(UserError, match=r"camera 'right': .*0007\.png cannot be decoded"):
        open_store(make_capture(tmp_path, make_camera("right", images)))
    images.paths[7].unlink()
    with pytest.raises(UserError, match=r"0007\.png cannot be read"):
        open_store(make_capture(tmp_path, make_camera("right", images)))

    Image.fromarray(np.zeros((HEIGHT, 10, 3), np.uint8)).save(images.paths[7])
    with pytest.raises(UserError, match=r"camera 'right': .*0007\.png is 10x48 pixels.*64x48"):
        open_store(make_capture(tmp_path, make_camera("right", images)))
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 4), np.uint8)).save(images.paths[7])
    with pytest.raises(UserError, match=r"0007\.png has an alpha channel"):
        open_store(make_capture(tmp_path, make_camera("right", images)))


def test_two_builders_at_once_decode_once(capture, tmp_path, decoded):
    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(lambda _: open_store(capture), range(2)))
    assert decoded["b.mp4"] == N
    np.testing.assert_array_equal(stores[0].memmap("b"), stores[1].memmap("b"))
