"""Files and folders that appear whole or not at all, and the one line about a disk that refuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import appearing, discard_begun, disk_error, make_folder, replacing, write_json, write_text


@pytest.fixture
def full(monkeypatch):
    """A disk that is full when a name is to be given."""

    def refuse(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)


def test_a_file_is_old_or_new(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old ä")
    with replacing(path) as part:
        part.write_text("new")
        assert str(os.getpid()) in part.name and path.read_text("utf8") == "old ä"
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_the_temporary_name_may_lie_elsewhere(tmp_path):
    with replacing(tmp_path / "listed" / "a", part_folder=tmp_path / "parts") as part:
        part.write_text("x")
        assert part.parent == tmp_path / "parts" and list((tmp_path / "listed").iterdir()) == []
    assert (tmp_path / "listed" / "a").read_text() == "x" and list((tmp_path / "parts").iterdir()) == []


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append("sync"))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("name"), replace(*names)))
    write_json(tmp_path / "a.json", {"a": 1})
    assert done == ["sync", "name", "sync"]  # the file, its name, the folder that holds the name


def test_what_dead_processes_left_is_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (
        f".a.json.{dead.pid}.part",
        f".b.json.{dead.pid}.part",
        f".a.json.{os.getppid()}.part",
        ".a.json.x.part",
    ):
        (tmp_path / name).write_text("half")
    write_json(tmp_path / "a.json", {})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.json", f".b.json.{dead.pid}.part", f".a.json.{os.getppid()}.part", ".a.json.x.part"}


def test_a_folder_whose_replacement_was_killed_is_back(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old, part = tmp_path / f".out.{dead.pid}.old", tmp_path / f".out.{dead.pid}.part"
    old.mkdir()
    part.mkdir()
    (old / "precious").write_text("")
    with pytest.raises(RuntimeError), appearing(tmp_path / "out"):
        raise RuntimeError
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["out", "out/precious"]


def test_all_that_is_begun_can_be_discarded_at_once(tmp_path):
    with pytest.raises(UserError), replacing(tmp_path / "a") as part, appearing(tmp_path / "b") as folder:
        part.write_text("half")
        (folder / "half").write_text("")
        discard_begun()
        assert list(tmp_path.iterdir()) == []


def test_a_folder_is_old_or_new(tmp_path):
    folder = tmp_path / "out"
    for content in ("old", "new"):
        with appearing(folder) as part:
            (part / content).write_text(content)
            assert content == "old" or (folder / "old").exists()
    assert [p.name for p in folder.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [folder]
    with pytest.raises(KeyboardInterrupt), appearing(folder) as part:
        (part / "half").write_text("")
        raise KeyboardInterrupt
    assert [p.name for p in folder.iterdir()] == ["new"] and list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_be_replaced_is_kept(tmp_path, monkeypatch):
    folder, replace = tmp_path / "out", os.replace
    folder.mkdir()
    (folder / "old").write_text("")

    def second_fails(source, target):
        if str(source).endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(UserError, match="the disk is full"), appearing(folder):
        pass
    assert [p.name for p in folder.iterdir()] == ["old"] and list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("kind", [replacing, appearing])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, full, kind):
    with (
        pytest.raises(UserError, match=r"a cannot be written: the disk is full; free some space and type"),
        kind(tmp_path / "a") as part,
    ):
        part.exists() or part.write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for path, kind, says in (
        ("file", replacing, "exists already"),
        ("folder", appearing, "exists already"),
    ):
        with pytest.raises(UserError, match=says), kind(tmp_path / path, overwrite=False):
            pass
    with pytest.raises(UserError, match="is a folder"), replacing(tmp_path / "folder"):
        pass
    with pytest.raises(UserError, match="is a file"), appearing(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_below_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for action in (lambda: make_folder(tmp_path / "file" / "x"), lambda: write_text(tmp_path / "file" / "x", "")):
        with pytest.raises(UserError, match=r"x cannot be written: .*file is no folder"):
            action()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "the disk is full; free some space"),
        (errno.EROFS, "give a folder that you may write to"),
        (errno.EIO, "check the path and try again"),
    ],
)
def test_every_error_names_the_file_and_what_to_do(number, says):
    line = str(disk_error(OSError(number, os.strerror(number)), Path("here/a.bin")))
    assert "here/a.bin cannot be written" in line and says in line and "\n" not in line
