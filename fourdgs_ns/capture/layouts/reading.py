"""Calibration files read as plain numbers: JSON, NPY and OpenCV's YAML, with errors that name the file."""

from __future__ import annotations

import codecs
import json
import math
import tokenize
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.file_status import file_status

MAX_TEXT_BYTES = 256 * 2**20
POINT_FILES = ("points3D.ply", "points3d.ply", "sparse_pc.ply", "sparse_pcd.ply", "pointcloud.ply", "init.ply")
MAX_WHOLE = 2**53
"""What a number of JSON holds exactly."""
DEFAULT_IMAGE_FPS = 30.0
MALFORMED_HEADER = (tokenize.TokenError, SyntaxError, TypeError, OverflowError)
"""What NumPy raises, beside ValueError, for an array header that is no literal or announces what cannot be."""


def read_json(path: Path) -> dict[str, Any]:
    """The object stored in a JSON file.

    Raises:
        UserError: unreadable, not JSON, or not an object at the top.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); correct that place or export the file again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__} instead of an object {{...}}; export the file again")
    return content


def read_npy(path: Path) -> NDArray[np.float64]:
    """The numeric array of an NPY file as float64; pickled objects are refused.

    Raises:
        UserError: unreadable, truncated, pickled, or not numeric.
    """
    file_status(path)
    try:
        # Mapped, so that a damaged header cannot make us allocate more than the file has.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, *MALFORMED_HEADER) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a readable .npy file ({reason}); copy or export the file again") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = array.dtype if isinstance(array, np.ndarray) else "an archive of arrays"
        raise UserError(f"{path} holds {kind} instead of an array of numbers; export it with numpy.save(FILE, array)")
    return np.array(array, dtype=np.float64)


class _OpenCvLoader(yaml.BaseLoader):
    """Every scalar stays a string, so that a camera called "00" is not read as the number zero."""


def read_opencv_yaml(path: Path) -> dict[str, Any]:
    """The mapping stored by OpenCV's FileStorage; scalars stay strings, matrices stay {rows, cols, dt, data}.

    Parsed as plain YAML because FileStorage itself refuses or misreads files written by hand or by other tools.

    Raises:
        UserError: unreadable, not YAML, or no mapping at the top.
    """
    lines = read_text(path).splitlines()
    if lines and lines[0].startswith("%YAML"):
        lines[0] = ""  # "%YAML:1.0" is OpenCV's spelling and no YAML directive
    try:
        content = yaml.load("\n".join(lines), Loader=_OpenCvLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML ({reason}); correct that place or export the file again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} has no 'key: value' lines; export the file again")
    return content


def mentions(path: Path, word: str) -> bool:
    """Whether a text file exists and contains ``word``; never fails, so that recognition can try any folder."""
    try:
        return path.is_file() and path.stat().st_size <= MAX_TEXT_BYTES and word.encode() in path.read_bytes()
    except OSError:
        return False


def number(value: object, what: str, path: Path) -> float:
    """``value`` as a finite float; ``what`` names it in the error."""
    result = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            result = float(value)
        except (ValueError, OverflowError):
            result = math.nan
    if not math.isfinite(result):
        raise UserError(f"{what} in {path} is {_short(value)} instead of a number; correct it")
    return result


def flag(value: object, what: str, path: Path) -> bool:
    """``value`` as true or false, also as 0, 1 or a word; ``what`` names it in the error."""
    known = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
    word = str(value).strip().lower()
    if word not in known:
        raise UserError(f"{what} in {path} is {_short(value)} instead of true or false; correct it")
    return known[word]


def whole(value: object, what: str, path: Path) -> int:
    """``value`` rounded to a whole number within reason: of a frame, a camera, an instant."""
    result = number(value, what, path)
    if abs(result) > MAX_WHOLE:
        raise UserError(f"{what} in {path} is {_short(value)}, which counts nothing; correct it")
    return round(result)


def number_list(value: object, what: str, path: Path) -> list[float]:
    """A list of numbers of any length, possibly nested; a single number and null are lists, too."""
    try:
        return [float(x) for x in np.array([] if value is None else value, dtype=np.float64).ravel()]
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{what} in {path} is {_short(value)} instead of a list of numbers; correct it") from None


def matrix(value: object, shape: Sequence[int], what: str, path: Path) -> NDArray[np.float64]:
    """A nested list of numbers as a float64 array of ``shape``; NaN is let through for the pose checks to name."""
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0)
    if array.shape != tuple(shape):
        size = "x".join(str(n) for n in shape)
        raise UserError(f"{what} in {path} is {_short(value)} instead of {size} numbers; export the calibration again")
    return array


def opencv_matrix(value: object, what: str, path: Path) -> NDArray[np.float64]:
    """A matrix of :func:`read_opencv_yaml` as a float64 array."""
    try:
        if "sizes" in value:  # type: ignore[operator]
            # What OpenCV 5 writes for a vector: one size per dimension.
            rows, cols = ([int(str(n)) for n in value["sizes"]] + [1])[:2]  # type: ignore[index]
        else:
            rows, cols = int(value["rows"]), int(value["cols"])  # type: ignore[index]
        data = value["data"]  # type: ignore[index]
        # OpenCV writes .Nan and .Inf; they are let through for the pose checks to name.
        array = np.array([float(str(x).replace(".Nan", "nan").replace(".Inf", "inf")) for x in data])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{what} in {path} is no OpenCV matrix; write it as rows, cols, dt and data") from None
    if rows * cols != array.size:
        raise UserError(f"{what} in {path} says {rows}x{cols} but lists {array.size} numbers; correct one of them")
    return array.reshape(rows, cols)


def find_point_files(root: Path) -> tuple[Path, ...]:
    """The capture's initial point cloud under the first usual name that exists."""
    return next(((root / name,) for name in POINT_FILES if (root / name).is_file()), ())


