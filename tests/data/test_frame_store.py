"""The store holds exactly what decoding gives, survives whatever stops it, and never decodes twice."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fourdgs_ns.data import frame_building, frame_store
from fourdgs_ns.data.capture import Capture, CaptureCamera, ImageFrames, VideoFrames
from fourdgs_ns.data.decoding import read_frames, read_masks
from fourdgs_ns.data.frame_store import cache_directory, open_frame_store
from fourdgs_ns.data.geometry import resampler
from fourdgs_ns.errors import UserError

WIDTH, HEIGHT, N = 64, 48, 40


def write_video(path, seed, n=N, codec="mp4v"):
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (WIDTH, HEIGHT))
    for _ in range(n):
        writer.write(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    writer.release()
    return path


def write_images(folder, seed, n=N, channels=3):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    paths = tuple(folder / f"{i:04}.png" for i in range(n))
    for path in paths:
        shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return ImageFrames(paths)


def make_camera(name, frames, **rest):
    intrinsics = np.array([[60.0, 0.0, 30.0], [0.0, 60.0, 25.0], [0.0, 0.0, 1.0]])
    return CaptureCamera(name, WIDTH, HEIGHT, intrinsics, np.eye(4)[None], frames, np.arange(len(frames)), **rest)


def make_capture(root, *cameras):
    n = max(len(camera.frames) for camera in cameras)
    return Capture(root, "test", cameras, np.arange(n) / 25, ())


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


def open_store(capture, downscale=1.0, masks=False, **options):
    return open_frame_store(capture, downscale, masks=masks, progress=False, **options)


def data_files(capture):
    return sorted((capture.root / ".fourdgs" / "frames").glob("*.rgb*"))


def file_bytes(folder):
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("downscale", [1.0, 2.0])
def test_stored_frames_are_the_decoded_ones_bit_for_bit(capture, downscale):
    store = open_store(capture, downscale)
    total = 0
    for camera in capture.cameras:
        training = store.cameras[camera.name]
        resample = resampler(camera, training)
        expected = np.stack([resample(frame) for frame in read_frames(camera.frames)])
        assert store.shape(camera.name) == expected.shape
        np.testing.assert_array_equal(store.memmap(camera.name), expected)
        out = np.empty(expected.shape[1:], np.uint8)
        for i in (0, len(expected) - 1, 3):
            np.testing.assert_array_equal(store.read(camera.name, i), expected[i])
            assert store.read(camera.name, i, out) is out
            np.testing.assert_array_equal(out, expected[i])
        total += expected.size
    assert store.total_bytes == total
    assert not store.memmap("b").flags.writeable
    # Only finished files remain.
    assert {path.suffix for path in data_files(capture)[0].parent.iterdir() if path.name != ".lock"} == {
        ".rgb",
        ".json",
    }


def test_wrong_reads_are_refused(capture):
    store = open_store(capture)
    for index in (-1, N):
        with pytest.raises(IndexError, match="'b' has 40 frames"):
            store.read("b", index)
    for out in (
        np.empty((HEIGHT, WIDTH, 3), np.float32),
        np.empty((HEIGHT, WIDTH, 4), np.uint8),
        np.empty((HEIGHT, 2 * WIDTH, 3), np.uint8)[:, ::2],
    ):
        with pytest.raises(ValueError, match="out must be"):
            store.read("b", 0, out)


def test_an_unchanged_capture_is_not_decoded_again(capture, decoded):
    open_store(capture)
    assert decoded == {"a.mp4": N // 2, "b.mp4": N, "images": N + 1}  # one image more tells the number of channels
    decoded.clear()
    store = open_store(capture)
    assert not decoded and store.notes == ()


def test_only_what_changed_is_decoded(capture, decoded):
    root = capture.root
    open_store(capture.only_cameras(["a/0"]))
    assert decoded == {"a.mp4": N // 2}
    open_store(capture.only_cameras(["a/0", "b"]))
    assert decoded == {"a.mp4": N // 2, "b.mp4": N}
    decoded.clear()

    write_video(root / "b.mp4", 7)
    store = open_store(capture.only_cameras(["a/0", "b"]))
    assert decoded == {"b.mp4": N}
    np.testing.assert_array_equal(store.read("b", 5), resampled(capture.camera("b"), store)[5])
    decoded.clear()

    open_store(capture.only_cameras(["a/0"]), downscale=2.0)
    open_store(capture.only_cameras(["b"]).only_frames(0, 10, None))
    assert decoded == {"a.mp4": N // 2, "b.mp4": 10}
    decoded.clear()

    # Another calibration changes the pixels of a distorted camera only.
    moved = [replace(camera, intrinsics=camera.intrinsics + np.eye(3)) for camera in capture.cameras[:2]]
    open_store(replace(capture, cameras=tuple(moved)))
    assert decoded == {"b.mp4": N}


def resampled(camera, store):
    resample = resampler(camera, store.cameras[camera.name])
    return [resample(frame) for frame in read_frames(camera.frames)]


def test_a_moved_capture_keeps_its_store(capture, tmp_path, decoded):
    only = capture.only_cameras(["b"])
    open_store(only)
    decoded.clear()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(tmp_path / ".fourdgs", elsewhere / ".fourdgs")
    shutil.copy2(tmp_path / "b.mp4", elsewhere / "b.mp4")
    camera = replace(only.cameras[0], frames=VideoFrames(elsewhere / "b.mp4", tuple(range(N))))
    open_store(make_capture(elsewhere, camera))
    assert not decoded


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
    capture = make_capture(tmp_path, make_camera("b", VideoFrames(write_video(tmp_path / "b.mp4", 3, 90), range(90))))
    directory = tmp_path / "store"
    (tmp_path / "capture.pickle").write_bytes(pickle.dumps(capture))
    code = f"""
