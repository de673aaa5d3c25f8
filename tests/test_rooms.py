"""The house keeps its plan: what stands in the root, who may import whom, no circles, no private names of other packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fourdgs_ns

ROOT = Path(fourdgs_ns.__file__).parent
PACKAGE = "fourdgs_ns"
GUESTS = {"plugin", "viewer", "rendering", "evaluation", "bench", "cli"}
"""Rooms that may know Nerfstudio. All others are below them and import none of them."""
GROUND = {
    "common": set(),
    "geometry": {"common"},
    "capture": {"common", "geometry"},
    "kernels": {"common"},
    "representation": {"common", "geometry", "kernels"},
}
"""Rooms near the ground, and all that each may import of ours."""
FOREIGN = ("gsplat", "nerfstudio", "viser", "torch", "tyro")
"""Packages whose private names are looked for."""


@cache
def trees() -> dict[str, ast.Module]:
    """Module name -> its syntax tree."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf8"))
    return found


def imported(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """All imports, in functions and under TYPE_CHECKING too: module and the name taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    """Module of ours -> modules of ours that it imports."""
    found: dict[str, set[str]] = {}
    for name, tree in trees().items():
        targets = {
            f"{module}.{taken}" if f"{module}.{taken}" in trees() else module for module, taken in imported(tree)
        }
        found[name] = {target for target in targets if target in trees()} - {name}
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_the_root_holds_the_face_and_the_readme_only():
    assert {path.name for path in ROOT.iterdir() if path.is_file()} == {"__init__.py", "README.md"}


def test_nerfstudio_is_known_in_the_guests_rooms_only():
    knowing = {
        name for name, tree in trees().items() for module, _ in imported(tree) if module.split(".")[0] == "nerfstudio"
    }
    assert {name for name in knowing if room(name) not in GUESTS} == set()


def test_no_room_below_imports_a_guests_room():
    up = [
        f"{name} -> {target}"
        for name, targets in arrows().items()
        for target in targets
        if room(name) and room(name) not in GUESTS and room(target) in GUESTS
    ]
    assert up == []


def test_rooms_near_the_ground_stand_on_what_is_below_them():
    up = [
        f"{name} -> {target}"
        for name, targets in arrows().items()
        for target in targets
        if room(name) in GROUND and room(target) not in GROUND[room(name)] | {room(name)}
    ]
    assert up == []


def test_there_are_no_circles():
    open_, done, circles = [], set(), []

    def visit(name: str) -> None:
        if name in open_:
            circles.append(" -> ".join([*open_[open_.index(name) :], name]))
        elif name not in done:
            open_.append(name)
            for target in sorted(arrows()[name]):
                visit(target)
            done.add(open_.pop())

    for name in arrows():
        visit(name)
    assert circles == []


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_names_of_others_are_taken_in_one_place():
    taken = [
        f"{name}: {module}.{part}"
        for name, tree in trees().items()
        if name != f"{PACKAGE}.plugin.compat"
        for module, part in imported(tree)
        if module.split(".")[0] in FOREIGN and (any(map(private, module.split("."))) or private(part or ""))
        if not (module.startswith("gsplat") and room(name) == "rasterization")
    ]
    assert taken == []


def test_tests_mirror_the_rooms():
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("__")}
    folders = {
        path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and not path.name.startswith("__")
    }
    assert folders - rooms <= {"faults", "gpu", "outside"}
