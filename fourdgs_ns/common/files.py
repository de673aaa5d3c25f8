"""Files and folders that appear only when they are complete, and errors of the file system as one line."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fourdgs_ns.common.errors import UserError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MAX_KEPT_BYTES = 1 << 28
GO_ON = "free some space and type the same command again"
_begun: set[Path] = set()
"""Temporary files and folders that this process is writing."""


@contextmanager
def replacing(path: Path, overwrite: bool = True, *, part_folder: Path | None = None) -> Iterator[Path]:
    """A temporary name that takes the place of the file ``path`` when the block ends without an error.

    What was there stays until then, and survives whatever goes wrong. The content is on the disk before it gets its name.

    Args:
        overwrite: Whether something may already be there.
        part_folder: Where the temporary name is, on the same disk; default: beside ``path``.

    Raises:
        UserError: ``path`` exists or is a folder, its folder cannot be written, or the disk is full. Nothing is left behind then.
    """
    _refuse_existing(path, overwrite, folder=False)
    part = _part(path, part_folder)
    _begun.add(part)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(part.parent, path.name)
        yield part
        _sync(part)
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        _discard(part)


@contextmanager
def appearing(folder: Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary empty folder that takes the place of ``folder`` when the block ends without an error, or vanishes.

    Raises:
        UserError: ``folder`` exists or is a file, cannot be written, or the disk is full. Nothing is left behind then.
    """
    folder = Path(os.path.abspath(folder))
    _refuse_existing(folder, overwrite, folder=True)
    part, old = _part(folder), folder.with_name(f".{folder.name}.{os.getpid()}.old")
    _begun.add(part)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _restore(folder)
        remove_leftovers(part.parent, folder.name)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        yield part
        _swap(part, folder, old)
        _sync_folder(folder.parent)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        _discard(part)
        shutil.rmtree(old, ignore_errors=True)


def _swap(part: Path, folder: Path, old: Path) -> None:
    """``part`` becomes ``folder``; if that fails, what was there is back."""
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(part, folder)
    except BaseException:
        if old.exists():
            os.replace(old, folder)
        raise


def _part(path: Path, folder: Path | None = None) -> Path:
    """The temporary name of ``path``; the same command may be running twice."""
    return (path.parent if folder is None else folder) / f".{path.name}.{os.getpid()}.part"


def discard_begun() -> None:
    """Remove all that this process has begun to write, for an end at which no block is left in order."""
    for part in tuple(_begun):
        _discard(part)


def _discard(part: Path) -> None:
    _remove(part)
    _begun.discard(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove temporary files and folders in ``folder``, of ``name`` or of any, whose processes are dead."""
    for left in _of_the_dead(folder, name, "part"):
        _remove(left)


def _restore(folder: Path) -> None:
    """Finish a :func:`_swap` that was killed: what was there comes back, unless the new folder took its place."""
    for old in _of_the_dead(folder.parent, folder.name, "old"):
        if folder.exists():
            _remove(old)
        else:
            os.replace(old, folder)


def _of_the_dead(folder: Path, name: str | None, ending: str) -> list[Path]:
    wanted = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.(\d+)\.{ending}")
    found = ((path, wanted.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return [path for path, match in found if match and not _is_alive(int(match[1]))]


def _is_alive(process: int) -> bool:
    """Whether a process of this machine runs; True where it cannot be known."""
    if os.name != "posix":
        return True  # there signal 0 ends the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _refuse_existing(path: Path, overwrite: bool, folder: bool) -> None:
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; give another name, or --overwrite to replace it")
    if path.exists() and path.is_dir() != folder:
        kind = "a folder" if path.is_dir() else "a file"
        raise UserError(f"{path} is {kind}; give the name of {'a folder' if folder else 'a file'} to write")


def _sync(path: Path) -> None:
    """Have the system write the file out: a crash after the rename would leave an empty file under the final name."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The same for the name: until its folder is written out a crash may still take it back."""
    if os.name != "posix":
        return  # elsewhere folders cannot be opened
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know it for files only
            raise
    finally:
        os.close(fd)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file by :func:`replacing`."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file by :func:`replacing`."""
    write_bytes(path, text.encode("utf8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON that a person can read by :func:`replacing`; what JSON does not know becomes a number."""
    write_text(path, json.dumps(content, indent=1, default=float) + "\n")


def make_folder(folder: Path) -> None:
    """Make a folder unless it is there, and try whether files can be made in it.

    Raises:
        UserError: they cannot, or it is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Mode bits say nothing about root or read-only mounts: only trying does.
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise disk_error(error, folder) from error


def disk_error(error: OSError, path: Path, if_full: str = GO_ON) -> UserError:
    """The one line for ``path`` that the system refused to write; ``if_full``: what to do about a full disk."""
    if error.errno in DISK_FULL:
        return UserError(f"{path} cannot be written: the disk is full; {if_full}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{path} cannot be written ({error.strerror}); give a folder that you may write to")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return UserError(f"{path} cannot be written: {path.parent} is no folder; give a path in a folder")
    if error.errno == errno.ENOENT:
        return UserError(f"{path} cannot be written: its folder vanished; put it back, or give another one")
    return UserError(f"{path} cannot be written ({error.strerror or error}); check the path and try again")


def as_user_error(error: OSError) -> UserError:
    """The one line for an error of the file system of which nobody knows more than it says itself."""
    named = error.filename2 or error.filename
    path = os.fsdecode(named) if isinstance(named, (str, bytes)) else "a file"
    if error.errno in DISK_FULL:
        return UserError(f"{path} cannot be written: the disk is full; {GO_ON}")
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return UserError(f"{path} is missing or vanished meanwhile; put it back, or type another path")
    if error.errno == errno.EIO:
        return UserError(f"{path} cannot be read or written (the disk fails); copy what is on it to another one")
    return UserError(f"{path} cannot be used ({error.strerror or error}); check the path and its permissions")


def first_bytes(path: Path) -> bytes:
    """The first 512 bytes of a file; none of a folder.

    Raises:
        UserError: it cannot be read.
    """
    if path.is_dir():
        return b""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file but a pipe or a device; give a file")
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """The whole of a file that is no larger than ``limit`` bytes.

    Raises:
        UserError: there is no such file, it is larger, or it cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file; check the path")
    try:
        size = path.stat().st_size
        if size > limit:
            raise UserError(f"{path} has {size} bytes, more than the {limit} that this format can hold; it is damaged")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error


def kept_json(path: Path) -> Any:
    """What :func:`write_json` left in a file; None where there is none, or it is damaged: then it is made anew."""
    try:
        return json.loads(read_bytes(path, MAX_KEPT_BYTES))
    except (UserError, ValueError, RecursionError):
        return None


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
