"""Files that a user names, before anything opens them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fourdgs_ns.common.errors import UserError


def file_status(path: Path) -> os.stat_result:
    """Status of a regular file.

    Raises:
        UserError: it is missing, or a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; put the file back, or correct its name where it is given") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its folder and permissions") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a regular file but a folder, a pipe or a device; give a file")
    return status


def file_version(path: Path) -> tuple[int, int]:
    """Time of the last change in nanoseconds and size in bytes, between them another value after every change.

    Raises:
        UserError: as :func:`file_status`, or the file is empty.
    """
    status = file_status(path)
    if status.st_size == 0:
        raise UserError(f"{path} is empty (0 bytes); copy or download it again")
    return status.st_mtime_ns, status.st_size
