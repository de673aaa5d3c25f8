"""Files of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch


def save_tensors(state: Mapping[str, Any], path: Path) -> None:
    """``torch.save`` that says what the system said.

    Given a name it is silent about a full disk; given a file it goes on after an error and then complains of positions.

    Raises:
        OSError: the file cannot be written.
    """
    with open(path, "wb") as file:
        told = _Told(file)
        try:
            torch.save(state, told)  # type: ignore[arg-type]  # it asks for no more of a file
        except RuntimeError:
            if told.error is None:
                raise
        if told.error is not None:
            raise told.error


class _Told:
    """A file that remembers what went wrong first."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: bytes | bytearray | memoryview) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.file.flush()
