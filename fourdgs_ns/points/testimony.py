"""Whether the pictures of a rig contradict its calibration: by camera, with the usual mistake that explains it.

Matches are found by appearance alone (:mod:`witnesses`), so that no pose is presupposed. A right calibration is never to be
accused; where the pictures are too few or too plain to say anything, nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from fourdgs_ns.capture.capture import Capture, RecordedCamera
from fourdgs_ns.capture.layouts.sequences import listed, natural_key
from fourdgs_ns.common.files import write_json
from fourdgs_ns.common.workspace import cache_directory
from fourdgs_ns.points.agreement import Bench, Cameras
from fourdgs_ns.points.cache_key import cache_key
from fourdgs_ns.points.testimony_hypotheses import Hypothesis, hypotheses
from fourdgs_ns.points.witnesses import Witness, pictures_of, witnesses_of

VERSION = 2
"""Raised whenever the same pictures are judged otherwise than before."""

SURE = 0.85
"""Mean share of agreeing matches from which a camera is beyond suspicion."""
EXPLAINED = 0.7
"""Of the matches of the cameras that a mistake concerns, at least, that must agree once it is undone,"""
GAIN = 0.2
"""more than as stated by this,"""
RESOLVED = 0.6
"""and of those that disagree as stated at least this many."""
FINE = 0.25
"""Times the usual distance: within it mistakes are sought that only bend the pictures, and happen to all cameras of a rig. All
others must be gross, which errors of a calibration are not: matches disagree within ``WIDEST``, too."""
WIDEST = 3.0
"""The same where no mistake explains the contradiction: rigs that were calibrated badly are not accused."""
MOVED = "the frames at the end of the clip are left out: the camera was moved or turned meanwhile, or its poses say so wrongly"
FEWEST_CAMERAS = 3
"""A single pair is one witness, which a texture that repeats can mislead."""
FEWEST_PAIRS = 3
"""That must contradict a camera before it is accused without knowing why: a texture that repeats can mislead two."""
CONTRADICTS = 0.5
"""A pair of which fewer matches agree contradicts; one of which more do vouches for both cameras."""


@dataclass(frozen=True)
class Testimony:
    """What the pictures say about the calibration."""

    agreement: dict[str, float]
    """Mean share of sure matches that agree with the stated calibration, of each camera that has any."""
    contradicted: tuple[str, ...] = ()
    """Cameras whose calibration the pictures contradict."""
    cause: str = ""
    """Of the contradiction, where one of the usual mistakes explains it."""
    remedy: str = ""
    explained: float = 0.0
    """Share of these cameras' matches that agree once the mistake is undone."""

    @property
    def whole(self) -> bool:
        """Whether most cameras are contradicted."""
        return 2 * len(self.contradicted) > len(self.agreement)

    def sentence(self) -> str | None:
        """For the user; None when nothing is contradicted."""
        if not self.contradicted:
            return None
        names, own = listed(self.contradicted), [self.agreement[n] for n in self.contradicted if n in self.agreement]
        if len(self.contradicted) >= max(len(self.agreement), FEWEST_CAMERAS):
            names = f"all {len(self.contradicted)} cameras"
        said = (
            f"the pictures contradict the calibration of {names}: {_percent(own)} of their sure matches agree with it"
        )
        if self.cause:
            return f"{said}, {_percent([self.explained])} if {self.cause}; {self.remedy}"
        leave = "" if self.whole else ", or leave them out"
        return f"{said}, and none of the usual mistakes explains it; calibrate again{leave}"


def _percent(shares: Sequence[float]) -> str:
    low, high = (f"{100 * bound(shares, default=0.0):.0f}" for bound in (min, max))
    return f"{low} %" if low == high else f"{low} to {high} %"


