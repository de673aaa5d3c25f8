"""The command that this process was started with, as one that can be pasted from any folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from fourdgs_ns.common.text import typed


def typed_again(
    parsed: Any = None, without: Sequence[str] = (), added: Mapping[str, object] | None = None, after: int = 1
) -> str:
    """The command as it was typed, quoted for a shell, its paths absolute.

    Args:
        parsed: What the words were parsed into; what it holds as paths is one. None, before that: what exists or looks like one.
        without: Options, as ``--load-dir``, to leave out with their values.
        added: Options and values to put in.
        after: Number of words behind which they come.
    """
    words = [*_program(), *_absolute(sys.argv[1:], None if parsed is None else set(_paths(parsed)))]
    words = _without(words, {_name(option) for option in without})
    extra = [str(word) for pair in (added or {}).items() for word in pair]
    at = len(_program()) + after
    return typed(*words[:at], *extra, *words[at:])


def has_option(option: str) -> bool:
    """Whether ``option`` was typed."""
    return any(word.startswith("--") and _name(word) == _name(option) for word in sys.argv[1:])


def typed_value(option: str) -> str | None:
    """The last value that was typed behind ``option``."""
    found = None
    for k, word in enumerate(words := sys.argv[1:]):
        if word.startswith("--") and _name(word) == _name(option):
            found = word.partition("=")[2] if "=" in word else words[k + 1] if k + 1 < len(words) else None
    return found


def _program() -> list[str]:
    name = Path(sys.argv[0]).name
    if not name.endswith(".py") and name not in ("-m", "-c", ""):
        return [name]
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return [sys.executable, *(["-m", spec.name] if spec is not None else [os.path.abspath(sys.argv[0])])]


def _name(option: str) -> str:
    return option.partition("=")[0].replace("_", "-")


def _without(words: list[str], names: set[str]) -> list[str]:
    """``words`` without options and the one value of each."""
    kept, skip = [], False
    for word in words:
        is_option = word.startswith("--")
        if is_option and _name(word) in names:
            skip = "=" not in word
        elif skip and not is_option:
            skip = False
        else:
            kept.append(word)
            skip = False
    return kept


def _absolute(words: Sequence[str], known: set[tuple[str, Path]] | None) -> Iterator[str]:
    """``known``: field and value of every path that was parsed."""
    typed = {_field(word) for word in words if word.startswith("--")}

    def resolved(word: str, field: str | None) -> str:
        if known is None:
            is_path = os.sep in word or os.path.exists(word)
        else:  # a field that no option names is one of position, which may follow any
            is_path = any(
                os.path.abspath(word) == os.path.abspath(value) and (name == field or name not in typed)
                for name, value in known
            )
        return os.path.abspath(word) if is_path and word else word

    field = None
    for word in words:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            field = _field(word)
            yield option + equals + (resolved(value, field) if equals else "")
        else:
            yield resolved(word, field)


def _field(option: str) -> str:
    """The last part of an option's name, as the dataclass that it belongs to calls it."""
    return option.partition("=")[0].rpartition(".")[2].removeprefix("--").replace("-", "_")


def _paths(parsed: Any) -> Iterator[tuple[str, Path]]:
    """Name and value of all fields that hold paths, those of what it holds included."""
    for entry in fields(parsed):
        value = getattr(parsed, entry.name, None)
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(item, Path):
                yield entry.name.rstrip("_"), item
            elif is_dataclass(item) and not isinstance(item, type):
                yield from _paths(item)
