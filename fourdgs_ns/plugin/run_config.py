"""``config.yml`` of a run, read without making or running anything that a run does not consist of.

PyYAML's own loader of Python objects imports, calls and constructs whatever a file names. Here a file gets the config classes of
the methods and strategies that are installed, the enumerations in them, paths and tuples. What a config constructs later (its
``_target``) is not read: each class knows its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from nerfstudio.engine.trainer import TrainerConfig

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.densification.registry import STRATEGIES
from fourdgs_ns.plugin.methods import trainer_config
from fourdgs_ns.plugin.pipeline import DynamicGaussiansPipelineConfig
from fourdgs_ns.representation.registry import METHODS

MARK = "fourdgs_ns.plugin.pipeline.DynamicGaussiansPipelineConfig"
"""What the config of every run of this package holds, and no other's."""
PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
PREFIX = "tag:yaml.org,2002:python/"


def load_config(text: str, source: str = "config.yml of this run") -> TrainerConfig:
    """The config of a run of this package; ``source`` names it in errors.

    Raises:
        UserError: it is no YAML, names another class or a function, or gives a class values that it does not take.
    """
    try:
        config = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:250]
        raise UserError(
            f"{source} cannot be read ({reason}); it comes from another version of fourdgs-ns, or is not to be trusted"
        ) from error
    if not isinstance(config, TrainerConfig) or not isinstance(config.pipeline, DynamicGaussiansPipelineConfig):
        raise UserError(f"{source} is no config of a fourdgs-ns run; give that of a run, or its folder")
    METHODS.named(str(config.method_name))
    for name, path in _places(config).items():
        if path is not None and (Path(path).is_absolute() or ".." in Path(path).parts):
            raise UserError(f"{source} puts its {name} into {path}, outside of the run; correct that line")
    return config


def _places(config: TrainerConfig) -> dict[str, str | Path | None]:
    """Where a run's files lie below its output_dir, by option."""
    return {
        "experiment_name": config.experiment_name,
        "timestamp": config.timestamp,
        "relative_model_dir": config.relative_model_dir,
        "relative_log_dir": config.logging.relative_log_dir,
        "relative_log_filename": config.viewer.relative_log_filename,
    }


class _Loader(yaml.SafeLoader):
    """Plain YAML and the classes of :func:`listed`."""


@cache
def listed() -> dict[str, type]:
    """The classes that a config may hold, by the names under which PyYAML writes them."""
    holders = [trainer_config(name) for name in METHODS.loaded()]
    holders += [variant for method in METHODS.loaded().values() for variant in method.variants.values()]  # type: ignore[misc]
    holders += [strategy.config() for strategy in STRATEGIES.loaded().values()]  # type: ignore[misc]
    return {f"{kind.__module__}.{kind.__name__}": kind for holder in holders for kind in _classes(holder)}


def _classes(value: Any) -> Iterator[type]:
    if isinstance(value, type):  # a _target
        yield value
    elif is_dataclass(value):
        yield type(value)
        for f in fields(value):
            yield from _classes(getattr(value, f.name))
    elif isinstance(value, Enum):
        yield type(value)
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _classes(item)


def _listed(name: str, node: yaml.Node) -> type:
    if name not in listed():
        raise _refusal(f"it asks for {name}, which no run consists of and which was neither made nor run", node)
    return listed()[name]


def _refusal(reason: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, reason, node.start_mark)


def _config(loader: _Loader, name: str, node: yaml.Node) -> Any:
    """A dataclass from its fields."""
    kind = _listed(name, node)
    if not is_dataclass(kind) or not isinstance(node, yaml.MappingNode):
        raise _refusal(f"{name} is no config", node)
    values = loader.construct_mapping(node, deep=True)
    values.pop("_target", None)
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints or not fits(value, hints[key]):
            raise _refusal(f"{name} takes no {key!r} of {str(value)[:40]!r}", node)
    return kind(**values)


def _call(loader: _Loader, name: str, node: yaml.Node) -> Any:
    """A path from its parts, or a member of an enumeration from its value."""
    parts = loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else [None]
    module, _, kind = name.rpartition(".")
    if module.startswith("pathlib") and kind in PATHS and all(isinstance(part, str) for part in parts):
        return Path(*parts)
    found = _listed(name, node)
    try:
        if issubclass(found, Enum) and len(parts) == 1:
            return found(parts[0])
    except ValueError:
        pass
    raise _refusal(f"{name} cannot be had from {str(parts)[:40]}", node)


def _tuple(loader: _Loader, node: yaml.Node) -> tuple:
    if not isinstance(node, yaml.SequenceNode):
        raise _refusal("a tuple is no list", node)
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_multi_constructor(PREFIX + "object:", _config)
_Loader.add_multi_constructor(PREFIX + "object/apply:", _call)
_Loader.add_multi_constructor(PREFIX + "name:", lambda loader, name, node: _listed(name, node))
_Loader.add_constructor(PREFIX + "tuple", _tuple)


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type that an annotation states, as far as those of configs go."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(value, inner[0])
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin is tuple and isinstance(value, tuple) and Ellipsis not in inner:
        return len(value) == len(inner) and all(fits(v, one) for v, one in zip(value, inner))
    if origin in (tuple, list) and isinstance(value, origin):
        return all(fits(v, inner[0]) for v in value)
    if origin is dict and isinstance(value, dict):
        return all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    kind = origin or (NoneType if hint is None else hint)
    if not isinstance(kind, type) or kind in (Any, object, type):
        return True
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)