def metadata_fps(root: Path) -> float | None:
    """Frame rate that metadata.json states, if there is one."""
    path = root / "metadata.json"
    if not path.is_file():
        return None
    stated = read_json(path).get("fps")
    if stated is None:
        return None
    return frame_rate(stated, "fps", path)


def frame_rate(value: object, what: str, path: Path) -> float:
    """``value`` as frames per second within reason."""
    fps = number(value, what, path)
    if not 0 < fps <= 10_000:
        raise UserError(f"{what} in {path} is {fps:g} frames per second; write the true frame rate, such as 30")
    return fps


def image_fps(root: Path) -> tuple[float, tuple[str, ...]]:
    """Frame rate of a capture made of images, and the note that it was assumed when nothing states it."""
    stated = metadata_fps(root)
    if stated is not None:
        return stated, ()
    note = (
        f"{root} states no frame rate: {DEFAULT_IMAGE_FPS:g} frames per second are assumed; "
        'if that is wrong, write {"fps": 60} (your rate) into its metadata.json'
    )
    return DEFAULT_IMAGE_FPS, (note,)


def read_text(path: Path) -> str:
    """The text of a calibration file, bounded in size: UTF-8, or UTF-16 where a byte order mark says so.

    Raises:
        UserError: unreadable, no text, or too large.
    """
    try:
        if file_status(path).st_size > MAX_TEXT_BYTES:
            raise UserError(
                f"{path} is larger than {MAX_TEXT_BYTES // 2**20} MiB; it is no calibration file, replace it"
            )
        data = path.read_bytes()
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
        return composed(text.replace("\r\n", "\n"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); put the file back") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file ({error.reason}); export the file again") from None


def path_in(folder: Path, stated: str) -> Path:
    """The path that a file written in ``folder`` states; on disk it may have Windows' separators as folders, or split accents."""
    variants = (stated, stated.replace("\\", "/"), unicodedata.normalize("NFD", stated.replace("\\", "/")))
    there = (path for path in (folder / variant for variant in dict.fromkeys(variants)) if path.exists())
    return next(there, folder / variants[1])


def composed(text: str) -> str:
    """With each accent in one character with its letter: names from macOS may have them apart, and look the same."""
    return unicodedata.normalize("NFC", text)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
