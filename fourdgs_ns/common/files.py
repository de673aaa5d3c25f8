"""Files that appear only when they are complete, and errors of the file system as one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fourdgs_ns.common.errors import UserError


@contextmanager
def replacing(path: Path, overwrite: bool, *, folder: bool = False) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends without an error.

    Args:
        overwrite: Whether something may already be there.
        folder: The temporary name is made as an empty folder, which replaces a folder.

    Raises:
        UserError: ``path`` exists, its folder cannot be written, or the disk is full. Nothing is left behind then.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; give another name, or --overwrite to replace it")
    if path.exists() and path.is_dir() != folder:
        kind = "a folder" if path.is_dir() else "a file"
        raise UserError(f"{path} is {kind}; give the name of {'a folder' if folder else 'a file'} to write")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            temporary.mkdir()
        yield temporary
        if folder and path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(_sentence(path, error)) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _sentence(path: Path, error: OSError) -> str:
    """What to do about an error of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {path} was not written; free some space or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path.parent} cannot be written ({error.strerror}); give a folder that you may write to"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path.parent} is no folder; give a path in a folder"
    return f"{path} could not be written ({error.strerror or error}); check the path and try again"


def first_bytes(path: Path) -> bytes:
    """The first 512 bytes of a file; none of a folder.

    Raises:
        UserError: it cannot be read.
    """
    if path.is_dir():
        return b""
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


def size_text(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
