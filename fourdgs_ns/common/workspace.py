"""Where the stages of a processed capture keep their results, so that a run can stop and go on anywhere.

Each stage writes one JSON file, ``<capture>/process/<stage>.json``, holding its result and a key: a digest of the options
and earlier results that it depends on. A stage whose file has the right key is not run again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fourdgs_ns.common.errors import UserError

StageName = Literal["probe", "synchronise", "extract", "calibrate", "undistort", "masks", "points", "check", "write"]
STAGES: tuple[StageName, ...] = get_args(StageName)
FOLDER = "process"


def digest(facts: Any) -> str:
    """A short fingerprint of anything that JSON can say."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """Write JSON under a temporary name, then rename: the file is old or new, never half."""
    text = json.dumps(content, indent=1, default=float) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        raise disk_error(error, path) from None
    finally:
        temporary.unlink(missing_ok=True)


def disk_error(error: OSError, path: Path) -> UserError:
    """What to tell the user when ``path`` cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"the disk of {path} is full; free some space and type the same command again, it goes on there"
        )
    return UserError(f"{path} cannot be written ({error.strerror}); check the permissions of that folder")


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

    def artefact(self, stage: StageName) -> Path:
        return self.root / FOLDER / f"{stage}.json"

    def load(self, stage: StageName, key: str) -> dict[str, Any] | None:
        """The result of ``stage`` if it was computed under ``key``."""
        try:
            content = json.loads(self.artefact(stage).read_text())
        except (OSError, ValueError):
            return None
        return content["result"] if isinstance(content, dict) and content.get("key") == key else None

    def run(
        self,
        stage: StageName,
        facts: Any,
        compute: Callable[[], dict[str, Any]],
        reuse: Callable[[dict], bool] | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """The result of ``stage`` and whether it was there already; ``facts`` is all that decides it.

        ``reuse`` may look whether the files that the result speaks of are still there.
        """
        key = digest(facts)
        found = self.load(stage, key)
        if found is not None and (reuse is None or reuse(found)):
            return found, True
        # From here on until the last stage the folder is no complete capture.
        (self.root / "transforms.json").unlink(missing_ok=True)
        result = compute()
        write_json(self.artefact(stage), {"key": key, "result": result})
        return result, False

    def forget(self, first: StageName) -> None:
        """Forget ``first`` and what comes after it; the capture is no longer complete then."""
        for stage in STAGES[STAGES.index(first) :]:
            self.artefact(stage).unlink(missing_ok=True)
        (self.root / "transforms.json").unlink(missing_ok=True)


@contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that replaces it at the end, or vanishes if anything goes wrong."""
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except OSError as error:
        raise disk_error(error, folder) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
