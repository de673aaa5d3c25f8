"""The store holds exactly what decoding gives, never decodes twice, and rebuilds what was damaged."""

import os
import pickle
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourdgs_ns.capture.capture import ImageFrames, VideoFrames
from fourdgs_ns.capture.frames import building as frame_building
from fourdgs_ns.capture.sources import read_frames, read_masks
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.geometry.resampling import Resampler
from tests.capture.small_captures import (
    HEIGHT,
    WIDTH,
    N,
    make_camera,
    make_capture,
    open_store,
    write_images,
    write_video,
)


def data_files(capture):
    return sorted((capture.root / ".fourdgs" / "frames").glob("*.rgb*"))


@pytest.mark.parametrize("downscale", [1.0, 2.0])
def test_stored_frames_are_the_decoded_ones_bit_for_bit(capture, downscale):
    store = open_store(capture, downscale)
    total = 0
    for camera in capture.cameras:
        resample = Resampler(camera.camera, store.cameras[camera.name])
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
    moved = [
        replace(camera, camera=replace(camera.camera, intrinsics=camera.camera.intrinsics + np.eye(3)))
        for camera in capture.cameras[:2]
    ]
    open_store(replace(capture, cameras=tuple(moved)))
    assert decoded == {"b.mp4": N}


def resampled(camera, store):
    resample = Resampler(camera.camera, store.cameras[camera.name])
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


def damage_frame(path, index=N // 2):
    with open(path, "r+b") as file:
        file.seek(index * WIDTH * HEIGHT * 3 + 5)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    "damage",
    [damage_frame, lambda path: os.truncate(path, path.stat().st_size - 1), lambda path: os.truncate(path, 0)],
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


@pytest.mark.parametrize("whole", [False, True])
def test_a_damaged_frame_is_found_when_it_is_first_read(capture, decoded, whole):
    before = open_store(capture).memmap("b").copy()
    (path,) = (p for p in data_files(capture) if p.name.startswith("b-"))
    damage_frame(path, 1)  # opening looks at the first, the middle and the last
    store = open_store(capture)
    np.testing.assert_array_equal(store.read("b", 0), before[0])
    with pytest.raises(UserError, match=r"frame 1 of camera 'b' in .* is damaged .* start again"):
        store.memmap("b") if whole else store.read("b", 1)
    np.testing.assert_array_equal(open_store(capture).memmap("b"), before)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"shape": [1], "source": ""}', None])
def test_a_damaged_or_missing_sidecar_is_rebuilt(capture, decoded, content):
    before = open_store(capture).memmap("b").copy()
    (path,) = (p.with_suffix(".json") for p in data_files(capture) if p.name.startswith("b-"))
    path.unlink() if content is None else path.write_text(content)
    decoded.clear()
    np.testing.assert_array_equal(open_store(capture).memmap("b"), before)
    assert decoded == {"b.mp4": N}


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
    camera = make_camera("a", ImageFrames((folder / "0.png",) * n))
    camera = replace(camera, camera=replace(camera.camera, width=134, height=100))
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
