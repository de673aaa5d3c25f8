"""Checks of messages about bad input, and ways to spoil files."""

import json
import re

import pytest

from fourdgs_ns.common.errors import UserError

REMEDY = re.compile(
    r"[;?(][^;]*\b(put|give|write|cut|copy|export|calibrate|check|add|remove|delete|choose|number|re-encode|rename|"
    r"did you mean|scaled|correct|replace|convert)\b"
)


def refused(action, *named):
    """The message, after checking that it is one line, names everything in ``named`` and ends with a remedy."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in named:
        assert str(word) in message, f"{word!r} is not in: {message}"
    assert REMEDY.search(message), f"no remedy in: {message}"


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def replace_in(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
