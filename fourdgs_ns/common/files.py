"""Files and folders that appear only when they are complete, and errors of the file system as one line."""

from __future__ import annotations

import errno
import json
import os
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
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _sync(part)
        os.replace(part, path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def appearing(folder: Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary empty folder that takes the place of ``folder`` when the block ends without an error, or vanishes.

    Raises:
        UserError: ``folder`` exists or is a file, cannot be written, or the disk is full. Nothing is left behind then.
    """
    folder = Path(os.path.abspath(folder))
    _refuse_existing(folder, overwrite, folder=True)
    part, old = _part(folder), folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        _swap(part, folder, old)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
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
    return UserError(f"{path} cannot be written ({error.strerror or error}); check the path and try again")


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
