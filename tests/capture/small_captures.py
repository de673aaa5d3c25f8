"""Captures of random pixels, held in memory but for their files, and the store of their frames."""

import cv2
import numpy as np
from PIL import Image

from fourdgs_ns.capture.capture import Capture, ImageFrames, RecordedCamera
from fourdgs_ns.capture.frames.store import open_frame_store
from fourdgs_ns.geometry.camera import Camera

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


def make_camera(name, frames, masks=None, distortion=()):
    intrinsics = np.array([[60.0, 0.0, 30.0], [0.0, 60.0, 25.0], [0.0, 0.0, 1.0]])
    return RecordedCamera(
        Camera(name, WIDTH, HEIGHT, intrinsics, np.eye(4), distortion), frames, np.arange(len(frames)), masks
    )


def make_capture(root, *cameras):
    n = max(len(camera.frames) for camera in cameras)
    return Capture(root, "test", cameras, np.arange(n) / 25, ())


def open_store(capture, downscale=1.0, masks=False, **options):
    return open_frame_store(capture, downscale, masks=masks, progress=False, **options)


def file_bytes(folder):
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name != ".lock"
    }