import os, pickle, sys, time
from pathlib import Path
from fourdgs_ns.data import frame_building
from fourdgs_ns.data.frame_store import open_frame_store
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


def damage_middle(path):
    with open(path, "r+b") as file:
        file.seek((N // 2) * WIDTH * HEIGHT * 3 + 5)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [damage_middle, lambda path: os.truncate(path, path.stat().st_size - 1), lambda path: os.truncate(path, 0)],
)
def test_a_damaged_file_is_rebuilt(capture, decoded, damage):
    before = open_store(capture).memmap("b").copy()
    (path,) = (p for p in data_files(capture) if p.name.startswith("b-"))
    damage(path)
    decoded.clear()
    store = open_store(capture)
    assert decoded == {"b.mp4": N}
    np.testing.assert_array_equal(store.memmap("b"), before)
    assert len(store.notes) == 1 and "camera 'b' were damaged" in store.notes[0]
    decoded.clear()
    assert open_store(capture).notes == () and not decoded


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"shape": [1], "source": ""}', None])
def test_a_damaged_or_missing_sidecar_is_rebuilt(capture, decoded, content):
    before = open_store(capture).memmap("b").copy()
    (path,) = (p.with_suffix(".json") for p in data_files(capture) if p.name.startswith("b-"))
    path.unlink() if content is None else path.write_text(content)
    decoded.clear()
    np.testing.assert_array_equal(open_store(capture).memmap("b"), before)
    assert decoded == {"b.mp4": N}


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
    with pytest.raises(UserError, match=r"full after 20 of 40 frames of camera 'b'.*--downscale-factor.*--frames"):
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


