"""What pyproject.toml declares: all that the package imports, each in a range with both ends."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml"}
"""Names of distributions that differ from the module's."""
OF_OTHERS = {"triton", "tomllib"}
"""Modules that come with torch and, from 3.11 on, with Python."""


def declared() -> dict[str, str]:
    """Version ranges by distribution, those of the extras for its users included."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["roma"], *extras["4dgs"]]
    return {name: line[len(name) :] for line in lines for name in re.findall(r"^[\w-]+", line)}


def imported() -> set[str]:
    modules = set()
    for path in (ROOT / "fourdgs_ns").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module)
    return {module.split(".")[0] for module in modules} - sys.stdlib_module_names - OF_OTHERS - {"fourdgs_ns"}


def test_all_that_is_imported_is_declared():
    assert {DISTRIBUTIONS.get(module, module) for module in imported()} <= declared().keys()


def test_ranges_have_both_ends():
    assert not [name for name, versions in declared().items() if not (">=" in versions and "<" in versions)]
