"""The formats in ``--help``, from the registry: also those that other packages bring."""

from __future__ import annotations


def written(default: str) -> str:
    """What can be written; ``default`` is what tyro would say of the option's default."""
    return _listed("write", default)


def read(default: str) -> str:
    """What can be read."""
    return _listed("read", default)


def _listed(direction: str, default: str) -> str:
    from fourdgs_ns.formats.registry import FORMATS

    known = FORMATS.loaded().items()
    lines = [f"{name}: {form.says}" for name, form in known if getattr(form, direction) is not None]
    return "\n".join(["", *lines, f"(default: {default})" if default.strip("'") else "(required)"])
