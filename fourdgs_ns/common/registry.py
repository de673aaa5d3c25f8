"""Things of one kind by name: ours, and those that other installed packages bring through an entry point group.

A package adds one by an entry point, with nothing of this package changed:

    [project.entry-points."fourdgs_ns.formats"]
    my-format = "my_package.my_format:FORMAT"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from fourdgs_ns.common.console import warn
from fourdgs_ns.common.errors import UserError

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Names are known without importing what they stand for; that is loaded when it is asked for.

    Args:
        what: What one of them is called in messages.
        kind: Its class; what an entry point gives instead is refused.
        group: Entry point group through which other packages add theirs.
        ours: Name -> ``module:attribute``, in the order in which they are offered.
    """

    def __init__(self, what: str, kind: type[T], group: str, ours: Mapping[str, str]) -> None:
        self.what, self.kind, self.group = what, kind, group
        self._ours = dict(ours)
        self._loaded: dict[str, T] = {}
        self._told: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        yield from self._ours
        yield from (name for name in _outside(self.group) if name not in self._ours)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return any(name == known for known in self)

    def __getitem__(self, name: str) -> T:
        """Raises KeyError for a name that nobody brings, UserError for one whose package cannot be loaded."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def loaded(self) -> dict[str, T]:
        """All that can be loaded; what an installed package brings and breaks is told once and left out."""
        found = {}
        for name in self:
            try:
                found[name] = self[name]
            except UserError as error:
                if name not in self._told:
                    warn(f"warning: {error}")
                self._told.add(name)
        return found

    def named(self, name: str) -> T:
        """Raises UserError for an unknown name, telling the known ones."""
        if name not in self:
            raise UserError(f"the {self.what} '{name[:60]}' is unknown; choose one of {', '.join(self)}")
        return self[name]

    def _load(self, name: str) -> T:
        if name in self._ours:
            module, attribute = self._ours[name].split(":")
            return self._checked(name, getattr(import_module(module), attribute))
        outside = _outside(self.group)
        if name not in outside:
            raise KeyError(name)
        try:
            found = outside[name].load()
        except Exception as error:  # whatever is wrong with another package
            raise UserError(
                f"the {self.what} '{name}' cannot be loaded from {outside[name].value} ({type(error).__name__}: {error}); "
                "reinstall or remove the package that brings it"
            ) from error
        return self._checked(name, found)

    def _checked(self, name: str, found: Any) -> T:
        if not isinstance(found, self.kind) or getattr(found, "name", name) != name:
            raise UserError(
                f"what an installed package registers as the {self.what} '{name}' (entry points {self.group}) is no "
                f"{self.kind.__name__} of that name; update or remove that package"
            )
        return found


@cache
def _outside(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}
