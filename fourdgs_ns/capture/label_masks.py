"""Masks whose values are labels of classes or people, told from mattes by the values of a few of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Integer

from fourdgs_ns.capture.capture import Capture, FrameSource, ImageFrames
from fourdgs_ns.capture.images import read_levels
from fourdgs_ns.common.errors import UserError

SAMPLED_CAMERAS = 8
SAMPLED_FRAMES = 5
SOLID = 0.97
"""Of the largest value that a file can hold: half of a matte's subject is at least this."""
MOST_LABELS = 40
FLAT = 0.8
"""Share of a label's pixels whose neighbour has the same label; noise has fewer."""


def with_label_masks(capture: Capture) -> Capture:
    """The same capture, its masks marked where they hold labels: then what is not 0 is the subject, and a note says so.

    Raises:
        UserError: labels are stored as JPEG, which blurs them.
    """
    sources = [c.masks for c in capture.cameras if c.masks is not None]
    marked, note = label_masks(sources)
    if note is None:
        return capture
    new = iter(marked)
    cameras = tuple(c if c.masks is None else replace(c, masks=next(new)) for c in capture.cameras)
    return replace(capture, cameras=cameras, notes=(*capture.notes, note))


def label_masks(sources: Sequence[FrameSource]) -> tuple[list[FrameSource], str | None]:
    """Masks of a rig, marked as labels and with a sentence that says so where they are; errors as above."""
    images = [source for source in sources if isinstance(source, ImageFrames) and len(source)]
    counts: Counter[int] = Counter()
    solid = flat = behind = 0
    for source in images[:: max(1, -(-len(images) // SAMPLED_CAMERAS))]:
        for path in {source.paths[i] for i in np.linspace(0, len(source) - 1, SAMPLED_FRAMES).round().astype(int)}:
            try:
                levels = read_levels(path)
            except UserError:  # said when it is decoded, with its frame
                continue
            own = _counted(levels)
            counts += own
            solid += sum(n for value, n in own.items() if value >= SOLID * np.iinfo(levels.dtype).max)
            behind += int((levels == 0).sum())
            flat += int(((levels[:, 1:] == levels[:, :-1]) & (levels[:, 1:] > 0)).sum())
    total = sum(counts.values())
    common = counts.most_common(MOST_LABELS)
    labels = bool(behind) and total > 0 and max(counts) > 1  # 0 and 1 are known from each file alone
    if not labels or solid >= 0.5 * total or sum(n for _, n in common) < SOLID * total or flat < FLAT * total:
        return list(sources), None
    values = ", ".join(map(str, sorted(value for value, _ in common[:5])))
    example = images[0].paths[0]
    if example.suffix.lower() in (".jpg", ".jpeg"):
        raise UserError(
            f"the masks ({example}, ...) hold labels ({values}, ...), which JPEG blurs; export them again as PNG, with 255 for "
            "the subject"
        )
    note = f"masks hold the values {values}, not 255: they are taken for labels, and what is not 0 for the subject"
    return [replace(s, labels=True) if isinstance(s, ImageFrames) else s for s in sources], note


def _counted(levels: Integer[np.ndarray, "h w"]) -> Counter[int]:
    values, numbers = np.unique(levels[levels > 0], return_counts=True)
    return Counter(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
