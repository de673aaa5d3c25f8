"""Executes annotations: what is imported after :func:`execute_annotations` fails where an argument or a result breaks its own.

jaxtyping's import hook would do, but it also wraps what Numba and Triton compile from its source.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeVar

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

COMPILED = {"njit", "jit", "kernel", "exact_kernel", "helper", "exact_helper"}
"""Decorators of functions that are compiled."""
CHECKER = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int where a float is asked for, as mypy has it


Class = TypeVar("Class", bound=type)


def checked(function: Callable) -> Callable:
    """``function`` with its annotations checked; they are looked up at the first call, when all names are there."""
    check = None

    @functools.wraps(function)
    def first(*args: Any, **kwargs: Any) -> Any:
        nonlocal check
        check = check or jaxtyped(function, typechecker=CHECKER)
        return check(*args, **kwargs)

    return first


def checked_fields(dataclass: Class) -> Class:
    """``dataclass``, whose fields are checked before they are set."""
    construct = dataclass.__init__
    # Of the fields alone: jaxtyping before 0.3 cannot describe an object that is not constructed yet.
    fields = FunctionType((lambda *args, **kwargs: None).__code__, construct.__globals__, dataclass.__name__)
    signature = inspect.signature(construct)
    fields.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
    fields.__annotations__ = construct.__annotations__
    check = checked(fields)

    @functools.wraps(construct)
    def checked_construct(self: Any, *args: Any, **kwargs: Any) -> None:
        check(*args, **kwargs)
        construct(self, *args, **kwargs)

    dataclass.__init__ = checked_construct
    return dataclass


class _Decorating(ast.NodeTransformer):
    """Decorates functions and methods, but not what is defined inside of functions, which would be checked anew at each call."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if not _decorators(node) & COMPILED:
            node.decorator_list.append(ast.copy_location(ast.Name("__checked__", ast.Load()), node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        own_constructor = any(isinstance(child, ast.FunctionDef) and child.name == "__init__" for child in node.body)
        self.generic_visit(node)
        if "dataclass" in _decorators(node) and not own_constructor:
            node.decorator_list.insert(0, ast.copy_location(ast.Name("__checked_fields__", ast.Load()), node))
        return node


def _decorators(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return {d.id if isinstance(d, ast.Name) else d.attr for d in called if isinstance(d, (ast.Name, ast.Attribute))}


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew in each process: the files in __pycache__ are those of unchecked functions."""
        tree = _Decorating().visit(ast.parse(self.get_data(self.path), self.path))
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(__checked__=checked, __checked_fields__=checked_fields)
        super().exec_module(module)


class _Finder:
    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.split(".", maxsplit=1)[0] != "fourdgs_ns":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def execute_annotations() -> None:
    assert "fourdgs_ns" not in sys.modules, "imported before annotations are executed"
    sys.meta_path.insert(0, _Finder())
