"""Parts of a clip as users type them."""

from __future__ import annotations

from fourdgs_ns.common.errors import UserError

FrameRange = tuple[int | None, int | None, int | None]
"""Start, stop and step of a Python slice; each may be missing."""


def parse_frames(text: str | None) -> FrameRange:
    """``start:stop:step`` -> its three numbers; each may be missing."""
    if text is None:
        return None, None, None
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if not 2 <= len(numbers) <= 3 or (len(numbers) == 3 and numbers[2] is not None and numbers[2] < 1):
        raise UserError(
            f"--frames is '{text}'; write start:stop or start:stop:step with whole numbers, for instance 0:50"
        )
    return numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else None
