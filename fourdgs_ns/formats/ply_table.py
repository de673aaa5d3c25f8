"""PLY files as tables of vertices: a reader that trusts no header, and a writer that writes the table in one go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from plyfile import PlyData, PlyParseError

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import first_bytes

MAX_HEADER_BYTES = 1 << 20
_SIZES = {
    "char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2, "uint16": 2, "int": 4, "uint": 4,
    "int32": 4, "uint32": 4, "float": 4, "float32": 4, "double": 8, "float64": 8,
}  # fmt: skip


def check_ply_header(path: Path, missing: str = "check the path") -> None:
    """Refuse what is no PLY, and counts that the file is too small for, before anything is allocated for them.

    Args:
        missing: What to do when there is no file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; {missing}")
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(MAX_HEADER_BYTES)
    if start[:3] != b"ply" or start[3:4] not in (b"\n", b"\r"):
        raise UserError(f"{path} is no PLY file: it does not begin with the line 'ply'; export the cloud as PLY")
    end = start.find(b"end_header")
    if end < 0:
        raise UserError(f"{path} has no end_header: the file is truncated; copy or export it again")
    binary, count, name, needed = False, 0, "", 0
    for line in start[:end].decode("latin-1").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            binary = len(words) > 1 and words[1].startswith("binary")
        if words[:1] == ["property"] and binary:
            needed += count * _SIZES.get(words[1] if len(words) > 1 else "", 1)  # a list has a byte at least
            if needed > size - end:
                raise UserError(
                    f"{path} cannot be read as PLY: it announces {count} '{name}' rows but is only {size} bytes long; copy or "
                    "export it again"
                )
        if words[:1] != ["element"]:
            continue
        if len(words) != 3 or not words[2].isascii() or not words[2].isdigit():
            raise UserError(f"{path} has the header line '{line[:80]}', which counts nothing; export it again")
        # Python refuses to convert thousands of digits, and no file has 10^18 rows.
        if len(words[2]) > 18 or int(words[2]) > size:
            raise UserError(
                f"{path} announces {words[2][:20]} '{words[1]}' rows but is only {size} bytes long; copy or export it "
                "again"
            )
        name, count = words[1], int(words[2])


def property_names(path: Path) -> set[str]:
    """Names of the properties that the header of a PLY lists; none for what is no PLY."""
    if not path.is_file() or first_bytes(path)[:3] != b"ply":
        return set()
    with open(path, "rb") as file:
        header = file.read(MAX_HEADER_BYTES).split(b"end_header")[0].decode("latin-1")
    return {words[-1] for line in header.splitlines() if (words := line.split())[:1] == ["property"]}


def read_vertices(path: Path, missing: str = "check the path") -> tuple[np.ndarray, list[str]]:
    """The vertices as a structured array of numbers, and all comments of the header.

    Raises:
        UserError: no PLY, damaged, without vertices as an element, or with lists in them.
    """
    check_ply_header(path, missing)
    try:
        data = PlyData.read(str(path))
        element = data["vertex"]
        vertex = np.asarray(element.data)
    except KeyError:
        raise UserError(f"{path} has no element 'vertex'; export it as a point cloud") from None
    except (PlyParseError, ValueError, OSError, MemoryError, OverflowError, TypeError) as error:
        raise UserError(f"{path} cannot be read as PLY ({error}); export it again") from None
    for name in vertex.dtype.names or ():
        if vertex.dtype[name].kind not in "iuf":
            raise UserError(f"{path} has lists as vertex property '{name}'; export it with one number per property")
    return vertex, [*data.comments, *element.comments]


def stack_columns(vertex: np.ndarray, names: list[str]) -> Float[np.ndarray, "n c"]:
    """The named properties side by side, float32."""
    out = np.empty((len(vertex), len(names)), np.float32)
    # A double beyond float32's range becomes infinite, which callers drop as they drop any row that is not finite.
    with np.errstate(over="ignore"):
        for i, name in enumerate(names):
            out[:, i] = vertex[name]
    return out


def write_float_ply(
    path: Path, names: list[str], blocks: list[Float[np.ndarray, "n _c"]], comments: list[str] | None = None
) -> None:
    """Write binary little-endian float vertices: ``blocks`` side by side, one name per column.

    Comments stand right before end_header: some readers expect the vertex count on the third line.
    """
    rows = len(blocks[0])
    table = np.empty((rows, len(names)), "<f4")
    column = 0
    for block in blocks:
        width = block.shape[1]
        table[:, column : column + width] = block
        column += width
    assert column == len(names), (column, len(names))
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {rows}"]
    header += [f"property float {name}" for name in names]
    header += [f"comment {comment}" for comment in comments or []]
    with open(path, "wb") as file:
        file.write(("\n".join([*header, "end_header"]) + "\n").encode("ascii", "replace"))
        file.write(table.data)
