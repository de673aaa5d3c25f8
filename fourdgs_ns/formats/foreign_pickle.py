"""Reading checkpoints of unknown origin: tensors and plain values only, nothing that the file names is ever run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourdgs_ns.common.errors import UserError

# A NumPy number is stored as a call of one function with a type and bytes; under NumPy 1 and 2 it has different names.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_DTYPES = [type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")]


def _scalar(module: str) -> Callable:
    """NumPy's function that makes a number, under the module that a file names."""

    def scalar(*arguments: Any) -> Any:
        return _SCALAR(*arguments)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


@contextmanager
def _allowed() -> Iterator[None]:
    """Inside, torch also reads NumPy's numbers and types (``safe_globals`` does this, but only since torch 2.5)."""
    import _codecs

    before = list(torch.serialization.get_safe_globals())
    scalars = [_scalar(f"numpy.{core}.multiarray") for core in ("core", "_core")]
    torch.serialization.add_safe_globals([*scalars, np.dtype, *_DTYPES, _codecs.encode])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def is_dense(value: object) -> bool:
    """Whether ``value`` is a tensor of floating-point numbers, all of which the file holds: a view may announce any number."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or not value.is_floating_point():
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def load_foreign(path: Path) -> Any:
    """The content of a file that ``torch.save`` wrote, on the CPU, without running anything that it names.

    Large tensors stay on disk until they are used.

    Raises:
        UserError: there is no such file, it is damaged or no checkpoint, or it asks for code to be run (which is named).
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; give the checkpoint to read, for instance chkpnt30000.pth")
    with _allowed():
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except Exception as error:
            # Damaged or hostile bytes fail with whatever they led torch's restricted unpickler to.
            text = " ".join(str(error).split())
    named = re.search(r"GLOBAL ([\w.]+)", text)
    if named is not None:
        raise UserError(
            f"{path} asks to run {named.group(1)}, which no checkpoint of Gaussians needs; it was not run, do not open the file "
            "elsewhere either and get it from a source that you trust"
        )
    reason = text.rsplit("trusted source.", 1)[-1].removeprefix(" Please").strip()[:100]
    raise UserError(f"{path} is no readable checkpoint ({reason}); give a file that torch.save wrote")