def testify(capture: Capture, cameras: Sequence[RecordedCamera]) -> Testimony:
    """Of the pictures of ``cameras``, at the first instant (where that shows little, in the middle of the clip), and at the last.

    Kept with the capture, so that the same pictures are asked once.

    Raises:
        UserError: a frame cannot be decoded.
    """
    if len(cameras) < FEWEST_CAMERAS:
        return Testimony({})
    instants = sorted({0, capture.num_frames // 2, capture.num_frames - 1})
    key = cache_key(capture, cameras, instants, {c.name: 1.0 for c in cameras}, {"testimony": VERSION})
    file = cache_directory(capture.root) / f"testimony-{key}.json"
    kept = _load(file)
    if kept is None:
        kept = _ask(cameras, instants)
        write_json(file, asdict(kept))
    return kept


def _ask(cameras: Sequence[RecordedCamera], instants: Sequence[int]) -> Testimony:
    first = _ask_one(cameras, instants[:2])
    if first.contradicted or len(instants) == 1:
        return first
    last = _ask_one(cameras, instants[-1:])
    if not last.contradicted:
        return first
    # What held at the beginning and does no longer is no mistake of a calibration.
    return replace(
        last,
        cause=MOVED,
        remedy="state its pose in each frame, or train on the frames before with --frames",
        explained=1.0,
    )


def _ask_one(cameras: Sequence[RecordedCamera], instants: Sequence[int]) -> Testimony:
    """At the instant of ``instants`` that shows most, the first one that shows enough."""
    asked: tuple[list[Witness], Cameras] = [], {}
    for instant in instants:
        pictures = pictures_of(cameras, instant)
        witnesses = witnesses_of(pictures)
        if len(witnesses) >= len(asked[0]):
            asked = witnesses, {name: picture.camera for name, picture in pictures.items()}
        if len(witnesses) >= len(cameras):
            break
    return judge(*asked)


def _load(file: Path) -> Testimony | None:
    try:
        content = json.loads(file.read_text())
        return Testimony(**{**content, "contradicted": tuple(content["contradicted"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def judge(witnesses: Sequence[Witness], stated: Cameras) -> Testimony:
    """Of the calibrations as stated. Without enough witnesses nothing is contradicted."""
    for tolerance in (1.0, FINE):
        bench = Bench(witnesses, tolerance)
        agreement = _agreement(bench, stated)
        suspected = [name for name, share in agreement.items() if share < SURE]
        if len(witnesses) < 2 or not suspected:
            continue
        best, share = _best(bench, stated, hypotheses(bench, stated, suspected))
        if best is not None:
            return Testimony(agreement, best.changed, best.cause, best.remedy, share)
    bench = Bench(witnesses, WIDEST)
    names = sorted(bench.names, key=natural_key)
    shares = bench.shares(stated, range(len(witnesses)))
    if len(witnesses) > FEWEST_PAIRS and bool(np.all(shares < CONTRADICTS)):
        return Testimony(_agreement(bench, stated), tuple(names))
    contradicted = tuple(name for name in names if _contradicted(bench, stated, name))
    return Testimony(_agreement(bench if contradicted else Bench(witnesses), stated), contradicted)


def _agreement(bench: Bench, stated: Cameras) -> dict[str, float]:
    names = sorted(bench.names, key=natural_key)
    return {name: float(bench.shares(stated, bench.pairs_of([name])).mean()) for name in names}


def _best(bench: Bench, stated: Cameras, found: Sequence[Hypothesis]) -> tuple[Hypothesis | None, float]:
    """The mistake that explains most, and what it explains; None when none explains nearly all, and clearly more."""
    best: tuple[Hypothesis | None, float, float] = None, 0.0, 0.0
    widest = Bench(bench.witnesses, WIDEST)
    for hypothesis in found:
        pairs = bench.pairs_of(hypothesis.changed)
        share, total = bench.agreement(hypothesis.cameras, pairs), bench.agreement(hypothesis.cameras)
        before = bench.agreement(stated, pairs)
        clear = share >= EXPLAINED and share - before >= max(GAIN, RESOLVED * (1 - before))
        gross = bench.tolerance > FINE and not hypothesis.bends and widest.agreement(stated, pairs) < SURE
        common = bench.tolerance <= FINE and set(hypothesis.changed) >= set(bench.names)
        if len(pairs) > 1 and clear and (gross or common) and total > best[2] + 0.01:
            best = hypothesis, share, total
    return best[0], best[1]


def _contradicted(bench: Bench, stated: Cameras, name: str) -> bool:
    shares = bench.shares(stated, bench.pairs_of([name]))
    return len(shares) >= FEWEST_PAIRS and bool(np.all(shares < CONTRADICTS))
