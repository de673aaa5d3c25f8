"""The methods by name. A method is one file in this folder and one entry here, or one file and one entry point elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.registry import Registry
from fourdgs_ns.representation.base import RepresentationConfig
from fourdgs_ns.representation.method import Method

METHODS: Registry[Method] = Registry(
    "method",
    Method,
    "fourdgs_ns.methods",
    {
        "freetime": "fourdgs_ns.representation.freetime:METHOD",
        "spacetime-gaussian": "fourdgs_ns.representation.spacetime:METHOD",
        "4dgs-4dsh": "fourdgs_ns.representation.fourd:METHOD",
    },
)


def config_of(method: str, options: Mapping[str, Any]) -> RepresentationConfig:
    """The representation's options as a header or a checkpoint states them.

    Raises:
        UserError: no installed package brings the method.
        ValueError: an option is unknown to it.
    """
    if method not in METHODS:
        raise UserError(
            f"it is a model of the method '{str(method)[:40]}', which nothing that is installed here brings (known: "
            f"{', '.join(METHODS)}); install the package of that method"
        )
    kind = type(METHODS[method].config)
    unknown = sorted(set(options) - {f.name for f in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"the option {str(unknown[0])[:40]!r} is unknown")
    return kind(**options)
