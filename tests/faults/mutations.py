"""Damage and malice, one change at a time, drawn from a seeded generator: bytes, text, JSON, YAML, archives, pickles, headers."""

from __future__ import annotations

import importlib
import json
import math
import os
import pickle
import random
import re
import shutil
import socket
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

HOSTILE_NAMES = [
    *("../../../escape", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "C:\\x", "~", "-rf", "$(touch escape)", "`id`"),
    *(
        "'; touch escape; '",
        'a"b',
        "a\nb",
        "a\x00b",
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "[red]x[/red]",
        "[/]",
        "</script>",
    ),
    *("\u202egnp.exe", "\ud800", "con", "x" * 5000, "%s%n", "{0.__class__}", "é", " "),
]
NUMBERS: list[Any] = [
    *(
        0,
        -0.0,
        1,
        -1,
        0.5,
        1e-320,
        1e308,
        -1e308,
        math.nan,
        math.inf,
        -math.inf,
        2**31,
        2**63,
        2**64,
        -(2**63),
        10**400,
        1e18,
    ),
]
ODD: list[Any] = [
    *NUMBERS, *HOSTILE_NAMES, None, True, False, "text", [], {}, [[]], [None], {"a": 1}, [1, "b"], [[1, 2], [3]], [0] * 100_000,
]  # fmt: skip
TAGS = [
    "!!python/object/apply:os.system ['touch escape']",
    "!!python/object/apply:subprocess.Popen [['true']]",
    "!!python/object/apply:tests.faults.bait.act []",
    "!!python/object/apply:builtins.eval ['__import__(\"tests.faults.bait\")']",
    "!!python/object/apply:builtins.exec ['import tests.faults.bait']",
    "!!python/object:tests.faults.bait.Thing {x: 1}",
    "!!python/object/new:tests.faults.bait.Thing [1]",
    "!!python/name:tests.faults.bait.act ''",
    "!!python/name:os.system ''",
    "!!python/module:tests.faults.bait ''",
    "!!python/object/new:type {args: [z, !!python/tuple [], {extend: !!python/name:exec }], listitems: 'import os'}",
    "!!python/object/apply:fourdgs_ns.common.files.write_text [!!python/object/apply:pathlib.PosixPath [escape], x]",
    "!!python/object/apply:torch.load [escape]",
    "!!python/object/apply:shutil.rmtree [escape]",
    "!!python/object/apply:pathlib.PosixPath [[]]",
    "!!python/object/apply:nerfstudio.utils.writer.EventName [x]",
    "!!python/tuple {}",
    "!!python/complex 1j",
    "!!python/bytes x",
    "!!binary ====",
    "!unknown x",
    "*nowhere",
    "{a: &a [*a, *a]}",
]


def bait() -> Any:
    """The module that hostile files name, as it is imported now."""
    return importlib.import_module("tests.faults.bait")


# ------------------------------------------------------------------ any file


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.choice([rng.randrange(len(data) + 1), 1, 4, 16, max(len(data) - 1, 0)])]


def _flip(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 4, 64])):
        # Half of them near the beginning, where headers are.
        place = rng.randrange(min(len(out), 512) if rng.random() < 0.5 else len(out))
        out[place] = rng.randrange(256)
    return bytes(out)


def _number(rng: random.Random, data: bytes) -> bytes:
    form, value = rng.choice(
        [
            ("<I", 2**32 - 1),
            ("<I", 0),
            ("<i", -1),
            ("<I", 2**31),
            ("<Q", 2**63),
            ("<Q", 2**40),
            ("<f", math.nan),
            ("<d", math.inf),
        ]
    )
    size = struct.calcsize(form)
    if len(data) < size:
        return data + bytes(size)
    place = rng.randrange(min(len(data) - size + 1, 1024))
    return data[:place] + struct.pack(form, value) + data[place + size :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice([bytes(8), b"\xff" * 7, b"\n", rng.randbytes(32), data[:64]]) + data[place:]


def _cut_out(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.choice([1, 4, 64]) :]


def _wipe(rng: random.Random, data: bytes) -> bytes:
    place, length = rng.randrange(len(data)), rng.choice([4, 64, 4096])
    return (data[:place] + bytes(length) + data[place + length :])[: len(data)]


BYTES = [_truncate, _flip, _number, _insert, _cut_out, _wipe]


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(BYTES)(rng, data) if data else b"\0"


def _to_folder(path: Path) -> None:
    path.mkdir()


def _to_socket(path: Path) -> None:
    where = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name[:90])
    finally:
        os.chdir(where)


def _to_link(target: str) -> Callable[[Path], None]:
    return lambda path: os.symlink(target or path.name, path)


def _to_text(content: bytes) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(content))


