"""Without what only POSIX systems have, every module can be imported, and frames are stored and read."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np

from fourdgs_ns.capture.capture import VideoFrames
from fourdgs_ns.capture.sources import read_frames
from tests.capture.small_captures import N, make_camera, make_capture, write_video

# Libraries come first, with what they use: here it is our own code that must do without.
CODE = """
import importlib, os, pickle, pkgutil, shutil, sys, types
from pathlib import Path
import av, cv2, filelock, multiprocessing.util, nerfstudio.engine.trainer, numba, platformdirs, pycolmap, rich.progress
import scipy.spatial, tempfile, torch, tyro, viser

MODULES = "fcntl resource pwd grp termios tty posix".split()
FUNCTIONS = (
    "preadv pread pwrite pwritev sched_getaffinity statvfs fstatvfs fork forkpty register_at_fork sysconf getuid geteuid "
    "getloadavg chown mkfifo getpgid killpg setsid"
).split()
before = set(sys.modules)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ImportError(f"{name} is not there")

for name in MODULES:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Refuse())
for name in FUNCTIONS:
    if hasattr(os, name):
        delattr(os, name)
shutil.disk_usage = lambda path: types.SimpleNamespace(free=1 << 40)  # asks another function elsewhere

import fourdgs_ns
failed = {}
for found in pkgutil.walk_packages(fourdgs_ns.__path__, "fourdgs_ns."):
    try:
        importlib.import_module(found.name)
    except Exception as error:
        failed[found.name] = repr(error)
assert not failed, failed

from fourdgs_ns.capture.frames.store import open_frame_store
from fourdgs_ns.common.cores import available_cores
from fourdgs_ns.common.files import write_text
from fourdgs_ns.common.machine_memory import SUPPOSED, free_host_memory, host_memory, peak_host_memory

folder = Path(sys.argv[1])
capture = pickle.loads((folder / "capture.pickle").read_bytes())
store = open_frame_store(capture, 1.0, masks=False, directory=folder / "store", progress=False)
frames = [store.read("b", index) for index in range(store.shape("b")[0])]
write_text(folder / "sum", str(sum(int(frame.sum()) for frame in frames)))
assert available_cores() >= 1 and free_host_memory() > 0 and host_memory() == SUPPOSED and peak_host_memory() == 0
"""


def test_nothing_needs_posix(tmp_path):
    video = VideoFrames(write_video(tmp_path / "b.mp4", 3), tuple(range(N)))
    (tmp_path / "capture.pickle").write_bytes(pickle.dumps(make_capture(tmp_path, make_camera("b", video))))
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], check=False, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sum").read_text() == str(
        sum(int(np.sum(frame, dtype=np.int64)) for frame in read_frames(video))
    )