def test_masks_become_alpha(tmp_path):
    frames = VideoFrames(write_video(tmp_path / "a.mp4", 0), tuple(range(N)))
    masks = write_images(tmp_path / "masks", 1, channels=1)
    plain = make_camera("plain", write_images(tmp_path / "plain", 2))
    capture = make_capture(tmp_path, make_camera("a", frames, masks=masks), plain)
    store = open_store(capture, masks=True)
    assert store.shape("a") == (N, HEIGHT, WIDTH, 4) and store.shape("plain") == (N, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(store.memmap("a")[..., :3], list(read_frames(frames)))
    np.testing.assert_array_equal(store.memmap("a")[..., 3], list(read_masks(masks)))
    without = open_store(capture, masks=False)
    assert without.shape("a")[3] == 3
    np.testing.assert_array_equal(without.memmap("a"), store.memmap("a")[..., :3])

    # Labels leave the colours alone when pixels are averaged, mattes weight them.
    small = open_store(capture, 2.0, masks=False).memmap("a")
    labelled = open_store(replace(capture, masks_are_mattes=False), 2.0, masks=True).memmap("a")
    matted = open_store(capture, 2.0, masks=True).memmap("a")
    np.testing.assert_array_equal(labelled[..., :3], small)
    blocks = store.memmap("a").reshape(N, HEIGHT // 2, 2, WIDTH // 2, 2, 4).astype(np.float64)
    colour = (blocks[..., :3] * blocks[..., 3:]).sum((2, 4)) / np.maximum(blocks[..., 3:].sum((2, 4)), 1e-9)
    assert np.abs(matted[..., :3] - colour).max() < 0.51
    assert np.abs(matted[..., 3] - blocks[..., 3].mean((2, 4))).max() < 0.51

    with pytest.raises(UserError, match="'a' has 40 frames but 39 masks"):
        open_store(make_capture(tmp_path, make_camera("a", frames, masks=masks.take(range(N - 1)))), masks=True)


def test_images_with_alpha_stay_rgba(tmp_path):
    images = write_images(tmp_path / "images", 0, channels=4)
    store = open_store(make_capture(tmp_path, make_camera("a", images)))
    np.testing.assert_array_equal(store.memmap("a"), list(read_frames(images)))
    masks = write_images(tmp_path / "masks", 1, channels=1)
    both = open_store(make_capture(tmp_path, make_camera("a", images, masks=masks)), masks=True)
    product = store.memmap("a")[..., 3] / 255.0 * np.stack(list(read_masks(masks)))
    assert np.abs(both.memmap("a")[..., 3] - product).max() <= 0.51


def test_uneven_frame_rates_are_noted_at_every_opening(capture, monkeypatch):
    def noting(source, *, notes, **options):
        yield from read_frames(source, notes=notes, **options)
        notes.append("uneven")

    monkeypatch.setattr(frame_building, "read_frames", noting)
    capture = capture.only_cameras(["b"])
    assert open_store(capture).notes == ("uneven",)
    assert open_store(capture).notes == ("uneven",)


def test_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "capture"
    root.mkdir()
    assert cache_directory(root) == root / ".fourdgs"

    def read_only(**options):
        if Path(options["dir"]).is_relative_to(root):
            raise OSError(errno.EROFS, "Read-only file system")
        return really_create(**options)

    really_create = frame_store.tempfile.NamedTemporaryFile
    monkeypatch.setattr(frame_store.tempfile, "NamedTemporaryFile", read_only)
    elsewhere = cache_directory(root)
    assert elsewhere.parent == tmp_path / "cache" / "fourdgs-ns" and elsewhere.name.startswith("capture-")
    assert elsewhere.is_dir() and cache_directory(root) == elsewhere
    other = tmp_path / "other" / "capture"
    assert cache_directory(other).parent == other or cache_directory(other) != elsewhere
    assert not other.exists()  # a missing capture is not created

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        cache_directory(root)


def test_two_builders_at_once_decode_once(capture, tmp_path, decoded):
    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(lambda _: open_store(capture), range(2)))
    assert decoded["b.mp4"] == N
    np.testing.assert_array_equal(stores[0].memmap("b"), stores[1].memmap("b"))


def test_reading_from_several_threads_and_after_pickling(capture):
    store = open_store(capture)
    expected = store.memmap("b").copy()
    copied = pickle.loads(pickle.dumps(store))
    barrier, failures = threading.Barrier(8), []

    def work(seed):
        rng, out = np.random.default_rng(seed), np.empty(expected.shape[1:], np.uint8)
        barrier.wait()
        for i in rng.integers(0, N, 300):
            if not np.array_equal((store, copied)[seed % 2].read("b", int(i), out), expected[i]):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_reading_does_not_make_the_process_grow(tmp_path):
    n = 500
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 134, 3), dtype=np.uint8)).save(folder / "0.png")
    camera = replace(make_camera("a", ImageFrames((folder / "0.png",) * n)), width=134, height=100)
    store = open_store(make_capture(tmp_path, camera))
    assert store.total_bytes > 20e6
    out = store.read("a", 0)

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    for i in range(n):
        store.read("a", i, out)
    assert resident() - before < 3e6
    # The measurement would see it: touching a map of the same file does make the process grow.
    before, frames = resident(), store.memmap("a")
    assert frames[:, ::8, ::8].sum() > 0
    assert resident() - before > 15e6