def void(value: object) -> None:
    """Nothing."""


THINGS: list[Callable[[Path], None]] = [
    *(
        _to_folder,
        os.mkfifo,
        _to_socket,
        _to_link(""),
        _to_link("/dev/zero"),
        _to_link("/dev/null"),
        _to_link("nowhere"),
    ),
    *(lambda path: None, _to_text(b""), _to_text(b"\0" * 4096), _to_text(b"hello\n")),
]
"""What may stand where a file should."""


def another_thing(rng: random.Random, path: Path) -> None:
    """Put something else in the file's place."""
    path.unlink()
    rng.choice(THINGS)(path)


# ------------------------------------------------------------------ text


def damaged_text(rng: random.Random, text: str) -> bytes:
    lines = text.splitlines(keepends=True) or [""]
    k = rng.randrange(len(lines))
    numbers = list(re.finditer(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?", text))

    def replaced_number() -> str:
        found = rng.choice(numbers) if numbers else None
        return text if found is None else text[: found.start()] + str(rng.choice(ODD))[:6000] + text[found.end() :]

    changes: list[Callable[[], str | bytes]] = [
        replaced_number, replaced_number, replaced_number,
        lambda: "\ufeff" + text,
        lambda: text.replace("\n", "\r\n").encode("utf8", "replace"),
        lambda: text.encode("utf-16"),
        lambda: text[: len(text) // 2] + "\0" + text[len(text) // 2 :],
        lambda: text.encode("utf8", "replace") + b"\xff\xfe",
        lambda: "".join(lines[:k] + lines[k + 1 :]),
        lambda: "".join(lines[: k + 1] + lines[k:]),
        lambda: "".join([*lines[:k], str(rng.choice(HOSTILE_NAMES)) + "\n", *lines[k:]]),
        lambda: re.sub(r"[\w.]{3,}", lambda m: rng.choice(HOSTILE_NAMES) if rng.random() < 0.02 else m[0], text),
        lambda: "[" * 100_000,
        lambda: text * 3,
        lambda: text.replace(":", "", 1),
    ]  # fmt: skip
    out = rng.choice(changes)()
    return out if isinstance(out, bytes) else out.encode("utf8", "surrogatepass")


def damaged_yaml(rng: random.Random, text: str) -> bytes:
    if rng.random() < 0.4:
        return damaged_text(rng, text)
    lines = text.splitlines()
    keyed = [i for i, line in enumerate(lines) if re.match(r"\s*[\w-]+:", line)]
    k = rng.choice(keyed)
    value = rng.choice([*TAGS, *TAGS, *(json.dumps(odd)[:6000] for odd in ODD)])
    lines[k] = lines[k].split(":")[0] + ": " + value
    # What stood below that key belongs to it no longer.
    depth = len(lines[k]) - len(lines[k].lstrip())
    end = k + 1
    while end < len(lines) and (
        len(lines[end]) - len(lines[end].lstrip()) > depth or lines[end].lstrip().startswith("- ")
    ):
        end += 1
    return "\n".join(lines[: k + 1] + lines[end:]).encode("utf8", "surrogatepass")


# ------------------------------------------------------------------ trees: JSON, pickles


def damaged_tree(rng: random.Random, tree: Any, odd: list[Any] = ODD) -> Any:
    """One node of nested containers changed, left out, renamed or repeated."""
    places = list(_places(tree))
    if not places or rng.random() < 0.02:
        return rng.choice(odd)
    holder, key = rng.choice(places)
    action = rng.random()
    if action < 0.15:
        del holder[key]
    elif action < 0.25 and isinstance(holder, dict):
        holder[rng.choice(HOSTILE_NAMES)] = holder.pop(key)
    elif action < 0.3 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif action < 0.4 and isinstance(holder[key], str):
        holder[key] = rng.choice([*HOSTILE_NAMES, holder[key] + rng.choice(HOSTILE_NAMES)])
    elif action < 0.6 and isinstance(holder[key], (int, float)):
        holder[key] = rng.choice([*NUMBERS, -holder[key], holder[key] * 1000])
    else:
        holder[key] = rng.choice(odd)
    return tree


def _places(tree: Any) -> Any:
    if isinstance(tree, (dict, list)):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def damaged_json(rng: random.Random, text: str) -> bytes:
    if rng.random() < 0.25:
        return damaged_text(rng, text)
    return json.dumps(damaged_tree(rng, json.loads(text))).encode("utf8", "surrogatepass")


# ------------------------------------------------------------------ files by kind


def _bytes_or(rng: random.Random, path: Path, change: Callable[[], bytes], share: float = 0.25) -> None:
    data = path.read_bytes()
    path.write_bytes(damaged_bytes(rng, data) if rng.random() < share else change())


def as_binary(rng: random.Random, path: Path) -> None:
    path.write_bytes(damaged_bytes(rng, path.read_bytes()))


def as_text(rng: random.Random, path: Path) -> None:
    _bytes_or(rng, path, lambda: damaged_text(rng, path.read_text("utf8")), 0.15)


def as_yaml(rng: random.Random, path: Path) -> None:
    _bytes_or(rng, path, lambda: damaged_yaml(rng, path.read_text("utf8")), 0.1)


def as_json(rng: random.Random, path: Path) -> None:
    _bytes_or(rng, path, lambda: damaged_json(rng, path.read_text("utf8")), 0.1)


def as_html(rng: random.Random, path: Path) -> None:
    def change() -> bytes:
        text = path.read_text("utf8")
        found = re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)
        assert found is not None
        header = damaged_json(rng, found[1]).decode("utf8", "replace")
        return (text[: found.start(1)] + header + text[found.end(1) :]).encode("utf8", "replace")

    _bytes_or(rng, path, change)


def as_splatv(rng: random.Random, path: Path) -> None:
    def change() -> bytes:
        data = path.read_bytes()
        length = struct.unpack("<I", data[4:8])[0]
        header = damaged_json(rng, data[8 : 8 + length].decode())
        return data[:4] + struct.pack("<I", len(header)) + header + data[8 + length :]

    _bytes_or(rng, path, change)


def as_ply(rng: random.Random, path: Path) -> None:
    def change() -> bytes:
        data = path.read_bytes()
        end = data.index(b"end_header")
        lines = data[:end].decode("latin-1").splitlines()
        k = rng.randrange(1, len(lines))
        count = rng.choice(["0", "-1", "1", "99999999999", "9" * 5000, "1e9", "²", "x", ""])
        lines[k] = rng.choice([
            re.sub(r"\d+$", count, lines[k]), "element vertex " + count, "property list uchar int " + lines[k].split()[-1],
            "property double " + lines[k].split()[-1], "property float x", "comment " + str(rng.choice(HOSTILE_NAMES)),
            "format ascii 1.0", "format binary_big_endian 1.0", "", "element face 5", "property list double double y",
            "comment fourdgs-ns frames " + count, "comment fourdgs-ns seconds nan", "comment fourdgs-ns t \x1b[31m",
        ])  # fmt: skip
        if rng.random() < 0.2:
            del lines[k]
        return ("\n".join(lines) + "\n").encode("latin-1", "replace") + data[end:]

    def rows() -> bytes:
        data = path.read_bytes()
        start = data.index(b"end_header\n") + 11
        values = np.frombuffer(data[start : start + (len(data) - start) // 4 * 4], "<f4").copy()
        if len(values):
            share = rng.choice([0.01, 0.3, 1.0])
            chosen = np.random.default_rng(rng.randrange(2**32)).random(len(values)) < share
            values[chosen] = rng.choice([math.nan, math.inf, 0.0, 3e38, -3e38, 1e-40, -1.0])
        return data[:start] + values.tobytes() + data[start + values.nbytes :]

    _bytes_or(rng, path, rng.choice([change, change, rows]))


def as_npy(rng: random.Random, path: Path) -> None:
    def change() -> bytes:
        return damaged_npy(rng, path.read_bytes())

    _bytes_or(rng, path, change)


def damaged_npy(rng: random.Random, data: bytes) -> bytes:
    """Another type, shape or order announced, other values, or a pickled object."""
    values = np.load(BytesIO(data))
    out = BytesIO()
    action = rng.randrange(4)
    if action == 0:
        np.save(out, np.array([bait().Thing()], object), allow_pickle=True)
    elif action == 1:
        values = values.astype(rng.choice(["f4", "f8", "i8", "c16", "U3", "?"]))
        rows = np.atleast_1d(values)
        np.save(out, rng.choice([rows, rows[:1], rows.ravel(), rows[None], np.asfortranarray(rows), rows[:0]]))
    elif action == 2:
        values = np.array(values, copy=True)
        if values.size and values.dtype.kind in "fiu":
            with np.errstate(all="ignore"):
                odd = np.array(rng.choice([0, -1, math.nan, math.inf, 1e30])).astype(values.dtype)
            values.flat[rng.randrange(values.size) :: rng.choice([1, 7, 10**6])] = odd
        np.save(out, values)
    else:
        header = data[:128].decode("latin-1")
        shape = rng.choice(
            ["(99999999999,)", "(-1,)", "(0,)", "()", "(2**40,)", "(1,2,3,4,5)", "(" * 60, "[1]", "None"]
        )
        changed = re.sub(r"'shape': \([^)]*\)", f"'shape': {shape}", header)
        return changed.encode("latin-1")[: len(header)].ljust(len(header)) + data[128:]
    return out.getvalue()


def as_npz(rng: random.Random, path: Path) -> None:
    def change() -> bytes:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name, action = rng.choice(list(members)), rng.random()
        if "header.npy" in members and action < 0.4:
            header = damaged_json(rng, np.load(BytesIO(members["header.npy"])).tobytes().decode())
            out = BytesIO()
            np.save(out, np.frombuffer(header, np.uint8))
            members["header.npy"] = out.getvalue()
        elif action < 0.75:
            members[name] = damaged_npy(rng, members[name])
        elif action < 0.8:
            members[name] = damaged_bytes(rng, members[name])
        elif action < 0.85:
            del members[name]
        elif action < 0.9:
            members[rng.choice(HOSTILE_NAMES) or "x"] = members.pop(name)
        else:  # a bomb
            out = BytesIO()
            np.save(out, np.zeros(60_000_000, np.uint8))
            members[name] = out.getvalue()
        target = BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member.encode("utf8", "replace").decode(), content)
        return target.getvalue()

    _bytes_or(rng, path, change)


def as_torch(rng: random.Random, path: Path) -> None:
    """A checkpoint with another value in it, code among them."""

    def change() -> bytes:
        with mock.patch.dict(os.environ):
            os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)  # set where a run was read; this file is ours
            tree = _thawed(torch.load(path, map_location="cpu", weights_only=False))
        odd = [
            *ODD, bait().Thing(), bait().act, torch.zeros(0), torch.zeros(3), torch.full((5, 3), math.nan),
            torch.zeros(2, 2, dtype=torch.int8),
            torch.zeros(1).expand(10**9), torch.zeros(10**7, 0), np.float64(3.0), np.zeros(3), b"bytes", 1j,
            torch.zeros(3).to_sparse(),
        ]  # fmt: skip
        out = BytesIO()
        torch.save(_frozen(damaged_tree(rng, tree, odd)), out, _use_new_zipfile_serialization=rng.random() < 0.8)
        return out.getvalue() if rng.random() < 0.97 else pickle.dumps(bait().Thing())

    _bytes_or(rng, path, change)


class _Tuple(list):
    """Stands for a tuple while a tree is changed."""


def _thawed(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _thawed(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return (_Tuple if isinstance(tree, tuple) else list)(_thawed(value) for value in tree)
    return tree


def _frozen(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _frozen(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return (tuple if isinstance(tree, _Tuple) else list)(_frozen(value) for value in tree)
    return tree


def as_png(rng: random.Random, path: Path) -> None:
    def change() -> bytes:
        import zlib

        data = bytearray(path.read_bytes())
        size = [rng.choice([0, 1, 7, 65_536, 65_535, 100_000, 20_000, 2**31 - 1, 2**32 - 1]) for _ in range(2)]
        data[16:24] = struct.pack(">II", *size)
        data[24:26] = bytes([rng.choice([1, 8, 16, 3]), rng.choice([0, 2, 3, 4, 6, 9])])
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))  # the checksum is right
        return bytes(data)

    if path.suffix == ".png":
        _bytes_or(rng, path, change, 0.6)
    else:
        as_binary(rng, path)


Damage = Callable[[random.Random, Path], None]
BY_SUFFIX: dict[str, Damage] = {
    ".json": as_json, ".yml": as_yaml, ".txt": as_text, ".toml": as_text, ".html": as_html, ".splatv": as_splatv, ".ply": as_ply,
    ".npy": as_npy, ".npz": as_npz, ".pth": as_torch, ".ckpt": as_torch, ".pt": as_torch, ".png": as_png,
}  # fmt: skip


def mutate(rng: random.Random, path: Path, damage: Damage | None = None) -> str:
    """Change the file by ``damage`` or in one of the ways that its kind has; says how."""
    if rng.random() < 0.08:
        another_thing(rng, path)
        kind = f"replaced by {describe(path)}"
    else:
        (damage or BY_SUFFIX.get(path.suffix, as_binary))(rng, path)
        kind = "changed"
    return f"{path.name} {kind}"


def describe(path: Path) -> str:
    """What is there, for a report."""
    if path.is_symlink():
        return f"a link to {os.readlink(path)}"
    if not path.exists():
        return "nothing"
    return "a folder" if path.is_dir() else "a pipe or socket" if not path.is_file() else f"{path.stat().st_size} bytes"


def fresh_copy(source: Path, target: Path) -> Path:
    """A copy of a file or folder that may be damaged."""
    if source.is_dir():
        return Path(shutil.copytree(source, target / source.name, symlinks=True))
    return Path(shutil.copy2(source, target / source.name))
