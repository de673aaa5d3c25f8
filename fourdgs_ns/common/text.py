"""Names and paths of others, as they may be shown in a terminal and typed in a shell."""

from __future__ import annotations

import re
import shlex

UNPRINTABLE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""What moves the cursor, colours or retitles a terminal, turns the direction of writing, or is half a character (ranges of a
regular expression). Line breaks and tabs are not among it."""


def printable(text: str) -> str:
    """``text`` with what acts on a terminal instead of standing in it written out, such as ``\\x1b``."""
    return re.sub(f"[{UNPRINTABLE}]", lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def typed(*words: object) -> str:
    """A command line that a shell takes apart into exactly ``words``."""
    return " ".join(_quoted(str(word)) for word in words)


def _quoted(word: str) -> str:
    """Quotes where a shell needs them; Bash's ``$'...'`` where a word cannot be shown as it is."""
    if not re.search(f"[\n\t{UNPRINTABLE}]", word):
        return shlex.quote(word)
    return "$'" + re.sub(rf"[\\'\n\t{UNPRINTABLE}]", lambda found: _escaped(found[0]), word) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
