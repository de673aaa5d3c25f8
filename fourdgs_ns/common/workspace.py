"""Results that are kept under a key, a digest of everything that determines them, so that a run can stop and go on anywhere.

What is derived from a capture lies in its :func:`cache_directory`. A capture in the making keeps the result of each step in a
JSON file, ``<capture>/process/<step>.json``, beside its key; a step whose file has the right key is not run again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import BaseFileLock, FileLock, Timeout
from platformdirs import user_cache_path

from fourdgs_ns.common.console import status
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import disk_error, kept_json, make_folder, write_json

StepName = Literal["probe", "synchronise", "extract", "calibrate", "undistort", "masks", "points", "check", "write"]
STEPS: tuple[StepName, ...] = get_args(StepName)
FOLDER = "process"
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def digest(facts: Any) -> str:
    """A short fingerprint of anything that JSON can say; see :func:`_rounded`."""
    return hashlib.sha256(json.dumps(_rounded(facts), sort_keys=True, default=str).encode()).hexdigest()[:16]


def _rounded(value: Any) -> Any:
    """Numbers to nine digits and nine places: another version of numpy or OpenCV may find another last one."""
    if isinstance(value, float):
        return round(float(f"{value:.9g}"), 9) + 0.0  # -0 is 0
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def stamp(path: Path, root: Path | None = None) -> tuple[str, int, int]:
    """What tells whether a file is still the same: its path, its size and its time of modification.

    The path counts relative to ``root``, a capture that may be moved; without one it is absolute.

    Raises:
        UserError: there is no such file, or it cannot be looked at.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); put the file back, or correct the capture's description"
        ) from error
    name = str(path.resolve()) if root is None else os.path.relpath(path, root)
    return name, found.st_size, found.st_mtime_ns


def cache_directory(root: Path) -> Path:
    """A writable folder for what is derived from the capture at ``root``; it exists on return.

    ``<root>/.fourdgs``, or a folder of its own in the user's cache (``~/.cache/fourdgs-ns`` on Linux) when the capture is
    read-only. Raises UserError when neither can be written.
    """
    resolved = root.resolve()
    beside = root / ".fourdgs"
    fallback = user_cache_path("fourdgs-ns", False) / f"{resolved.name}-{digest(str(resolved))}"
    for folder in (beside, fallback) if root.is_dir() else (fallback,):  # a capture that is missing is not created
        try:
            make_folder(folder)
        except UserError:
            continue
        return folder
    raise UserError(f"neither {beside} nor {fallback} can be written; set XDG_CACHE_HOME to a folder that can")


@contextmanager
def only_builder(directory: Path, doing: str) -> Iterator[None]:
    """Held by the one process that is ``doing`` something in ``directory``; the system releases it when the process dies."""
    file = directory / ".lock"
    lock = try_lock(file)
    if lock is None:
        status(f"waiting for another process that is {doing} {directory}")
        while lock is None:
            time.sleep(0.1)
            lock = try_lock(file)
    try:
        yield
    finally:
        lock.release()


def try_lock(file: Path) -> BaseFileLock | None:
    """A lock on ``file``, held until it is released or the process dies; None while another holds it or removes the file.

    Raises:
        UserError: ``file`` cannot be made.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
        if file.exists():
            return lock
        lock.release()
    except Timeout:
        pass
    except (OSError, NotImplementedError) as error:
        # Some network file systems have no locks; one process alone needs none.
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise disk_error(error, file) from error
        return lock
    return None


@dataclass(frozen=True)
class Workspace:
    """The folder of a capture in the making."""

    root: Path

    @classmethod
    def open(cls, out: Path) -> Workspace:
        """Create or continue ``out``.

        Raises:
            UserError: it is a file, holds something else, or cannot be written.
        """
        root = Path(os.path.abspath(out))
        if root.exists() and not root.is_dir():
            raise UserError(f"{root} is a file; give --out a folder that does not exist yet")
        if root.is_dir() and any(root.iterdir()) and not (root / FOLDER).is_dir():
            raise UserError(
                f"{root} already holds files of something else; give --out a folder that does not exist yet"
            )
        try:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, root) from None
        return cls(root)

    def artefact(self, step: StepName) -> Path:
        """The file that keeps the result of ``step``."""
        return self.root / FOLDER / f"{step}.json"

    def load(self, step: StepName, key: str) -> dict[str, Any] | None:
        """The result of ``step`` if it was computed under ``key``."""
        content = kept_json(self.artefact(step))
        return content["result"] if isinstance(content, dict) and content.get("key") == key else None

    def run(
        self,
        step: StepName,
        facts: Any,
        compute: Callable[[], dict[str, Any]],
        reuse: Callable[[dict], bool] | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """The result of ``step`` and whether it was there already; ``facts`` is all that decides it.

        ``reuse`` may look whether the files that the result speaks of are still there.
        """
        key = digest(facts)
        found = self.load(step, key)
        if found is not None and (reuse is None or reuse(found)):
            return found, True
        # From here on until the last step the folder is no complete capture.
        (self.root / "transforms.json").unlink(missing_ok=True)
        result = compute()
        write_json(self.artefact(step), {"key": key, "result": result})
        return result, False

    def forget(self, first: str) -> None:
        """Forget ``first`` and what comes after it; the capture is no longer complete then."""
        for step in STEPS[STEPS.index(first) :]:
            self.artefact(step).unlink(missing_ok=True)
        (self.root / "transforms.json").unlink(missing_ok=True)
