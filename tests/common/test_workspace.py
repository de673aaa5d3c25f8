"""Keys of what is kept, where it is kept, and that only one process makes it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from fourdgs_ns.common import files
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.workspace import Workspace, cache_directory, digest, only_builder, stamp


def test_a_digest_forgets_the_last_digits_and_the_order_of_names_only():
    assert digest({"a": 0.1 + 0.2, "b": [1, -0.0]}) == digest({"b": (1, 0.0), "a": 0.3})
    assert digest(np.float64(1 / 3)) == digest(0.33333333333)
    assert digest({"a": 1}) != digest({"a": 2}) != digest({"b": 2})
    assert digest([1, 2]) != digest([2, 1]) and digest(1.00001) != digest(1.0)


def test_a_stamp_follows_the_file_and_a_capture_may_be_moved(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text("1")
        os.utime(tmp_path / folder / "x", ns=(5, 5))
    file, moved = tmp_path / "a" / "x", tmp_path / "b" / "x"
    assert stamp(file, tmp_path / "a") == stamp(moved, tmp_path / "b") and stamp(file) != stamp(moved)
    before = stamp(file)
    os.utime(file, ns=(6, 6))
    assert stamp(file) != before
    with pytest.raises(UserError, match=r"cannot be read.*put the file back"):
        stamp(tmp_path / "nothing")


def test_a_step_runs_again_when_what_decides_it_changes(tmp_path):
    workspace, numbers = Workspace.open(tmp_path / "out"), iter(range(1, 9))

    def run(facts, **options):
        return workspace.run("probe", facts, lambda: {"n": next(numbers)}, **options)

    assert run([1.0]) == ({"n": 1}, False) and run([1.0 + 1e-12]) == ({"n": 1}, True)
    assert run([2.0]) == ({"n": 2}, False)
    assert run([2.0], reuse=lambda result: False) == ({"n": 3}, False)
    workspace.forget("probe")
    assert run([2.0]) == ({"n": 4}, False)


def test_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "capture"
    root.mkdir()
    assert cache_directory(root) == root / ".fourdgs"

    def read_only(**options):
        if Path(options["dir"]).is_relative_to(root):
            raise OSError(errno.EROFS, "Read-only file system")
        return really_create(**options)

    really_create = files.tempfile.NamedTemporaryFile
    monkeypatch.setattr(files.tempfile, "NamedTemporaryFile", read_only)
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


def test_the_second_builder_waits_and_says_so(tmp_path, capsys):
    order = []

    def build(name):
        with only_builder(tmp_path, "filling"):
            order.append(name)
            time.sleep(0.2)
            order.append(name)

    threads = [threading.Thread(target=build, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order in (list("aabb"), list("bbaa"))
    assert f"waiting for another process that is filling {tmp_path}" in capsys.readouterr().err


def test_a_builder_that_was_killed_does_not_block(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from fourdgs_ns.common.workspace import only_builder\n"
        "with only_builder(Path(sys.argv[1]), 'dying in'):\n    os._exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 3
    with only_builder(tmp_path, "living in"):
        pass


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    from filelock import FileLock

    def refuse(self, **options):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with only_builder(tmp_path, "building in"):
        pass
